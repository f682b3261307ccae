"""Trained networks as SavedModels, TFLite files and model cards."""

__all__ = ["card", "description", "promote", "saved_model", "serving_graph", "tflite", "warmup"]
