"""A predictor that runs a SavedModel; it needs TensorFlow, and loads it when it is made."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from tf_dhm.core.errors import InputError
from tf_dhm.core.extras import packages_of
from tf_dhm.core.types import Array, Image
from tf_dhm.runtime.predictor import Prediction, check_crops, check_initial_landmarks, empty_prediction
from tf_dhm.runtime.store import find_savedmodel, model_name


class SavedModelPredictor:
    """A SavedModel with the signatures `serving_default` and, for a second pass, `refine`.

    Attributes:
        name: of the model folder.
        version_dir: the folder that was loaded.
        input_size: side S of its crops in pixels.
        can_refine: whether `predict` takes initial landmarks.
        has_points: whether it also finds points of another annotation, as `adapt.py` adds them.
    """

    def __init__(self, path: str | Path) -> None:
        self.version_dir = find_savedmodel(path)
        # Imported here, so that crops and boxes do not cost the seconds TensorFlow needs to load.
        with packages_of("tensorflow", f"SavedModel {self.version_dir}"):
            import tensorflow as tf

        self.name = model_name(self.version_dir)
        try:
            # Held by the instance: its variables die with it.
            self._model: Any = tf.saved_model.load(str(self.version_dir))
        except (OSError, ValueError, tf.errors.OpError) as error:
            raise InputError(f"model {self.version_dir}: found no readable SavedModel: {error}") from error
        if "serving_default" not in self._model.signatures:
            raise InputError(
                f"model {self.version_dir}: found the signatures {sorted(self._model.signatures)}, "
                "expected serving_default"
            )
        inputs = self._model.signatures["serving_default"].structured_input_signature[1]
        spec = inputs.get("crops", tf.TensorSpec([]))
        if len(inputs) != 1 or spec.dtype != tf.uint8 or spec.shape.rank != 4 or spec.shape[1] is None:
            raise InputError(
                f"model {self.version_dir}: found the inputs {inputs}, expected crops, uint8 (B, S, S, 3)"
            )
        self.input_size = int(spec.shape[1])
        self.can_refine = "refine" in self._model.signatures
        self.has_points = "points" in self._model.signatures["serving_default"].structured_outputs

    def __reduce__(self) -> tuple[type[SavedModelPredictor], tuple[Path]]:
        return SavedModelPredictor, (self.version_dir,)

    def predict(self, crops: Image, initial_landmarks: Array | None = None) -> Prediction:
        """Find the landmarks of a batch of crops, and what else the model knows of them.

        Args:
            crops: (B, S, S, 3) uint8 RGB; B may be 0.
            initial_landmarks: (B, 68, 3) crop pixels to start from in place of the mean shape.

        Raises:
            InputError: wrong shape or dtype, or the model cannot start from landmarks.
        """
        check_crops(crops, self.input_size)
        signature, inputs = "serving_default", {"crops": crops}
        if initial_landmarks is not None:
            check_initial_landmarks(initial_landmarks, len(crops))
            signature = "refine"
            inputs["initial_landmarks"] = np.asarray(initial_landmarks, np.float32)
        if signature not in self._model.signatures:
            raise InputError(
                f"model {self.version_dir}: has no signature {signature}, so it cannot run a second pass"
            )
        function = self._model.signatures[signature]
        if len(crops) == 0:
            return empty_prediction(function.structured_outputs)
        outputs = function(**{name: function_input(value) for name, value in inputs.items()})
        return Prediction.of(outputs, self.version_dir)


def function_input(value: np.ndarray) -> Any:
    """A SavedModel's signature takes tensors only."""
    import tensorflow as tf

    return tf.constant(value)
