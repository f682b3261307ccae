"""Options of a run: datasets and their folders, and files of earlier versions."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from pipelines.runs.options import DataOptions, Options, differences, read_options
from tf_dhm.core import configuration
from tf_dhm.core.errors import InputError
from tf_dhm.training.config import TrainConfig

A, B = Path("a"), Path("b")


@pytest.mark.parametrize(
    ("dataset", "data_dir", "expected"),
    [
        (("synthetic",), (), [None]),
        (("synthetic",), (A,), [A]),
        (("csv",), (Path("a,b"),), [Path("a,b")]),
        (("wild68", "synthetic"), (A,), [A, None]),
        (("synthetic", "wild68"), (A,), [None, A]),
        (("wild68", "synthetic"), (A, B), [A, B]),
        (("synthetic", "csv", "wild68"), (A, B), [None, A, B]),
        (("synthetic", "synthetic"), (A, B), [A, B]),
    ],
)
def test_datasets_and_their_folders(
    dataset: tuple[str, ...], data_dir: tuple[Path, ...], expected: list[Path | None]
) -> None:
    folders = DataOptions(dataset=dataset, data_dir=data_dir).folders()
    assert folders == list(zip(dataset, expected, strict=True))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dataset": ("wild68",)}, "data-dir: found none for wild68"),
        ({"dataset": ("synthetic", "csv", "wild68"), "data_dir": (A,)}, "data-dir: found none for wild68"),
        ({"dataset": ("wild68", "csv"), "data_dir": (A, B, A)}, "data-dir: found 3"),
        ({"dataset": ("synthetic", "synthetic"), "data_dir": (A,)}, "data-dir: found a too"),
        ({"dataset_weights": (1.0, 2.0)}, "dataset_weights: found 2"),
        ({"dataset": ("synthetic", "")}, "dataset: found ''"),
        ({"dataset": ()}, "dataset: found none"),
        ({"test_faces": -1}, "test_faces: found -1"),
    ],
)
def test_datasets_that_do_not_fit(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        DataOptions(**changes).folders()


def test_a_negative_number_of_quality_crops() -> None:
    with pytest.raises(InputError, match="quality_crops: found -1"):
        Options(quality_crops=-1)


def test_options_are_written_and_read(tmp_path: Path) -> None:
    options = Options(
        data=DataOptions(dataset=("wild68", "csv"), data_dir=(A, B), dataset_weights=(2.0, 1.0)), threads=2
    )
    file = tmp_path / "options.json"
    file.write_text(configuration.to_json(options))
    assert read_options(file) == options


@pytest.mark.parametrize(
    ("old", "expected"),
    [
        (
            {"dataset": "wild68", "data_dir": "a,b", "weights": [], "faces": 11, "cache_dir": "c"},
            DataOptions(dataset=("wild68",), data_dir=(Path("a,b"),), faces=11, cache_dir=Path("c")),
        ),
        (
            {"dataset": "wild68,synthetic", "data_dir": "a,b", "weights": [2.0, 1.0], "limit": None},
            DataOptions(dataset=("wild68", "synthetic"), data_dir=(A, B), dataset_weights=(2.0, 1.0)),
        ),
        ({"dataset": "synthetic", "data_dir": None}, DataOptions()),
        ({}, DataOptions()),
    ],
)
def test_options_of_earlier_versions_are_read(
    old: dict[str, Any], expected: DataOptions, tmp_path: Path
) -> None:
    train = dataclasses.asdict(TrainConfig(map_source="layer", epochs=7))
    file = tmp_path / "options.json"
    file.write_text(json.dumps({"preset": "tiny", "name": "x", "train": train, **old}))
    found = read_options(file)
    assert found == Options(
        preset="tiny", name="x", train=TrainConfig(map_source="layer", epochs=7), data=expected
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [("{", "expected JSON"), ("[]", "options by name"), ('{"epochs": 3}', r"unknown options \['epochs'\]")],
)
def test_other_files_are_rejected(text: str, message: str, tmp_path: Path) -> None:
    file = tmp_path / "options.json"
    file.write_text(text)
    with pytest.raises(InputError, match=message):
        read_options(file)
    with pytest.raises(InputError, match="found no such file"):
        read_options(tmp_path / "none.json")


def test_a_run_of_an_earlier_name_of_its_preset(tmp_path: Path) -> None:
    file = tmp_path / "options.json"
    current = Options(preset="fast_dhm_s")
    text = configuration.to_json(current)
    file.write_text(text.replace('"fast_dhm_s"', '"fast_dhm_tuned_x1"'))
    assert file.read_text() != text
    with pytest.warns(FutureWarning, match="fast_dhm_s"):
        assert read_options(file) == current


def test_differences_are_named_as_on_the_command_line() -> None:
    other = Options(
        threads=2, data=DataOptions(limit=5, cache_dir=A), train=TrainConfig(epochs=3), name="other"
    )
    found = differences(Options(), other, ("threads", "cache_dir", "name"))
    assert found == "limit None, expected 5; epochs 200, expected 3"
