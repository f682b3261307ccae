"""Descriptions and runs that earlier versions of the project wrote still load."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipelines.runs.options import read_options
from tf_dhm.core.configuration import from_dict, to_json
from tf_dhm.export.description import Description, read_description

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
    assert list(options.data.dataset) == str(description.options["dataset"]).split(",")
    assert from_dict(Description, json.loads(to_json(description)), "x") == description


def test_there_are_committed_models() -> None:
    assert MODELS
