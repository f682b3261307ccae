"""Keras layers and the networks of the DHM family."""

__all__ = ["backbones", "config", "dhm", "layers", "models", "projection", "quality"]
