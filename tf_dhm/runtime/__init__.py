"""From photos and videos to landmarks, without TensorFlow at import."""

__all__ = [
    "aligner",
    "camera",
    "crops",
    "detector",
    "drawing",
    "faces",
    "images",
    "mesh",
    "mesh_pictures",
    "predictor",
    "raster",
    "saved_model",
    "server",
    "smoothing",
    "store",
    "tflite",
    "tracking",
    "video",
]
