"""Presets, losses and the training loop."""

__all__ = [
    "config",
    "distribution",
    "history",
    "losses",
    "optimizers",
    "output_layer",
    "presets",
    "trainer",
    "validation",
]
