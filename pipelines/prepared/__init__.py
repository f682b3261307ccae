"""Datasets in prepared form: records on disk, arrays in memory, and both by the name of a dataset."""

__all__ = ["arrays", "config", "datasets", "prepare", "records", "splits"]
