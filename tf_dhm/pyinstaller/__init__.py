"""Hook by which PyInstaller puts models, assets and modules that are loaded by name into an application."""

from __future__ import annotations

from pathlib import Path

__all__ = []


def hook_directories() -> list[str]:
    """Folders with PyInstaller hooks, for the entry point `pyinstaller40` of the package."""
    return [str(Path(__file__).parent)]
