"""Faces rendered from the open morphable face, with exact labels."""

__all__ = ["face_parts", "renderer", "series", "worker"]
