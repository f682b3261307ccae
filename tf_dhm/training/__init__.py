"""Presets, losses and the training loop."""

__all__ = ["config", "distribution", "losses", "presets", "trainer"]
