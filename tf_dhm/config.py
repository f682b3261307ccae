"""Configuration: frozen dataclasses that are saved as JSON beside every run and SavedModel."""

from __future__ import annotations

import dataclasses
import json
import math
import types
import typing
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

from tf_dhm.errors import InputError

T = TypeVar("T")


@dataclass(frozen=True)
class ModelConfig:
    """A network of the DHM family.

    Attributes:
        input_size: side of the square crop in pixels.
        stem_channels: channels of the first convolution (3 x 3 with stride 2; of "vgg" 3 x 3
            with stride 1 and pooling behind it; of "hourglass" 7 x 7 with stride 2).
        stage_channels: channels of the stages. "separable": each begins with a stride-2 block;
            "vgg": each ends with pooling; "hourglass": two, of the residual modules before the
            pooling and of the hourglasses.
        stage_blocks: blocks behind the first one of each stage: residual separable blocks,
            convolutions, or residual modules (in the second stage of "hourglass", at each place
            of an hourglass).
        cnn_multiplier: multiplies stem_channels and stage_channels ("x n" of the paper).
        recurrent_channels: channels of F and h in the recurrent module (Eq. 7), or units of h
            (Eq. 4, LSTM).
        rnn_multiplier: multiplies recurrent_channels ("RNN x n").
        recurrent_steps: steps of the recurrent module; 0 leaves it out.
        hidden_units: width of a hidden dense layer before the output; 0 for none.
        heatmap_input: stack the DHM channels on the image.
        family: "fast_dhm", where the recurrent module evolves the features of one pass of the
            CNN (Eq. 7), or "dhm", where it evolves a state, of which the heat map of the next
            step is drawn (Algorithm 1). The options below are for "dhm" alone.
        backbone: the CNN: "separable" (that of Fast DHM), "vgg" or "hourglass".
        cell: the recurrent cell: "vanilla" (Eq. 4) or "lstm"; "fast" is that of Fast DHM.
        state: what evolves: the 234 "parameters" of Eq. 2 or the 204 coordinates of the
            "landmarks".
        landmarks_input: give x and y of the present landmarks to the cell.
        hourglasses: how many are stacked.
        hourglass_depth: times that an hourglass halves the size.
        morphable: the 3-D face of the state "parameters": "open_face", a file of
            `MorphableModel.save`, or a folder with a Basel Face Model.
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
    family: Literal["fast_dhm", "dhm"] = "fast_dhm"
    backbone: Literal["separable", "vgg", "hourglass"] = "separable"
    cell: Literal["fast", "vanilla", "lstm"] = "fast"
    state: Literal["parameters", "landmarks"] = "parameters"
    landmarks_input: bool = False
    hourglasses: int = 3
    hourglass_depth: int = 4
    morphable: str = "open_face"

    def __post_init__(self) -> None:
        if len(self.stage_channels) != len(self.stage_blocks) or not self.stage_channels:
            raise InputError(
                f"stage_blocks: found {self.stage_blocks}, expected one number for each of "
                f"stage_channels {self.stage_channels}"
            )
        if min(self.stage_channels) < 1 or min(self.stage_blocks) < 0:
            raise InputError(
                f"stage_channels, stage_blocks: found {self.stage_channels}, {self.stage_blocks}, "
                "expected 1 or more channels and 0 or more blocks"
            )
        if self.backbone == "hourglass" and len(self.stage_channels) != 2:
            raise InputError(f"stage_channels: found {self.stage_channels}, expected two for hourglasses")
        _check_positive(self, "cnn_multiplier", "rnn_multiplier", "stem_channels", "recurrent_channels")
        _check_positive(self, "hourglasses", "hourglass_depth")
        _check_range(self, 0, math.inf, "recurrent_steps", "hidden_units")
        halvings = 2 + self.hourglass_depth if self.backbone == "hourglass" else 1 + len(self.stage_channels)
        stride = 2**halvings
        if self.input_size < stride or self.input_size % stride:
            raise InputError(f"input_size: found {self.input_size}, expected a multiple of {stride}")
        if self.family == "fast_dhm":
            for option in dataclasses.fields(self):
                value = getattr(self, option.name)
                if option.name in DHM_OPTIONS and value != option.default:
                    raise InputError(
                        f"{option.name}: found {value}, expected {option.default} in the family fast_dhm"
                    )
        elif self.cell == "fast" and self.recurrent_steps:
            raise InputError("cell: found fast, expected vanilla or lstm in the family dhm")


DHM_OPTIONS = (
    "backbone",
    "cell",
    "state",
    "landmarks_input",
    "hourglasses",
    "hourglass_depth",
    "morphable",
)
"""Options of `ModelConfig` that the family "dhm" alone has."""


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
        detected: share of the faces that are cropped as by a detector's box: with detected_scale and
            detected_shift in place of scale and shift.
        second_pass: share of the faces that are shown as a second pass sees them: their crop upright
            about a first pass's landmarks, of which the heat map is drawn.
        second_pass_noise: mean size of that first pass's error over that of the landmark box, and
            standard deviation of its roll's in radians.
    """

    mirror: float = 0.5
    rotation: float = 20.0
    scale: float = 0.04
    shift: float = 0.02
    brightness: float = 0.2
    contrast: float = 0.2
    saturation: float = 0.2
    colour: float = 0.05
    grey: float = 0.1
    blur: float = 1.5
    blur_probability: float = 0.15
    occlusion: float = 0.1
    occlusion_size: float = 0.4
    map_noise: float = 0.0
    detected: float = 0.0
    detected_scale: float = 0.12
    detected_shift: float = 0.05
    second_pass: float = 0.0
    second_pass_noise: float = 0.02

    def __post_init__(self) -> None:
        _check_range(self, 0, 1, "mirror", "grey", "blur_probability", "occlusion", "occlusion_size")
        _check_range(self, 0, 1, "detected", "second_pass")
        _check_range(self, 0, 1, "brightness", "contrast", "saturation", "colour")
        _check_range(
            self, 0, math.inf, "rotation", "scale", "shift", "blur", "map_noise", "second_pass_noise"
        )


@dataclass(frozen=True)
class TrainConfig:
    """How a network is trained.

    Attributes:
        epochs: passes over the training faces; 0 keeps the weights that training would begin with.
        batch_size: faces in a step, over all devices.
        learning_rate: the highest rate.
        schedule: "cosine" (linear warm-up, then half a cosine to 0); as the paper's: "step"
            (learning_rate, then learning_rate_late after half of the epochs), "exponential"
            (x decay_factor every decay_steps steps) or "epochs" (x decay_factor after each of
            decay_epochs).
        learning_rate_late, decay_factor, decay_steps, decay_epochs: see schedule.
        warmup_epochs: length of the warm-up.
        optimizer: "adamw", "adam" or "rmsprop".
        weight_decay: of adamw.
        loss: "nme" (mean distance over the size of the box), "wing", "smooth_l1" or "squared".
        depth_weight: weight of the z axis in the loss.
        ema: decay of the running average of the weights that is validated and exported.
        keep: which of the running averages is exported: "best" on `val`, or the "last".
        balance: share of the training batches that is drawn evenly from the yaw bins 0-30,
            30-60 and 60-90 degrees; the rest is drawn evenly from all faces.
        pooled_statistics: what normalises the pooled features of Fast DHM in training: those of
            each "batch", or "fixed" ones, which are those of the weights that training begins with
            (mean 0 and variance 1 where it begins anew). The mean of a batch hides from the network
            where that batch lies among all poses, which "fixed" does not.
        mixed_precision: compute in float16 (GPU) or bfloat16 (CPU).
        map_source: where heat maps come from: "layer" (in the graph) or "py_function" (NumPy in
            the input pipeline).
        image_ops: what warps and colours faces: "opencv" (fast, in this process) or "graph"
            (TensorFlow ops, which can run in another process).
        seed: of the order, the augmentation and the initial weights.
    """

    epochs: int = 200
    batch_size: int = 128
    learning_rate: float = 1e-2
    schedule: Literal["cosine", "step", "exponential", "epochs"] = "cosine"
    learning_rate_late: float = 1e-5
    decay_factor: float = 0.95
    decay_steps: int = 2000
    decay_epochs: tuple[int, ...] = (5, 15, 30)
    warmup_epochs: float = 2.0
    optimizer: Literal["adamw", "adam", "rmsprop"] = "adamw"
    weight_decay: float = 0.05
    loss: Literal["nme", "wing", "smooth_l1", "squared"] = "nme"
    depth_weight: float = 0.25
    ema: float = 0.999
    keep: Literal["best", "last"] = "best"
    balance: float = 0.5
    pooled_statistics: Literal["batch", "fixed"] = "batch"
    mixed_precision: bool = False
    map_source: Literal["layer", "py_function"] = "layer"
    image_ops: Literal["opencv", "graph"] = "opencv"
    seed: int = 0

    def __post_init__(self) -> None:
        _check_positive(self, "batch_size", "learning_rate", "learning_rate_late")
        _check_range(self, 0, math.inf, "epochs", "warmup_epochs", "weight_decay", "depth_weight")
        _check_range(self, 0, 1, "balance", "ema")
        _check_range(self, 0, 2**32 - 1, "seed")
        _check_positive(self, "decay_factor", "decay_steps")
        epochs = sorted({epoch for epoch in self.decay_epochs if epoch > 0})
        if not epochs or list(self.decay_epochs) != epochs:
            raise InputError(f"decay_epochs: found {self.decay_epochs}, expected epochs from 1 on in order")
        if self.ema == 1.0:
            raise InputError("ema: found 1.0, expected less: the average would never move")


def _check_positive(config: Any, *names: str) -> None:
    for name in names:
        if not 0 < getattr(config, name) < math.inf:
            raise InputError(f"{name}: found {getattr(config, name)}, expected more than 0")


def _check_range(config: Any, low: float, high: float, *names: str) -> None:
    """Both ends are allowed, but for infinity."""
    for name in names:
        value = getattr(config, name)
        if not low <= value <= high or math.isinf(value):
            expected = f"{low} or more" if math.isinf(high) else f"{low} to {high}"
            raise InputError(f"{name}: found {value}, expected {expected}")


def differences(found: Mapping[str, Any], expected: Mapping[str, Any], but: Collection[str] = ()) -> str:
    """What of `expected` is found otherwise, leaving out the names in `but`; empty where nothing is.

    >>> differences({"images": 32, "seed": 1}, {"images": 64, "seed": 2}, but=["seed"])
    'images 32, expected 64'
    """
    return "; ".join(
        f"{name} {found.get(name)!r}, expected {value!r}"
        for name, value in expected.items()
        if name not in but and found.get(name) != value
    )


def to_json(config: Any) -> str:
    """A configuration as JSON text."""
    return json.dumps(dataclasses.asdict(config), indent=2, default=str) + "\n"


def from_dict(kind: type[T], values: Any, source: str) -> T:
    """Build a dataclass from what JSON gave, nested dataclasses too.

    Raises:
        InputError: an option is unknown, missing or of another type; names `source` and option.
    """
    if not isinstance(values, dict):
        raise InputError(f"{source}: found {values!r}, expected options by name")
    fields = {field.name: field for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    if unknown := sorted(set(values) - set(fields)):
        raise InputError(f"{source}: found unknown options {unknown}, expected some of {sorted(fields)}")
    missing = [
        name
        for name, field in fields.items()
        if name not in values
        and field.default is dataclasses.MISSING
        and field.default_factory is dataclasses.MISSING
    ]
    if missing:
        raise InputError(f"{source}: found no {', '.join(missing)}, expected a value")
    hints = typing.get_type_hints(kind)
    return kind(**{key: _convert(hints[key], value, f"{source}: {key}") for key, value in values.items()})


def _convert(hint: Any, value: Any, source: str) -> Any:
    """A JSON value as the type that `hint` says; InputError where it is another."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (types.UnionType, typing.Union):
        if value is None and type(None) in arguments:
            return None
        (hint,) = (argument for argument in arguments if argument is not type(None))
        return _convert(hint, value, source)
    if dataclasses.is_dataclass(hint):
        return from_dict(hint, value, source)  # type: ignore[arg-type]
    if origin is tuple and isinstance(value, list | tuple):
        return tuple(_convert(arguments[0], item, source) for item in value)
    if origin is Literal:
        if value not in arguments:
            raise InputError(f"{source}: found {value!r}, expected one of {', '.join(map(str, arguments))}")
        return value
    if hint is Path and isinstance(value, str):
        return Path(value)
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    expected = origin or hint
    # A bool is an int to Python, but no number of epochs.
    if hint is not Any and (
        not isinstance(value, expected) or (isinstance(value, bool) and hint is not bool)
    ):
        raise InputError(f"{source}: found {value!r}, expected {expected.__name__}")
    return value


def read_json(kind: type[T], path: Path) -> T:
    """Read a configuration; InputError names the file where it is missing or not as expected."""
    if not path.is_file():
        raise InputError(f"{path}: found no such file, expected {kind.__name__} as JSON")
    try:
        values = json.loads(path.read_text())
    except ValueError as error:  # neither text nor JSON
        raise InputError(f"{path}: found {error}, expected JSON") from error
    return from_dict(kind, values, str(path))
