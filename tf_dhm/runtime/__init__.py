"""From photos and videos to landmarks, without TensorFlow at import."""

__all__ = [
    "aligner",
    "detector",
    "drawing",
    "images",
    "predictor",
    "server",
    "smoothing",
    "tflite",
    "tracking",
    "video",
]
