"""Any TFLite or ONNX file or SavedModel as a peer, by a description of its input and output."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from msgspec import Meta
from numpy.typing import ArrayLike, NDArray

from tf_dhm.core.configuration import AtLeastOne, Count, Positive, check_fields
from tf_dhm.core.errors import InputError
from tf_dhm.core.types import Array, Image
from tf_dhm.evaluation.peers.network import load_network
from tf_dhm.evaluation.peers.peer import size_on_disk, with_unknown_depth
from tf_dhm.face import geometry
from tf_dhm.runtime.crops import cut_crops

EYE_CORNERS = (36, 45)
"""Outer corners of the eyes among the 68 points; the line through them tells how a face is rolled."""


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
    input_size: AtLeastOne
    name: str = ""
    colour: Literal["rgb", "bgr"] = "rgb"
    layout: Literal["nhwc", "nchw"] = "nhwc"
    mean: tuple[float, ...] = (0.0,)
    scale: tuple[Positive, ...] = (255.0,)
    crop_scale: Positive = 2.0**0.5
    crop_shift: tuple[float, ...] = (0.0, 0.0)
    passes: AtLeastOne = 1
    next_scale: Positive | None = None
    upright: bool = False
    output: str = "0"
    dimensions: Annotated[int, Meta(ge=2)] = 2
    unit: Literal["pixels", "fraction", "symmetric"] = "pixels"
    origin: Literal["centre", "corner"] = "centre"
    points: tuple[tuple[Count, ...], ...] = ()

    def __post_init__(self) -> None:
        check_fields(self)
        for name in ("mean", "scale"):
            if len(getattr(self, name)) not in (1, 3):
                raise InputError(f"{name}: found {getattr(self, name)}, expected one number or three")
        if len(self.crop_shift) != 2:
            raise InputError(f"crop_shift: found {self.crop_shift}, expected two numbers")
        if self.points and (len(self.points) != geometry.NUM_LANDMARKS or not all(self.points)):
            raise InputError(
                f"points: found {len(self.points)} entries, some of them empty, or not "
                f"{geometry.NUM_LANDMARKS}; expected one or more indices for each of the 68 points"
            )


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


def cut_square(image: Image, square: Array, size: int, roll: float) -> tuple[Image, Array]:
    """One crop (size, size, 3) of a square (centre x, centre y, side), and its matrix to the image."""
    half = np.full(2, square[2] / 2.0**1.5)  # the crop of a box has sqrt(2) times its side
    box = np.concatenate([square[:2] - half, square[:2] + half])
    crops, matrices = cut_crops(image, box, size, roll)
    return crops[0], matrices[0]
