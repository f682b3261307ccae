"""The tf.data pipeline: order, augmentation, heat maps and batches."""

__all__ = [
    "augmentation",
    "batches",
    "calibration",
    "data_service",
    "heat_maps",
    "image_ops",
    "label_weights",
    "order",
    "services",
    "targets",
    "variation",
]
