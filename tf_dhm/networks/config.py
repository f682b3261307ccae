"""Configuration of a network."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Literal

from tf_dhm.core.configuration import AtLeastOne, Count, Positive, check_fields
from tf_dhm.core.errors import InputError


@dataclass(frozen=True)
class ModelConfig:
    """A network of the DHM family.

    Attributes:
        input_size: side of the square crop in pixels.
        stem_channels: channels of the first convolution (3 x 3 with stride 2; of "vgg" 3 x 3
            with stride 1 followed by pooling; of "hourglass" 7 x 7 with stride 2).
        stage_channels: channels of the stages. "separable": each begins with a stride-2 block;
            "vgg": each ends with pooling; "hourglass": two, of the residual modules before the
            pooling and of the hourglasses.
        stage_blocks: blocks after the first one of each stage: residual separable blocks,
            convolutions, or residual modules (in the second stage of "hourglass", at each place
            of an hourglass).
        cnn_multiplier: factor of stem_channels and stage_channels ("x n" of the paper).
        recurrent_channels: channels of F and h in the recurrent module (Eq. 7), or units of h
            (Eq. 4, LSTM).
        rnn_multiplier: factor of recurrent_channels ("RNN x n").
        recurrent_steps: steps of the recurrent module; 0 leaves it out.
        hidden_units: width of a hidden dense layer before the output; 0 for none.
        heatmap_input: stack the DHM channels on the image.
        family: "fast_dhm", whose recurrent module evolves the features of one pass of the CNN
            (Eq. 7), or "dhm", whose recurrent module evolves a state, from which the heat map of the
            next step is drawn (Algorithm 1). The options below are for "dhm" alone.
        backbone: the CNN: "separable" (that of Fast DHM), "vgg" or "hourglass".
        cell: the recurrent cell: "vanilla" (Eq. 4) or "lstm"; "fast" is that of Fast DHM.
        state: the state that evolves: the 234 "parameters" of Eq. 2 or the 204 coordinates of the
            "landmarks".
        landmarks_input: give x and y of the current landmarks to the cell.
        hourglasses: number of stacked hourglasses.
        hourglass_depth: number of times that an hourglass halves the size.
        morphable: the 3-D face of the state "parameters": "open_face", a file of
            `MorphableModel.save`, or a folder with a Basel Face Model.
    """

    input_size: AtLeastOne = 96
    stem_channels: AtLeastOne = 16
    stage_channels: tuple[AtLeastOne, ...] = (32, 64, 128)
    stage_blocks: tuple[Count, ...] = (0, 3, 4)
    cnn_multiplier: Positive = 1.0
    recurrent_channels: AtLeastOne = 128
    rnn_multiplier: Positive = 1.0
    recurrent_steps: Count = 3
    hidden_units: Count = 272
    heatmap_input: bool = True
    family: Literal["fast_dhm", "dhm"] = "fast_dhm"
    backbone: Literal["separable", "vgg", "hourglass"] = "separable"
    cell: Literal["fast", "vanilla", "lstm"] = "fast"
    state: Literal["parameters", "landmarks"] = "parameters"
    landmarks_input: bool = False
    hourglasses: AtLeastOne = 3
    hourglass_depth: AtLeastOne = 4
    morphable: str = "open_face"

    def __post_init__(self) -> None:
        check_fields(self)
        if len(self.stage_channels) != len(self.stage_blocks) or not self.stage_channels:
            raise InputError(
                f"stage_blocks: found {self.stage_blocks}, expected one number for each of "
                f"stage_channels {self.stage_channels}"
            )
        if self.backbone == "hourglass" and len(self.stage_channels) != 2:
            raise InputError(f"stage_channels: found {self.stage_channels}, expected two for hourglasses")
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

WIDTH_MULTIPLE = 8
"""Widths are multiples of this, which suits the vector units of CPUs."""


def scaled_width(channels: int, multiplier: float) -> int:
    """channels x multiplier, rounded to a multiple of WIDTH_MULTIPLE."""
    return max(WIDTH_MULTIPLE, round(channels * multiplier / WIDTH_MULTIPLE) * WIDTH_MULTIPLE)


def stages(config: ModelConfig) -> list[tuple[int, int]]:
    """Channels, with the multiplier, and further blocks of each stage."""
    widths = [scaled_width(channels, config.cnn_multiplier) for channels in config.stage_channels]
    return list(zip(widths, config.stage_blocks, strict=True))
