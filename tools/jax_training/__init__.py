"""Training of several small networks at once in JAX, on a GPU whose machine need not have TensorFlow.

`python -m tools.jax_training pack` puts the faces and the initial weights into a folder, `train` trains in it
with JAX, and `export` writes SavedModels; docs/gpu.md shows all three.
"""

__all__ = [
    "__main__",
    "batches",
    "crops",
    "export",
    "files",
    "finding",
    "image_ops",
    "network",
    "options",
    "packing",
    "recipe",
    "training",
]
