"""Descriptions and runs that earlier versions of the project wrote still load."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipelines.runs.options import read_options
from tests.exports import describe
from tests.fakes import write_fake_model
from tf_dhm.core.configuration import from_dict, to_json
from tf_dhm.core.errors import InputError
from tf_dhm.export.description import DESCRIPTION_FILE, Description, read_description
from tf_dhm.export.saved_model import read_weights

MODELS = sorted((Path(__file__).parents[3] / "savedmodels").glob("*/1"))


@pytest.mark.parametrize("version", MODELS, ids=[path.parent.name for path in MODELS])
def test_committed_models_and_the_options_of_their_runs(version: Path, tmp_path: Path) -> None:
    description = read_description(version)
    assert description.faces_seen >= 0
    # They hold the options as the run wrote them, which is what options.json of a run folder holds.
    path = tmp_path / "options.json"
    path.write_text(json.dumps(description.options))
    options = read_options(path)
    assert options.model == description.model
    data = description.options.get("data", description.options)  # a group since several datasets can be named
    named = data["dataset"]
    assert list(options.data.dataset) == (named.split(",") if isinstance(named, str) else named)
    assert from_dict(Description, json.loads(to_json(description)), "x") == description


def test_there_are_committed_models() -> None:
    assert MODELS


def test_description_round_trip(exported: Path) -> None:
    assert read_description(exported) == describe()
    began = describe(initialized_from=json.loads(to_json(describe())))
    assert from_dict(Description, json.loads(to_json(began)), "x") == began


def test_models_of_other_makers_have_no_description(tmp_path: Path) -> None:
    folder = write_fake_model(tmp_path / "fake")
    with pytest.raises(
        InputError, match=r"description.json: found no such file, expected a model exported by"
    ):
        read_weights(folder)


def test_a_damaged_description_is_named(exported: Path, tmp_path: Path) -> None:
    folder = tmp_path / "1"
    (folder / DESCRIPTION_FILE).parent.mkdir(parents=True)
    (folder / "saved_model.pb").touch()
    (folder / DESCRIPTION_FILE).write_text('{"preset": "tiny"}')
    with pytest.raises(InputError, match=r"description.json: found no model"):
        read_description(folder)
