"""The keras-tuner search over networks: accuracy against latency."""

__all__ = ["trials", "tuning"]
