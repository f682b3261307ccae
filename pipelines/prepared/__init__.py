"""Datasets in prepared form: records on disk, arrays in memory, and the catalogue of both."""

__all__ = ["arrays", "catalogue", "prepare", "records"]
