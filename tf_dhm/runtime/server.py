"""A client of TF Serving over gRPC or REST: landmarks from a server in place of a model in the process.

>>> client = Client(ServerConfig("localhost:8500"))  # doctest: +SKIP
>>> answer = client.align([Path("photo.jpg").read_bytes()], [[120, 80, 260, 230]])  # doctest: +SKIP
>>> Aligner(client).align("photo.jpg")  # doctest: +SKIP

A client may be shared by threads; the requests of one call go one after another.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from types import TracebackType
from typing import Any, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tf_dhm.core.errors import InputError
from tf_dhm.core.extras import packages_of
from tf_dhm.face import geometry
from tf_dhm.face.mean_face import mean_shape
from tf_dhm.runtime.predictor import Prediction, check_crops, check_initial_landmarks
from tf_dhm.runtime.transport import (
    FIRST_WAIT,
    LONGEST_WAIT,
    Arrays,
    GrpcTransport,
    RestTransport,
    ServerConfig,
    ServerError,
    Transport,
    UnavailableError,
)

with packages_of("serving", __name__):
    import tenacity

T = TypeVar("T")

log = logging.getLogger(__name__)

ANNOUNCED_AFTER = 1.0
"""Seconds without a server after which a warning says what is being waited for."""

ROWS = {
    "landmarks": (geometry.NUM_LANDMARKS, 3),
    "pose": (3,),
    "visibility": (geometry.NUM_LANDMARKS,),
    "confidence": (),
}
"""Shape of a row of each output that a model may have."""


@dataclass(frozen=True, eq=False)
class PhotoAnswer:
    """What a server found in B photos.

    A photo that the server could not read, or whose box is not in it, has NaN and confidence 0.

    Attributes:
        landmarks: (B, 68, 3) float32 pixels of each photo.
        pose: (B, 3) float32 pitch, yaw, roll in degrees.
        visibility: (B, 68) float32 in [0, 1]; None if the model does not predict it.
        confidence: (B,) float32 in [0, 1]; None if the model does not predict it.
    """

    landmarks: NDArray[np.float32]
    pose: NDArray[np.float32]
    visibility: NDArray[np.float32] | None = None
    confidence: NDArray[np.float32] | None = None


def rows_without_face(landmarks: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Which rows (B,) of landmarks (B, 68, 3) stand for "no face here".

    Models that were exported earlier give NaN, later ones zeros; no face has all its points in one place.
    """
    return ~np.isfinite(landmarks).all((1, 2)) | (np.ptp(landmarks, axis=1) == 0).all(1)


def expand(rows: NDArray[np.bool_], like: np.ndarray) -> NDArray[np.bool_]:
    return rows.reshape(-1, *[1] * (like.ndim - 1))


class Client:
    """A served model; it can stand in for a loaded one (`predictor.LandmarkModel`).

    Attributes:
        name: the model is served under.
        input_size: side S of its crops in pixels.
        can_refine: whether `predict` takes initial landmarks.

    Raises, in all methods:
        InputError: what is sent does not fit the model, or the server rejects it.
        ServerError: there is no server, or no answer in time; a request that found the server away
            or overloaded has been sent again, after growing waits, until `timeout` was over. A warning is
            logged after the first second of this.
    """

    def __init__(self, config: ServerConfig) -> None:
        self.config = config
        self.name = config.model
        self.transport: Transport = RestTransport(config) if config.is_rest else GrpcTransport(config)

    def __reduce__(self) -> tuple[type[Client], tuple[ServerConfig]]:
        return Client, (self.config,)

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self.transport.close()

    @cached_property
    def signatures(self) -> dict[str, Any]:
        """The signatures of the model: name -> JSON of the proto SignatureDef."""
        return self.retry(self.transport.signatures)["signature_def"]

    def signature(self, name: str) -> dict[str, Any]:
        """One of the signatures."""
        if name not in self.signatures:
            found = ", ".join(sorted(self.signatures))
            raise InputError(
                f"{self.transport.name}, model {self.name}: found the signatures {found}, expected {name}"
            )
        return self.signatures[name]

    @cached_property
    def input_size(self) -> int:
        return int(self.signature("serving_default")["inputs"]["crops"]["tensor_shape"]["dim"][1]["size"])

    @cached_property
    def can_refine(self) -> bool:
        return "refine" in self.signatures

    def versions(self) -> dict[int, str]:
        """State of each version of the model that the server knows, as AVAILABLE."""
        return self.retry(self.transport.versions)

    def predict(self, crops: NDArray[np.uint8], initial_landmarks: ArrayLike | None = None) -> Prediction:
        """Find the landmarks of crops, as `SavedModelPredictor.predict` does.

        A crop for which the server has no finite landmarks gets the mean shape and confidence 0.

        Args:
            crops: (B, S, S, 3) uint8 RGB; B may be 0.
            initial_landmarks: (B, 68, 3) crop pixels to start from in place of the mean shape.
        """
        check_crops(crops, self.input_size)
        inputs: Arrays = {"crops": crops}
        if initial_landmarks is not None:
            inputs["initial_landmarks"] = np.asarray(initial_landmarks, np.float32)
            check_initial_landmarks(inputs["initial_landmarks"], len(crops))
        parts = (slice(start, start + self.config.batch) for start in range(0, len(crops), self.config.batch))
        outputs = self.request_in_parts(
            "serving_default" if initial_landmarks is None else "refine", inputs, parts
        )
        outputs.pop("pose", None)
        none = rows_without_face(outputs["landmarks"])
        if none.any() and "confidence" not in outputs:
            raise InputError(
                f"{self.transport.name}, model {self.name}: found NaN, expected finite landmarks"
            )
        if none.any():
            shape = geometry.unit_to_pixels(mean_shape(), self.input_size)
            outputs = {name: np.where(expand(none, output), 0.0, output) for name, output in outputs.items()}
            outputs["landmarks"][none] = shape
            outputs = {name: output.astype(np.float32) for name, output in outputs.items()}
        return Prediction(**outputs)

    def align(self, photos: Sequence[bytes], boxes: ArrayLike) -> PhotoAnswer:
        """Find the landmarks of one face in each of several encoded photos.

        Args:
            photos: B JPEG or PNG files; several faces of one photo: the photo several times.
            boxes: (B, 4) landmark boxes x0, y0, x1, y1 in pixels of each photo, turned as its EXIF
                orientation says.
        """
        array = np.asarray(boxes, np.float32)
        if array.size == 0:
            array = array.reshape(0, 4)
        if array.shape != (len(photos), 4):
            raise InputError(f"boxes: found shape {array.shape}, expected ({len(photos)}, 4)")
        encoded = np.empty(len(photos), object)
        encoded[:] = photos
        inputs = {"photos": encoded, "boxes": array}
        outputs = self.request_in_parts("align_jpeg", inputs, self.split(photos))
        none = rows_without_face(outputs["landmarks"])
        for name, output in outputs.items():
            output[none] = 0.0 if name == "confidence" else np.nan
        return PhotoAnswer(**outputs)

    def split(self, photos: Sequence[bytes]) -> Iterator[slice]:
        """Parts of photos that fit into a request each."""
        start, size = 0, 0
        for index, photo in enumerate(photos):
            if len(photo) > self.config.max_bytes:
                raise InputError(
                    f"photo {index}: found {len(photo)} bytes, expected at most {self.config.max_bytes}"
                )
            if index - start == self.config.batch or size + len(photo) > self.config.max_bytes:
                yield slice(start, index)
                start, size = index, 0
            size += len(photo)
        if start < len(photos):
            yield slice(start, len(photos))

    def request_in_parts(self, signature: str, inputs: Arrays, parts: Iterable[slice]) -> Arrays:
        """Requests for parts of the rows of the inputs, one after another; their outputs joined."""
        names = [name for name in self.signature(signature)["outputs"] if name in ROWS]
        answers: list[Arrays] = []
        for part in parts:
            rows = {name: value[part] for name, value in inputs.items()}
            outputs = self.retry(partial(self.transport.predict, signature, rows))
            found = {name: outputs[name].shape for name in outputs}
            count = len(next(iter(rows.values())))
            expected = {name: (count, *ROWS[name]) for name in names}
            if any(found.get(name) != shape for name, shape in expected.items()):
                raise InputError(
                    f"{self.transport.name}, model {self.name}: found outputs {found}, expected {expected}"
                )
            answers.append(outputs)
        return {
            name: np.concatenate([np.zeros((0, *ROWS[name]), np.float32), *(one[name] for one in answers)])
            for name in names
        }

    def retry(self, call: Callable[[float], T]) -> T:
        """Call with the seconds that are left, and again while the server is not available."""
        end = time.monotonic() + self.config.timeout
        announced = False

        def announce(state: tenacity.RetryCallState) -> None:
            nonlocal announced
            if not announced and (state.seconds_since_start or 0.0) >= ANNOUNCED_AFTER:
                log.warning(
                    "%s: found no server so far, trying for %g s", self.transport.name, self.config.timeout
                )
                announced = True

        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(UnavailableError),
            wait=tenacity.wait_random_exponential(FIRST_WAIT, LONGEST_WAIT),
            stop=tenacity.stop_before_delay(self.config.timeout),
            before_sleep=announce,
            reraise=True,
        )
        try:
            return retrying(lambda: call(max(end - time.monotonic(), 1e-3)))
        except UnavailableError as error:
            message = f"{self.transport.name}: found no server within {self.config.timeout:g} s: {error}"
            raise ServerError(message) from error
