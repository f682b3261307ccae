"""Fast DHM: 68 three-dimensional facial landmarks at any head pose, in real time."""

__version__ = "0.1.0"
