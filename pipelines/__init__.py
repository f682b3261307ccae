"""Dataset readers, augmentation and the tf.data pipeline."""

__all__ = ["datasets", "input", "prepared", "runs", "search", "synthetic"]
