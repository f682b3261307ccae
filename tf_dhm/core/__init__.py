"""What everything else stands on: errors, exit codes, atomic files and configurations as JSON."""

__all__ = ["configuration", "errors", "files"]
