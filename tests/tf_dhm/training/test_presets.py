"""The members of the family: their sizes and what the paper prints of them."""

from __future__ import annotations

import pytest

from tf_dhm.core.errors import InputError
from tf_dhm.networks.models import build_model, weight_bytes
from tf_dhm.training.presets import PRESETS, find_preset


@pytest.mark.parametrize(
    ("name", "low", "high"),
    [
        ("fast_dhm", 850_000, 950_000),
        ("fast_dhm_tuned", 700_000, 710_000),
        ("fast_dhm_tuned_x1", 380_000, 390_000),
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
