"""The members of the family by name: data, not subclasses."""

from __future__ import annotations

from dataclasses import dataclass, field

from tf_dhm.config import AugmentConfig, ModelConfig, TrainConfig
from tf_dhm.errors import InputError


@dataclass(frozen=True)
class Preset:
    """A network with the recipe that trains it."""

    summary: str
    model: ModelConfig
    train: TrainConfig = field(default_factory=TrainConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)


PAPER_RECIPE = TrainConfig(
    epochs=120,
    batch_size=50,
    learning_rate=5e-3,
    schedule="step",
    learning_rate_late=1e-5,
    optimizer="adam",
    loss="squared",
    depth_weight=1.0,
    balance=0.0,
)

PRESETS: dict[str, Preset] = {
    "fast_dhm": Preset("Fast DHM, under 0.95 MB of weights", ModelConfig()),
    "fast_dhm_x2": Preset("Fast DHM x 2, CNN channels doubled", ModelConfig(cnn_multiplier=2.0)),
    "fast_dhm_paper": Preset(
        "Fast DHM at the paper's 224 x 224 with its schedule, loss and batch",
        ModelConfig(
            input_size=224,
            stage_channels=(32, 64, 64, 128),
            stage_blocks=(0, 0, 3, 4),
        ),
        PAPER_RECIPE,
    ),
    "tiny": Preset(
        "A very small network for trying things out",
        ModelConfig(
            input_size=64,
            stem_channels=8,
            stage_channels=(16, 32),
            stage_blocks=(0, 1),
            recurrent_channels=32,
            hidden_units=64,
        ),
        TrainConfig(epochs=2, batch_size=32, warmup_epochs=0.1),
    ),
}


def find_preset(name: str) -> Preset:
    """The preset of that name; InputError lists the known ones."""
    if name not in PRESETS:
        raise InputError(f"preset: found {name!r}, expected one of {', '.join(PRESETS)}")
    return PRESETS[name]
