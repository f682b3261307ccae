"""Trained networks as SavedModels, TFLite files and model cards.

It needs the extra `train`: `pip install '.[train]'`.
"""

from tf_dhm.core.extras import require_extra

require_extra("train", __name__)

__all__ = ["card", "description", "promote", "saved_model", "serving_graph", "tflite", "warmup"]
