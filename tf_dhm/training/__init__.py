"""Presets, losses and the training loop.

It needs the extra `train`: pip install 'tf_dhm[train]'.
"""

from tf_dhm.core.extras import require_extra

require_extra("train", __name__)

__all__ = [
    "config",
    "distribution",
    "history",
    "losses",
    "optimizers",
    "output_layer",
    "presets",
    "software",
    "trainer",
    "validation",
]
