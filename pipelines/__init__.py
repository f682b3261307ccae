"""Dataset readers, augmentation and the tf.data pipeline."""

__all__ = ["adaptation", "datasets", "input", "prepared", "runs", "search", "synthetic"]
