"""The three commands: their mistakes, what they load, and the way from prepared faces to a SavedModel."""

from __future__ import annotations

import dataclasses
import os
import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.exports import describe, random_network
from tests.faces import write_faces
from tf_dhm.core.configuration import read_json, to_json
from tf_dhm.core.errors import InputError
from tf_dhm.evaluation.entries import predict_faces
from tf_dhm.export.description import read_description
from tf_dhm.export.saved_model import read_weights, save_model
from tf_dhm.face import metrics
from tf_dhm.face.geometry import landmark_box
from tf_dhm.runtime.saved_model import SavedModelPredictor
from tf_dhm.training.presets import find_preset
from tools.jax_training import export, files
from tools.jax_training.files import NetworkResult, Pack, Results
from tools.jax_training.options import TrainOptions, network

ROOT = Path(__file__).resolve().parents[3]


def run(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    """The exit code of the command."""
    monkeypatch.setattr(sys, "argv", ["jax_training", *map(str, arguments)])
    with pytest.raises(SystemExit) as caught:
        runpy.run_module("tools.jax_training", run_name="__main__", alter_sys=True)
    assert isinstance(caught.value.code, int)
    return caught.value.code


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["fit"], "error: command: found fit, expected one of pack, train, export"),
        (["train", "--folder", "none", "--steps", "300"], "error: steps: found 300"),
        (["train", "--folder", "none"], "error: none/pack.json: found no such file"),
        (["train", "--folder", "none", "--networks", "tiny", "tiny"], "error: networks: found"),
        (["pack", "--folder", "docs"], "error: docs: found a folder"),
        (["export", "--folder", "none", "--models-dir", "none"], "error: none/pack.json: found no such file"),
    ],
)
def test_mistakes(
    arguments: list[str],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(ROOT)
    assert run(monkeypatch, *arguments) == 2
    assert message in capsys.readouterr().err


def test_the_list_of_commands(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(monkeypatch) == 0
    assert "pack" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("absent", "modules"),
    [
        (["tensorflow", "keras", "pandas"], ["recipe", "options", "__main__"]),
        (["jax"], ["packing", "export", "options", "__main__"]),
    ],
)
def test_training_needs_no_tensorflow_and_the_others_no_jax(absent: list[str], modules: list[str]) -> None:
    code = f"""
import importlib, sys
for name in {absent}:
    sys.modules[name] = None  # an import of it fails
for name in {modules}:
    importlib.import_module("tools.jax_training." + name)
"""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_from_prepared_faces_to_a_saved_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, config = tmp_path / "packed", find_preset("tiny").model
    write_faces(tmp_path / "faces", 24, 9)
    beginning = random_network(config).get_weights()
    save_model(beginning, config, describe(config), tmp_path / "before" / "1")
    data = ["--dataset", "csv", "--data-dir", tmp_path / "faces", "--cache-dir", tmp_path / "prepared"]
    pack = ["pack", "--folder", folder, "--input-size", 64, "--init", tmp_path / "before", *data]
    assert run(monkeypatch, *pack) == 0
    train = ["train", "--folder", folder, "--networks", "tiny", "--steps", 4, "--steps-at-once", 2]
    train += ["--batch-size", 8, "--teacher-steps", 2, "--teachers", 2, "--teacher-batch-size", 8]
    train += ["--teacher-cnn-multiplier", 1, "--teacher-input-size", 72, "--warmup-steps", 1]
    assert run(monkeypatch, *train, "--teacher-input-size", 70) == 2  # no multiple of 8
    assert run(monkeypatch, *train, "--dataset", "wild68") == 2
    assert run(monkeypatch, *train, "--sigma-floor", 1) == 2  # these faces have no sigma
    assert run(monkeypatch, *train) == 0
    results = read_json(Results, folder / files.RESULTS_FILE)
    assert [row["step"] for row in results.history] == [2, 2, 4]
    assert set(results.history[0]["loss"]) == {"teacher1", "teacher2"}
    assert results.teachers["model"]["input_size"] == 72
    with np.load(folder / files.TEACHER_FILE) as taught:
        assert taught["landmarks"].shape == (24, 68, 3)
        assert taught["landmarks"].any((1, 2)).all()
    assert run(monkeypatch, *train) == 2  # there are results
    assert run(monkeypatch, "export", "--folder", folder, "--models-dir", tmp_path / "models") == 0

    version = tmp_path / "models" / "tiny" / "1"
    description = read_description(version)
    assert description.faces_seen == 32
    assert description.machine == results.machine
    assert "JAX" in description.machine
    assert description.initialized_from is not None
    assert description.initialized_from["command"] == describe(config).command
    first, _, second = description.command.partition(" && ")
    assert first.startswith("python -m tools.jax_training pack --folder packed")
    assert second.startswith("python -m tools.jax_training train --folder packed --networks tiny --steps 4")
    assert description.options["train"]["seed"] == 0
    weights = read_weights(version)
    changed = [not np.array_equal(old, new) for old, new in zip(beginning, weights, strict=True)]
    assert sum(changed) == len(changed) - 4  # all but the statistics of the pooled features

    held_out = files.read_faces(folder / files.VAL_FILE)
    pixels = files.decode_images(held_out.images)
    images = [np.stack([face >> shift & 255 for shift in (0, 8, 16)], -1).astype(np.uint8) for face in pixels]
    found = predict_faces(SavedModelPredictor(str(version)), images, landmark_box(held_out.landmarks))
    nme = metrics.nme(found, held_out.landmarks).mean()
    assert results.networks["tiny"].val["nme_mean"] == pytest.approx(nme, rel=0.02)
    assert description.val == results.networks["tiny"].val


def test_datasets_are_chosen_by_name() -> None:
    from tools.jax_training.recipe import rows_of

    pack = Pack("pack", ("a", "b", "c"), {}, 64, 80, 6, (2, 3, 1), 1)
    assert rows_of((), pack).tolist() == [0, 1, 2, 3, 4, 5]
    assert rows_of(("c", "a"), pack).tolist() == [0, 1, 5]
    with pytest.raises(InputError, match="dataset: found d, expected some of a, b, c"):
        rows_of(("a", "d"), pack)


def test_a_description_names_what_was_trained_on(tmp_path: Path) -> None:
    pack = Pack("pack", ("a", "b"), {"a": "2 faces", "b": "3 faces"}, 64, 80, 5, (2, 3), 1)
    result = NetworkResult({}, {})
    results = Results("train", {}, {"tiny": result}, {}, "a machine", 1.0, [])
    initial = tmp_path / files.INITIAL_FOLDER / "tiny.json"
    initial.parent.mkdir()
    initial.write_text(to_json(describe()))
    found = {}
    for options in (TrainOptions(tmp_path), TrainOptions(tmp_path, new_weights=True, dataset=("b",))):
        began_with = export.beginning(tmp_path, "tiny", options)
        config = network("fast_dhm_s", options)
        described = export.describe("tiny", config, pack, results, options, began_with)
        found[options.new_weights] = (described.datasets, described.initialized_from)
    assert found[False] == (pack.datasets, dataclasses.asdict(describe()))
    assert found[True] == ({"b": "3 faces"}, None)


def test_widths_replace_those_of_the_preset() -> None:
    preset = find_preset("fast_dhm_s").model
    assert network("fast_dhm_s", TrainOptions(Path())) == preset
    wide = network("fast_dhm_s", TrainOptions(Path(), rnn_multiplier=1.0))
    assert wide == dataclasses.replace(preset, rnn_multiplier=1.0)
