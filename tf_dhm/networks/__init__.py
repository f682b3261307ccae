"""Keras layers and the networks of the DHM family.

It needs the extra `train`: pip install 'tf_dhm[train]'.
"""

from tf_dhm.core.extras import require_extra

require_extra("train", __name__)

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
