"""Configuration of the augmentation and of the training."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Annotated, Any, Literal

from msgspec import Meta

from tf_dhm.core.configuration import (
    AtLeastOne,
    Count,
    NotNegative,
    Positive,
    Seed,
    Share,
    check_fields,
)
from tf_dhm.core.errors import InputError

CALIBRATION_STEPS = 20
"""Batches over which the statistics of the averaged weights are measured."""
Distribution = Literal["none", "mirrored", "multi_worker"]
"""Devices that train together: one alone, those of this machine, or those of several machines."""


@dataclass(frozen=True)
class AugmentConfig:
    """Random changes of a training face; a strength of 0 turns a change off.

    Attributes:
        mirror: probability of a mirror image.
        rotation: largest rotation in degrees, uniform in [-rotation, rotation].
        scale: standard deviation of the logarithm of the crop's side, cut at two deviations.
        shift: standard deviation of the crop's centre over its side, cut at two deviations.
        brightness: largest relative change of the brightness.
        contrast: largest relative change of the contrast.
        saturation: largest relative change of the saturation.
        colour: largest relative change of each of red, green and blue.
        grey: probability of a grey image.
        blur: largest standard deviation of a Gaussian blur in pixels (also stands for a photo
            of low resolution).
        blur_probability: probability of a blur.
        occlusion: probability of a rectangle of one colour.
        occlusion_size: largest side of that rectangle over that of the crop.
        map_noise: disturbance of the initial shape of which the heat map is drawn: standard
            deviation of its shift and of the logarithm of its scale, and of its rotation in
            radians.
        detected: share of the faces that are cropped as by a detector's box: with detected_scale and
            detected_shift instead of scale and shift.
        detected_scale: scale of those faces.
        detected_shift: shift of those faces.
        detected_yaw_factors: factors of detected_scale and detected_shift for faces in the yaw bins 0-30,
            30-60 and 60-90 degrees, since a detector's box is less exact the more a face is turned.
        second_pass: share of the faces that are shown as a second pass sees them: their crop upright
            about a first pass's landmarks, of which the heat map is drawn.
        second_pass_noise: error of that first pass: its mean over the size of the landmark box, and the
            standard deviation of the error of its roll in radians.
    """

    mirror: Share = 0.5
    rotation: NotNegative = 20.0
    scale: NotNegative = 0.04
    shift: NotNegative = 0.02
    brightness: Share = 0.2
    contrast: Share = 0.2
    saturation: Share = 0.2
    colour: Share = 0.05
    grey: Share = 0.1
    blur: NotNegative = 1.5
    blur_probability: Share = 0.15
    occlusion: Share = 0.1
    occlusion_size: Share = 0.4
    map_noise: NotNegative = 0.0
    detected: Share = 0.0
    detected_scale: NotNegative = 0.12
    detected_shift: NotNegative = 0.05
    detected_yaw_factors: tuple[NotNegative, NotNegative, NotNegative] = (1.0, 1.0, 1.0)
    second_pass: Share = 0.0
    second_pass_noise: NotNegative = 0.02

    def __post_init__(self) -> None:
        check_fields(self)


_STRENGTHS: dict[str, Any] = {
    field.name: 0.0 for field in fields(AugmentConfig) if isinstance(field.default, float)
}
NO_AUGMENTATION = AugmentConfig(**_STRENGTHS)
"""The configuration that changes nothing: all strengths and shares are 0."""


@dataclass(frozen=True)
class TrainConfig:
    """How a network is trained.

    Attributes:
        epochs: passes over the training faces, with a validation after each; 0 keeps the initial weights.
        epoch_faces: faces seen in an epoch; 0 for one pass over all faces.
        batch_size: faces in a step, over all devices.
        learning_rate: highest learning rate; by default a tenth of the preset's with --init.
        schedule: "cosine" (linear warm-up, then half a cosine to 0), or one of the paper's: "step"
            (learning_rate, then learning_rate_late after half of the epochs), "exponential"
            (x decay_factor every decay_steps steps) or "epochs" (x decay_factor after each of
            decay_epochs).
        learning_rate_late: learning rate of the schedule "step" after half of the epochs.
        decay_factor: factor of the learning rate in the schedules "exponential" and "epochs".
        decay_steps: steps after which the schedule "exponential" applies the factor.
        decay_epochs: epochs after which the schedule "epochs" applies the factor.
        warmup_epochs: epochs of the linear warm-up of the schedule "cosine".
        optimizer: optimizer of the weights.
        weight_decay: weight decay of "adamw"; each step subtracts this share of a weight, times the learning
            rate.
        loss: loss over the landmarks: "nme" (mean distance over the size of the box), "wing",
            "smooth_l1" or "squared".
        depth_weight: weight of the z axis in the loss.
        teacher_share: share of the teacher's landmarks in the loss, if there is a teacher; the rest is the
            share of the labels.
        sigma_floor: C of the weights 1 / (sigma² + C²) of landmarks in the loss, in percent of the size of
            a face; 0 weights all landmarks equally. Needs a dataset that states how uncertain its labels are.
        ema: decay of the running average of the weights that is validated and exported.
        keep: which of the running averages is exported: "best" on `val`, or the "last".
        balance: share of the training batches that is drawn evenly from the yaw bins 0-30,
            30-60 and 60-90 degrees; the rest is drawn evenly from all faces.
        pooled_statistics: statistics that normalise the pooled features of Fast DHM in training: those
            of each "batch", or "fixed" ones, which belong to the initial weights (mean 0 and variance 1
            for new weights). The mean of a batch hides from the network where that batch lies among
            all poses; "fixed" statistics do not. The default with --init is "fixed".
        mixed_precision: compute in float16 (GPU) or bfloat16 (CPU).
        map_source: where the heat maps are drawn: "py_function" (NumPy in the tf.data pipeline, a map for
            every face of a batch) or "layer" (in the training step, for the faces whose initial shape
            is not the mean face), which a data service needs.
        image_ops: operations that warp and colour faces: "opencv" (fast, in this process) or "graph"
            (TensorFlow ops, which can run in another process).
        seed: seed of the order, the augmentation and the initial weights.
    """

    epochs: Count = 200
    epoch_faces: Count = 0
    batch_size: AtLeastOne = 128
    learning_rate: Positive = 1e-2
    schedule: Literal["cosine", "step", "exponential", "epochs"] = "cosine"
    learning_rate_late: Positive = 1e-5
    decay_factor: Positive = 0.95
    decay_steps: AtLeastOne = 2000
    decay_epochs: tuple[AtLeastOne, ...] = (5, 15, 30)
    warmup_epochs: NotNegative = 2.0
    optimizer: Literal["adamw", "adam", "rmsprop"] = "adamw"
    weight_decay: NotNegative = 0.05
    loss: Literal["nme", "wing", "smooth_l1", "squared"] = "nme"
    depth_weight: NotNegative = 0.25
    teacher_share: Share = 0.5
    sigma_floor: NotNegative = 0.0
    ema: Annotated[float, Meta(ge=0, lt=1)] = 0.999
    keep: Literal["best", "last"] = "best"
    balance: Share = 0.5
    pooled_statistics: Literal["batch", "fixed"] = "batch"
    mixed_precision: bool = False
    map_source: Literal["py_function", "layer"] = "py_function"
    image_ops: Literal["opencv", "graph"] = "opencv"
    seed: Seed = 0

    def __post_init__(self) -> None:
        check_fields(self)
        epochs = sorted(set(self.decay_epochs))
        if not epochs or list(self.decay_epochs) != epochs:
            raise InputError(f"decay_epochs: found {self.decay_epochs}, expected epochs in rising order")
