"""Configurations: JSON round trip, unknown options and wrong values."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tf_dhm.core.configuration import differences, from_dict, read_json, to_json
from tf_dhm.core.errors import InputError
from tf_dhm.networks.config import ModelConfig
from tf_dhm.training.config import NO_AUGMENTATION, AugmentConfig, TrainConfig
from tf_dhm.training.presets import PRESETS


@dataclass(frozen=True)
class Example:
    """Every type of field that configurations have."""

    name: str
    folder: Path | None = None
    count: int = 1
    rate: float = 0.5
    flag: bool = False
    kind: Literal["a", "b"] = "a"
    widths: tuple[int, ...] = (1, 2)
    model: ModelConfig = field(default_factory=ModelConfig)
    began: dict[str, Any] | None = None


def test_json_round_trip_of_every_type(tmp_path: Path) -> None:
    config = Example("x", Path("some/where"), 3, 2.0, True, "b", (4,), ModelConfig(input_size=64), {"a": [1]})
    path = tmp_path / "config.json"
    path.write_text(to_json(config))
    assert read_json(Example, path) == config
    assert read_json(Example, path).folder == Path("some/where")


@pytest.mark.parametrize("preset", PRESETS.values(), ids=PRESETS.keys())
def test_json_round_trip_of_presets(preset: Any) -> None:
    for config in (preset.model, preset.train, preset.augment):
        assert from_dict(type(config), json.loads(to_json(config)), "x") == config


@given(
    st.builds(
        ModelConfig,
        input_size=st.integers(1, 20).map(lambda n: 16 * n),
        cnn_multiplier=st.floats(0.1, 8.0),
        rnn_multiplier=st.floats(0.1, 8.0),
        recurrent_steps=st.integers(0, 9),
        heatmap_input=st.booleans(),
    )
)
def test_json_round_trip_of_any_network(config: ModelConfig) -> None:
    assert from_dict(ModelConfig, json.loads(to_json(config)), "x") == config


def test_a_whole_number_is_a_float_too() -> None:
    rate = from_dict(Example, {"name": "x", "rate": 2}, "x").rate
    assert rate == 2.0
    assert isinstance(rate, float)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"name": "x", "epoch": 3}, r"run.json: found unknown options \['epoch'\], expected some of"),
        ({"name": "x", "model": {"size": 3}}, r"run.json: model: found unknown options \['size'\]"),
        ({"count": 3}, "run.json: found no name, expected a value"),
        ({"name": 5}, "run.json: name: found 5, expected str"),
        ({"name": "x", "count": "3"}, "run.json: count: found '3', expected int"),
        ({"name": "x", "count": 3.5}, "run.json: count: found 3.5, expected int"),
        ({"name": "x", "count": True}, "run.json: count: found True, expected int"),
        ({"name": "x", "count": None}, "run.json: count: found None, expected int"),
        ({"name": "x", "rate": "fast"}, "run.json: rate: found 'fast', expected float"),
        ({"name": "x", "flag": 1}, "run.json: flag: found 1, expected bool"),
        ({"name": "x", "kind": "c"}, "run.json: kind: found 'c', expected one of a, b"),
        ({"name": "x", "widths": 3}, "run.json: widths: found 3, expected a list"),
        ({"name": "x", "widths": [1, "2"]}, "run.json: widths: found '2', expected int"),
        ({"name": "x", "folder": 3}, "run.json: folder: found 3, expected Path"),
        ({"name": "x", "model": 3}, "run.json: model: found 3, expected options by name"),
        ([1], r"run.json: found \[1\], expected options by name"),
    ],
)
def test_unknown_missing_and_wrong_options(values: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        from_dict(Example, values, "run.json")


def test_files_that_hold_no_configuration(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none.json: found no such file, expected TrainConfig as JSON"):
        read_json(TrainConfig, tmp_path / "none.json")
    path = tmp_path / "broken.json"
    path.write_text('{"epochs": ')
    with pytest.raises(InputError, match=r"broken.json: found .*, expected JSON"):
        read_json(TrainConfig, path)
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match=r"broken.json: found .*, expected JSON"):
        read_json(TrainConfig, path)


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        (ModelConfig, {"input_size": 100}),
        (ModelConfig, {"input_size": 0}),
        (ModelConfig, {"stage_blocks": (1, 2)}),
        (ModelConfig, {"stage_blocks": (0, 3, -1)}),
        (ModelConfig, {"stage_channels": (8, 0, 8)}),
        (ModelConfig, {"cnn_multiplier": 0.0}),
        (ModelConfig, {"rnn_multiplier": float("nan")}),
        (ModelConfig, {"recurrent_steps": -1}),
        (ModelConfig, {"family": "slow_dhm"}),
        (ModelConfig, {"heatmap_input": 1}),
        (TrainConfig, {"epochs": -1}),
        (TrainConfig, {"batch_size": 0}),
        (TrainConfig, {"learning_rate": float("inf")}),
        (TrainConfig, {"learning_rate_late": 0.0}),
        (TrainConfig, {"balance": 1.5}),
        (TrainConfig, {"ema": 1.0}),
        (TrainConfig, {"ema": -0.1}),
        (TrainConfig, {"seed": 2**32}),
        (TrainConfig, {"seed": True}),
        (TrainConfig, {"decay_epochs": (5, 3)}),
        (TrainConfig, {"decay_epochs": (0, 3)}),
        (TrainConfig, {"decay_epochs": ()}),
        (AugmentConfig, {"mirror": 1.1}),
        (AugmentConfig, {"mirror": "0.5"}),
        (AugmentConfig, {"contrast": -0.1}),
        (AugmentConfig, {"rotation": -30.0}),
        (AugmentConfig, {"detected_scale": -1}),
        (AugmentConfig, {"detected_shift": float("nan")}),
        (AugmentConfig, {"detected_yaw_factors": (1.0, 1.0)}),
        (AugmentConfig, {"detected_yaw_factors": (1.0, -0.1, 1.0)}),
    ],
)
def test_a_wrong_value_is_named_with_its_field(kind: type, values: dict[str, Any]) -> None:
    (name,) = values
    with pytest.raises(InputError) as caught:
        kind(**values)
    assert str(caught.value).startswith(f"{name}: found ")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_numbers_of_json_are_finite_too(value: float) -> None:
    with pytest.raises(InputError, match=r"^run.json: rotation: found"):
        from_dict(AugmentConfig, {"rotation": value}, "run.json")


def test_a_fault_of_a_nested_configuration_is_named_with_its_path() -> None:
    with pytest.raises(InputError, match=r"^run.json: model: input_size: found 100"):
        from_dict(Example, {"name": "x", "model": {"input_size": 100}}, "run.json")
    with pytest.raises(InputError, match=r"^run.json: model.stage_blocks: found -1"):
        from_dict(Example, {"name": "x", "model": {"stage_blocks": [0, -1, 0]}}, "run.json")
    with pytest.raises(InputError, match=r"^run.json: model.family: .* one of fast_dhm, dhm"):
        from_dict(Example, {"name": "x", "model": {"family": "slow"}}, "run.json")


def test_values_at_the_ends_of_their_range() -> None:
    TrainConfig(balance=0.0, ema=0.0, warmup_epochs=0.0, seed=2**32 - 1)
    TrainConfig(balance=1.0)
    dataclasses.replace(NO_AUGMENTATION, detected_yaw_factors=(0.0, 0.0, 0.0))
    ModelConfig(recurrent_steps=0, hidden_units=0)


def test_differences_by_the_names_that_are_expected() -> None:
    found, expected = {"a": 1, "b": "x", "other": 0}, {"a": 1, "b": "y", "c": None, "d": 2}
    assert differences(found, expected) == "b 'x', expected 'y'; d None, expected 2"
    assert differences(found, expected, but=("b", "d")) == ""
