"""The keras-tuner search over networks: accuracy against latency."""

__all__ = ["latency", "options", "trials", "tuner", "tuning"]
