"""What notebooks and other programs call. `weclick` itself passes these names on."""
