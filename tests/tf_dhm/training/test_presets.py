"""The members of the family: their sizes and what the paper prints of them."""

from __future__ import annotations

from dataclasses import replace

import pytest
import tensorflow as tf

from tf_dhm.core.errors import InputError
from tf_dhm.core.renamed import RENAMED
from tf_dhm.networks.models import build_model, weight_bytes
from tf_dhm.runtime.store import DEFAULT_MODEL
from tf_dhm.training.config import TrainConfig
from tf_dhm.training.optimizers import make_optimizer
from tf_dhm.training.presets import PRESETS, find_preset

SMALL = sorted(name for name in PRESETS if name.endswith("_small"))


@pytest.mark.parametrize(
    ("name", "low", "high"),
    [
        ("fast_dhm", 850_000, 950_000),
        ("fast_dhm_m", 700_000, 710_000),
        ("fast_dhm_s", 380_000, 390_000),
        ("fast_dhm_l", 2_500_000, 2_600_000),
        ("fast_dhm_x2", 2_100_000, 2_300_000),
    ],
)
def test_bytes_of_weights(name: str, low: int, high: int) -> None:
    assert low <= weight_bytes(build_model(find_preset(name).model)) <= high


def test_the_paper_s_recipe() -> None:
    preset = find_preset("fast_dhm_paper")
    assert preset.model.input_size == 224
    recipe = preset.train
    assert (recipe.optimizer, recipe.learning_rate, recipe.batch_size) == ("adam", 5e-3, 50)
    assert (recipe.epochs, recipe.schedule, recipe.learning_rate_late) == (120, "step", 1e-5)
    assert (recipe.loss, recipe.depth_weight, recipe.balance) == ("squared", 1.0, 0.0)


def test_twice_the_channels_is_the_only_difference_of_the_wide_network() -> None:
    wide, narrow = find_preset("fast_dhm_x2").model, find_preset("fast_dhm").model
    assert wide.cnn_multiplier == 2.0 * narrow.cnn_multiplier
    assert wide.rnn_multiplier == narrow.rnn_multiplier


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(InputError) as caught:
        find_preset("fastdhm")
    assert str(caught.value).startswith("preset: found 'fastdhm', expected one of ")
    assert all(name in str(caught.value) for name in PRESETS)


def test_multipliers_change_one_width_alone() -> None:
    plain = find_preset("fast_dhm").model
    for n in (2, 3, 4):
        assert find_preset(f"fast_dhm_x{n}").model == replace(plain, cnn_multiplier=float(n))
    for n in (2, 3):
        assert find_preset(f"fast_dhm_rnn_x{n}").model == replace(plain, rnn_multiplier=float(n))


def test_ablations_differ_from_dhm_by_what_they_leave_out() -> None:
    for suffix in ("", "_small"):
        dhm, cnn_3d, rnn_2d = (find_preset(f"{name}{suffix}").model for name in ("dhm", "cnn_3d", "rnn_2d"))
        assert (dhm.recurrent_steps, cnn_3d.recurrent_steps, rnn_2d.recurrent_steps) == (4, 0, 4)
        assert (dhm.heatmap_input, cnn_3d.heatmap_input, rnn_2d.heatmap_input) == (True, True, False)
        assert cnn_3d.hidden_units == dhm.recurrent_channels
        assert replace(cnn_3d, recurrent_steps=4, hidden_units=0) == dhm
        assert replace(rnn_2d, state="parameters", heatmap_input=True, landmarks_input=False) == dhm
        fast, vanilla = (
            find_preset(f"{name}{suffix}").model for name in ("fast_dhm", "fast_cnn_vanilla_rnn")
        )
        cnn = ("input_size", "stem_channels", "stage_channels", "stage_blocks", "cnn_multiplier", "backbone")
        assert all(getattr(fast, option) == getattr(vanilla, option) for option in cnn)


def rates(config: TrainConfig, steps_per_epoch: int, steps: tuple[int, ...]) -> list[float]:
    optimizer = make_optimizer(config, steps_per_epoch)
    return [float(optimizer._learning_rate(tf.constant(step, tf.int64))) for step in steps]


def test_the_recipe_of_dhm() -> None:
    recipe = find_preset("dhm").train
    assert (recipe.optimizer, recipe.batch_size, recipe.loss) == ("adam", 50, "squared")
    expected = [1e-3, 1e-3, 0.95e-3, 0.95e-3, 0.95**2 * 1e-3]
    assert rates(recipe, 1163, (0, 1999, 2000, 3999, 4000)) == pytest.approx(expected)


def test_the_recipe_of_the_hourglasses() -> None:
    recipe = find_preset("dhm_rhg").train
    assert (recipe.epochs, recipe.batch_size, recipe.loss) == (40, 32, "squared")
    assert type(make_optimizer(recipe, 10)) is tf.keras.optimizers.RMSprop
    # Of 10 steps an epoch: epochs 1 to 5 are steps 0 to 49.
    expected = [1e-3, 1e-3, 1e-4, 1e-4, 1e-5, 1e-5, 1e-6, 1e-6]
    assert rates(recipe, 10, (0, 49, 50, 149, 150, 299, 300, 399)) == pytest.approx(expected)


def test_the_twins_share_one_recipe() -> None:
    assert len({find_preset(name).train for name in SMALL}) == 1
    assert len({find_preset(name).model.input_size for name in SMALL}) == 1


def test_the_default_model_is_a_preset_and_earlier_names_are_presets_with_a_warning() -> None:
    assert DEFAULT_MODEL in PRESETS
    for old, new in RENAMED.items():
        with pytest.warns(FutureWarning, match=new):
            assert find_preset(old) is PRESETS[new]
