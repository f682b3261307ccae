"""The base of all other packages: errors, scripts, type names, atomic files and configurations as JSON."""

__all__ = [
    "cli",
    "command_line",
    "configuration",
    "errors",
    "extras",
    "files",
    "machine",
    "markdown",
    "progress",
    "renamed",
    "types",
    "version",
    "words",
]
