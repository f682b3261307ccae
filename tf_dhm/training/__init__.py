"""Presets, losses and the training loop.

Training needs the extra `train`: `pip install '.[train]'`. The presets and configurations load without it.
"""

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
