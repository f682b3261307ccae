"""Dataset readers, augmentation and the tf.data pipeline."""
