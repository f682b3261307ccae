"""Faces rendered from the open morphable face, with exact labels."""

__all__ = [
    "camera",
    "config",
    "lighting",
    "materials",
    "meshes",
    "parts",
    "photo",
    "renderer",
    "rig",
    "sampling",
    "scene",
    "series",
    "vectors",
    "worker",
]
