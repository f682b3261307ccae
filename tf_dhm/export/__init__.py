"""Trained networks as SavedModels, TFLite files and model cards."""

__all__ = ["saved_model", "serving_graph", "tflite", "warmup"]
