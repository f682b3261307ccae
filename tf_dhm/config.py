"""Configuration: frozen dataclasses that are saved as JSON beside every run and SavedModel."""

from __future__ import annotations

import dataclasses
import json
import types
import typing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

from tf_dhm.errors import InputError

T = TypeVar("T")


@dataclass(frozen=True)
class ModelConfig:
    """A network of the Fast DHM family.

    Attributes:
        input_size: side of the square crop in pixels.
        stem_channels: channels of the first convolution (stride 2).
        stage_channels: channels of the stages; each begins with a stride-2 separable block.
        stage_blocks: residual separable blocks behind the first one of each stage.
        cnn_multiplier: multiplies stem_channels and stage_channels ("x n" of the paper).
        recurrent_channels: channels of F and h in the recurrent module (Eq. 7).
        rnn_multiplier: multiplies recurrent_channels ("RNN x n").
        recurrent_steps: steps of Eq. 7; 0 leaves the recurrent module out.
        hidden_units: width of a hidden dense layer before the output; 0 for none.
        heatmap_input: stack the DHM channels on the image.
    """

    input_size: int = 96
    stem_channels: int = 16
    stage_channels: tuple[int, ...] = (32, 64, 128)
    stage_blocks: tuple[int, ...] = (0, 3, 4)
    cnn_multiplier: float = 1.0
    recurrent_channels: int = 128
    rnn_multiplier: float = 1.0
    recurrent_steps: int = 3
    hidden_units: int = 272
    heatmap_input: bool = True

    def __post_init__(self) -> None:
        if len(self.stage_channels) != len(self.stage_blocks) or not self.stage_channels:
            raise InputError(
                f"stage_blocks: found {self.stage_blocks}, expected one number for each of "
                f"stage_channels {self.stage_channels}"
            )
        stride = 2 ** (len(self.stage_channels) + 1)
        if self.input_size < stride or self.input_size % stride:
            raise InputError(f"input_size: found {self.input_size}, expected a multiple of {stride}")
        for name in ("cnn_multiplier", "rnn_multiplier", "stem_channels", "recurrent_channels"):
            if getattr(self, name) <= 0:
                raise InputError(f"{name}: found {getattr(self, name)}, expected more than 0")
        if self.recurrent_steps < 0 or self.hidden_units < 0:
            raise InputError("recurrent_steps, hidden_units: found a negative number, expected 0 or more")


@dataclass(frozen=True)
class AugmentConfig:
    """Random changes of a training face; every strength is 0 for none.

    Attributes:
        mirror: probability.
        rotation: degrees, uniform in [-rotation, rotation].
        scale: standard deviation of the logarithm of the crop's side, cut at two deviations.
        shift: standard deviation of the crop's centre over its side, cut at two deviations.
        brightness, contrast, saturation, colour: largest relative change.
        grey: probability of a grey image.
        blur: largest standard deviation of a Gaussian blur in pixels (also stands for a photo
            of low resolution), applied with probability blur_probability.
        occlusion: probability of a rectangle of one colour, up to occlusion_size of the side.
        map_noise: disturbance of the initial shape of which the heat map is drawn: standard
            deviation of its shift and of the logarithm of its scale, and of its rotation in
            radians.
    """

    mirror: float = 0.5
    rotation: float = 30.0
    scale: float = 0.05
    shift: float = 0.03
    brightness: float = 0.3
    contrast: float = 0.3
    saturation: float = 0.3
    colour: float = 0.1
    grey: float = 0.1
    blur: float = 1.5
    blur_probability: float = 0.25
    occlusion: float = 0.2
    occlusion_size: float = 0.4
    map_noise: float = 0.0


@dataclass(frozen=True)
class TrainConfig:
    """How a network is trained.

    Attributes:
        epochs: passes over the training faces.
        batch_size: faces in a step, over all devices.
        learning_rate: the highest rate.
        schedule: "cosine" (linear warm-up, then half a cosine to 0), or "step" (learning_rate,
            then learning_rate_late after half of the epochs, as the paper).
        learning_rate_late: see schedule.
        warmup_epochs: length of the warm-up.
        optimizer: "adamw" or "adam".
        weight_decay: of adamw.
        loss: "nme" (mean distance over the size of the box), "wing", "smooth_l1" or "squared".
        depth_weight: weight of the z axis in the loss.
        ema: decay of the running average of the weights that is validated and exported.
        balance: share of the training batches that is drawn evenly from the yaw bins 0-30,
            30-60 and 60-90 degrees; the rest is drawn evenly from all faces.
        mixed_precision: compute in float16 (GPU) or bfloat16 (CPU).
        map_source: where heat maps come from: "layer" (in the graph) or "py_function" (NumPy in
            the input pipeline).
        image_ops: what warps and colours faces: "opencv" (fast, in this process) or "graph"
            (TensorFlow ops, which can run in another process).
        seed: of the order, the augmentation and the initial weights.
    """

    epochs: int = 200
    batch_size: int = 128
    learning_rate: float = 4e-3
    schedule: Literal["cosine", "step"] = "cosine"
    learning_rate_late: float = 1e-5
    warmup_epochs: float = 2.0
    optimizer: Literal["adamw", "adam"] = "adamw"
    weight_decay: float = 0.05
    loss: Literal["nme", "wing", "smooth_l1", "squared"] = "nme"
    depth_weight: float = 0.25
    ema: float = 0.999
    balance: float = 0.5
    mixed_precision: bool = False
    map_source: Literal["layer", "py_function"] = "layer"
    image_ops: Literal["opencv", "graph"] = "opencv"
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "learning_rate"):
            if getattr(self, name) <= 0:
                raise InputError(f"{name}: found {getattr(self, name)}, expected more than 0")
        if not 0.0 <= self.balance <= 1.0 or not 0.0 <= self.ema < 1.0:
            raise InputError(f"balance, ema: found {self.balance}, {self.ema}, expected values in [0, 1)")


def to_json(config: Any) -> str:
    """A configuration as JSON text."""
    return json.dumps(dataclasses.asdict(config), indent=2, default=str) + "\n"


def from_dict(kind: type[T], values: dict[str, Any], source: str) -> T:
    """Build a dataclass from a dict, nested dataclasses too; an unknown key is an InputError."""
    fields = {field.name: field for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    if unknown := sorted(set(values) - set(fields)):
        raise InputError(f"{source}: found unknown options {unknown}, expected some of {sorted(fields)}")
    hints = typing.get_type_hints(kind)
    return kind(**{key: _convert(hints[key], value, f"{source}.{key}") for key, value in values.items()})


def _convert(hint: Any, value: Any, source: str) -> Any:
    if dataclasses.is_dataclass(hint) and isinstance(value, dict):
        return from_dict(hint, value, source)  # type: ignore[arg-type]
    if typing.get_origin(hint) is tuple and isinstance(value, list):
        return tuple(value)
    if hint is Path or (isinstance(hint, types.UnionType) and Path in typing.get_args(hint)):
        return Path(value) if value is not None else None
    return value


def read_json(kind: type[T], path: Path) -> T:
    """Read a configuration; InputError names the file where it is missing or has unknown options."""
    if not path.is_file():
        raise InputError(f"{path}: found no such file, expected a {kind.__name__} as JSON")
    try:
        values = json.loads(path.read_text())
    except json.JSONDecodeError as error:
        raise InputError(f"{path}: found {error}, expected JSON") from error
    return from_dict(kind, values, str(path))
