"""Options of a training in JAX, of the packing before it, and of the export after it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Literal

import tyro
from msgspec import Meta

from pipelines.runs.options import DataOptions
from tf_dhm.core.command_line import Group
from tf_dhm.core.configuration import AtLeastOne, Count, NotNegative, Positive, Seed, Share, check_fields
from tf_dhm.core.errors import InputError
from tf_dhm.networks.config import ModelConfig
from tf_dhm.training.config import AugmentConfig, TrainConfig
from tf_dhm.training.presets import FAST_AUGMENT, find_preset

AUGMENT = replace(FAST_AUGMENT, brightness=0.35, contrast=0.35, detected=0.3, second_pass=0.25)


@dataclass(frozen=True)
class PackOptions:
    """Pack faces, and weights to begin with, into a folder in which `train` needs no TensorFlow."""

    folder: Path
    """Folder to write."""
    init: tuple[str, ...] = ()
    """SavedModels whose weights networks begin with, each those of the preset that it was built from."""
    input_size: AtLeastOne = 112
    """Side of the crops of the networks in pixels."""
    quality: Annotated[int, Meta(ge=1, le=100)] = 80
    """Quality of the packed images, which are WebP files."""
    threads: Count = 0
    """Processes that render synthetic faces; 0 for all cores."""
    data: Annotated[DataOptions, tyro.conf.arg(name=""), Group("data", brief=False)] = field(
        default_factory=DataOptions
    )

    def __post_init__(self) -> None:
        check_fields(self)
        self.data.folders()  # which rejects a wrong dataset or folder


@dataclass(frozen=True)
class TrainOptions:
    """Train several networks at once in JAX, in a folder that `pack` wrote."""

    folder: Path
    """Folder with the packed faces; weights and results are written to it."""
    networks: tuple[str, ...] = ("fast_dhm_s", "fast_dhm_m", "fast_dhm_l")
    """Presets to train, all on the same batches. Each starts from the weights that `pack --init` put into the
    folder, and otherwise from new ones."""
    new_weights: bool = False
    """Start every network from new weights."""
    rnn_multiplier: Positive | None = None
    """RNN multiplier of the networks in place of that of their presets. It widens the pooled features too."""
    dataset: tuple[str, ...] = ()
    """Packed datasets to train on; by default all. The faces of `val` stay those of all."""
    steps: AtLeastOne = 13_400
    """Steps of the training."""
    batch_size: AtLeastOne = 512
    """Faces in a step."""
    learning_rate: Positive = 1e-2
    """Highest learning rate; it falls to 0 by half a cosine."""
    warmup_steps: Count = 400
    """Steps in which the learning rate rises, of the teachers too."""
    teacher_steps: Count = 6_400
    """Steps of the training of the teachers; 0 for a training without teachers."""
    teachers: Annotated[int, Meta(ge=2)] = 3
    """Number of teachers. Each leaves out one part of the faces, and teaches on that part."""
    teacher_batch_size: AtLeastOne = 256
    """Faces in a step of the teachers."""
    teacher_learning_rate: Positive = 6e-3
    """Highest learning rate of the teachers."""
    teacher_cnn_multiplier: Positive = 4.0
    """CNN multiplier of the teachers, which are otherwise as the last of the networks."""
    teacher_rnn_multiplier: Positive = 1.0
    """RNN multiplier of the teachers."""
    teacher_input_size: AtLeastOne | None = None
    """Side of the teachers' crops in pixels; by default that of the networks."""
    teacher_share: Share = TrainConfig.teacher_share
    """Share of the teachers' landmarks in the loss; that of the labels is the rest."""
    weight_decay: NotNegative = TrainConfig.weight_decay
    """Share of a weight that a step subtracts, times the learning rate."""
    sigma_floor: NotNegative = TrainConfig.sigma_floor
    """Weights of uncertain landmarks in the loss, as in train.py; 0: all landmarks weigh the same."""
    pooled_statistics: Literal["batch", "fixed"] = "fixed"
    """Statistics that normalize the pooled features in training, as in train.py."""
    depth_weight: NotNegative = TrainConfig.depth_weight
    """Weight of the z axis in the loss."""
    ema: Annotated[float, Meta(ge=0, lt=1)] = TrainConfig.ema
    """Decay of the running average of the weights that is the result."""
    balance: Share = TrainConfig.balance
    """Share of the batches that is drawn evenly from the yaw bins 0-30, 30-60 and 60-90 degrees."""
    steps_at_once: AtLeastOne = 200
    """Steps between two lines of the log, which run on the GPU without Python; all steps are a multiple."""
    threads: Count = 0
    """Threads that decode the images; 0 for one per core."""
    seed: Seed = 0
    """Seed of the order, the augmentation, the parts and new weights."""
    augment: Annotated[AugmentConfig, tyro.conf.arg(name=""), Group("augmentation")] = AUGMENT

    def __post_init__(self) -> None:
        check_fields(self)
        if not self.networks or len(set(self.networks)) < len(self.networks):
            raise InputError(f"networks: found {self.networks}, expected one or more different presets")
        for name in ("steps", "teacher_steps"):
            if (steps := getattr(self, name)) % self.steps_at_once:
                raise InputError(f"{name}: found {steps}, expected a multiple of {self.steps_at_once} steps")


@dataclass(frozen=True)
class ExportOptions:
    """Export the networks that were trained in a folder as SavedModels, without visibility and confidence."""

    folder: Path
    """Folder in which `train` trained."""
    models_dir: Path
    """Folder to which the models are written, as NAME/1. `train.py --init MODELS_DIR/NAME` trains one
    further, or fits visibility and confidence to it."""

    def __post_init__(self) -> None:
        check_fields(self)


def network(name: str, options: TrainOptions) -> ModelConfig:
    """The network of a preset, with the widths of `options`."""
    config = find_preset(name).model
    if options.rnn_multiplier is None:
        return config
    return replace(config, rnn_multiplier=options.rnn_multiplier)
