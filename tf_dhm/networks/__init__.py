"""Keras layers and the networks of the DHM family.

They need the extra `train`: `pip install '.[train]'`. Their configuration loads without it.
"""

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
    "tensorflow",
]
