"""Descriptions and runs that earlier versions of the project wrote still load."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipelines.runs.run import Options
from tf_dhm.core.configuration import from_dict, read_json, to_json
from tf_dhm.export.description import Description, read_description

MODELS = sorted((Path(__file__).parents[3] / "savedmodels").glob("*/1"))


@pytest.mark.parametrize("version", MODELS, ids=[path.parent.name for path in MODELS])
def test_committed_models_and_the_options_of_their_runs(version: Path, tmp_path: Path) -> None:
    description = read_description(version)
    assert description.faces_seen >= 0
    # They hold the options as the run wrote them, which is what options.json of a run folder holds.
    options = from_dict(Options, description.options, str(version))
    assert options.model == description.model
    path = tmp_path / "options.json"
    path.write_text(json.dumps(description.options))
    assert read_json(Options, path) == options
    assert from_dict(Description, json.loads(to_json(description)), "x") == description


def test_there_are_committed_models() -> None:
    assert MODELS
