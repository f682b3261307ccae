"""The version of the package, which scripts print with --version."""

__version__ = "0.2.0"
