"""Keras layers and the networks of the DHM family."""

__all__ = [
    "backbones",
    "config",
    "dhm",
    "fast_dhm",
    "keras_compat",
    "layers",
    "models",
    "projection",
    "quality",
]
