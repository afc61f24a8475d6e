"""The numbers by which flow vectors are believed, see `weclick.geometry.masks`. They need no torch."""

RELATIVE, ABSOLUTE_PX2 = 0.01, 0.5
"""How far two opposite flows may be from cancelling, see `forward_backward_valid`."""

GREY_LEVELS, WINDOW_PX = 12.0, 5
"""How far the warped neighbour may look from the target, see `photometric_valid`."""
