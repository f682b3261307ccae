"""The members of the family by name: data, not subclasses."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from tf_dhm.core.errors import InputError
from tf_dhm.core.renamed import current_name
from tf_dhm.networks.config import ModelConfig
from tf_dhm.training.config import AugmentConfig, TrainConfig


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
DHM_RECIPE = replace(PAPER_RECIPE, learning_rate=1e-3, schedule="exponential")
"""x 0.95 every 2000 steps. The paper does not say for how long."""
HOURGLASS_RECIPE = replace(
    PAPER_RECIPE,
    epochs=40,
    batch_size=32,
    learning_rate=1e-3,
    schedule="epochs",
    decay_factor=0.1,  # the paper says when, not by how much
    decay_epochs=(5, 15, 30),
    optimizer="rmsprop",
)
TWIN_RECIPE = TrainConfig(epochs=11, batch_size=64, learning_rate=3e-3, warmup_epochs=0.5)
"""The same for all small twins; 11 epochs of wild68 are 214,000 faces."""

DHM = ModelConfig(
    family="dhm",
    input_size=224,
    backbone="vgg",
    stem_channels=64,
    stage_channels=(128, 256, 512, 512),
    stage_blocks=(0, 1, 1, 1),
    cell="vanilla",
    recurrent_channels=1488,
    recurrent_steps=4,
    hidden_units=0,
)
DHM_SMALL = replace(
    DHM,
    input_size=64,
    stem_channels=8,
    stage_channels=(24, 48, 96),
    stage_blocks=(0, 0, 0),
    recurrent_channels=256,
)
HOURGLASS = ModelConfig(
    family="dhm",
    input_size=256,
    backbone="hourglass",
    stem_channels=64,
    stage_channels=(128, 256),
    stage_blocks=(0, 0),
    cell="lstm",
    recurrent_channels=1920,
    recurrent_steps=4,
    hidden_units=0,
)
TUNED = ModelConfig(
    input_size=112,
    stage_channels=(32, 64, 96),
    cnn_multiplier=1.5,
    rnn_multiplier=0.5,
    recurrent_steps=4,
    hidden_units=0,
)
FAST_SMALL = ModelConfig(input_size=64, stage_blocks=(0, 1, 1), recurrent_channels=64, hidden_units=128)

FAST_AUGMENT = AugmentConfig(map_noise=0.08)
"""For Fast DHM on photos; docs/heat_maps.md has the measurement. The paper's recipe has no such noise, and
neither have the small twins, because they are compared with networks without heat maps."""

SYNTHETIC_AUGMENT = AugmentConfig(
    scale=0.05,
    shift=0.03,
    brightness=0.3,
    contrast=0.3,
    saturation=0.4,
    colour=0.12,
    grey=0.2,
    blur_probability=0.2,
    occlusion=0.2,
    detected=0.2,
    second_pass=0.1,
)
"""For training on rendered faces alone. Colours and sharpness of a photo differ from those of a render
more than those of two photos do, and so may the box that its crop is cut by."""


def _fast(summary: str, model: ModelConfig) -> Preset:
    return Preset(summary, model, augment=FAST_AUGMENT)


PRESETS: dict[str, Preset] = {
    "fast_dhm": _fast("Fast DHM, under 0.95 MB of weights", ModelConfig()),
    "fast_dhm_x2": _fast("Fast DHM x 2, CNN channels doubled", ModelConfig(cnn_multiplier=2.0)),
    "fast_dhm_m": _fast(
        "Fast DHM as the search found it: CNN x 1.5, RNN x 0.5, no hidden layer, 0.71 MB of weights", TUNED
    ),
    "fast_dhm_s": _fast(
        "Fast DHM as the search found it in the time of fast_dhm: CNN x 1, RNN x 0.5, 0.39 MB of weights",
        replace(TUNED, cnn_multiplier=1.0, recurrent_steps=3),
    ),
    "fast_dhm_l": _fast(
        "Fast DHM for accuracy: CNN x 3, RNN x 1, no hidden layer, 2.6 MB of weights",
        replace(TUNED, cnn_multiplier=3.0, rnn_multiplier=1.0),
    ),
    "fast_dhm_x3": _fast("Fast DHM x 3", ModelConfig(cnn_multiplier=3.0)),
    "fast_dhm_x4": _fast("Fast DHM x 4", ModelConfig(cnn_multiplier=4.0)),
    "fast_dhm_rnn_x2": _fast("Fast DHM, RNN x 2: channels of Eq. 7 doubled", ModelConfig(rnn_multiplier=2.0)),
    "fast_dhm_rnn_x3": _fast("Fast DHM, RNN x 3", ModelConfig(rnn_multiplier=3.0)),
    "fast_dhm_paper": Preset(
        "Fast DHM at the paper's 224 x 224 with its schedule, loss and batch",
        ModelConfig(
            input_size=224,
            stage_channels=(32, 64, 64, 128),
            stage_blocks=(0, 0, 3, 4),
        ),
        PAPER_RECIPE,
    ),
    "dhm": Preset("DHM: reduced VGG, vanilla RNN, four states, 196 MB; for a GPU", DHM, DHM_RECIPE),
    "dhm_rhg": Preset("DHM + RHG: three hourglasses, LSTM, 226 MB; for a GPU", HOURGLASS, HOURGLASS_RECIPE),
    "cnn_3d": Preset(
        "Ablation 3D-CNN: the heat map, no RNN; for a GPU",
        replace(DHM, recurrent_steps=0, hidden_units=1488),
        DHM_RECIPE,
    ),
    "rnn_2d": Preset(
        "Ablation 2D-RNN: 2-D landmarks instead of the heat map, 204 increments; for a GPU",
        replace(DHM, state="landmarks", heatmap_input=False, landmarks_input=True),
        DHM_RECIPE,
    ),
    "fast_cnn_vanilla_rnn": Preset(
        "Ablation: the CNN of Fast DHM in DHM, with its vanilla RNN",
        ModelConfig(family="dhm", cell="vanilla", recurrent_channels=256, recurrent_steps=4, hidden_units=0),
        TrainConfig(learning_rate=3e-3),
    ),
    "fast_dhm_small": Preset("Small twin of Fast DHM", FAST_SMALL, TWIN_RECIPE),
    "dhm_small": Preset("Small twin of DHM", DHM_SMALL, TWIN_RECIPE),
    "dhm_rhg_small": Preset(
        "Small twin of DHM + RHG",
        replace(
            HOURGLASS,
            input_size=64,
            stem_channels=16,
            stage_channels=(24, 32),
            hourglasses=2,
            hourglass_depth=2,
            recurrent_channels=128,
        ),
        TWIN_RECIPE,
    ),
    "cnn_3d_small": Preset(
        "Small twin of 3D-CNN", replace(DHM_SMALL, recurrent_steps=0, hidden_units=256), TWIN_RECIPE
    ),
    "rnn_2d_small": Preset(
        "Small twin of 2D-RNN",
        replace(DHM_SMALL, state="landmarks", heatmap_input=False, landmarks_input=True),
        TWIN_RECIPE,
    ),
    "fast_cnn_vanilla_rnn_small": Preset(
        "Small twin of the fast CNN with the vanilla RNN",
        replace(
            FAST_SMALL,
            family="dhm",
            cell="vanilla",
            recurrent_channels=256,
            recurrent_steps=4,
            hidden_units=0,
        ),
        TWIN_RECIPE,
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
    name = current_name(name)
    if name not in PRESETS:
        raise InputError(f"preset: found {name!r}, expected one of {', '.join(PRESETS)}")
    return PRESETS[name]
