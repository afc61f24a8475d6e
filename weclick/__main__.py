"""`python -m weclick` does what the command `weclick` does."""

from weclick.cli import main

if __name__ == "__main__":
    main()
