"""`python export.py`: versions with their TFLite files, cards with measured results, and mistakes."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from tf_dhm.core.cli import run_script

import pytest

import export
from pipelines.datasets.csv_landmarks import read
from pipelines.prepared import prepare
from tests.faces import TINY_MODEL, write_faces
from tf_dhm.export.description import Description
from tf_dhm.export.saved_model import save_model
from tf_dhm.networks.models import build_model
from tf_dhm.training.presets import PRESETS

ROOT = Path(__file__).resolve().parents[1]


def results(nme: float) -> dict[str, float | int | None]:
    bins = {"nme_0_30": nme, "nme_30_60": nme, "nme_60_90": nme, "nme_mean_of_bins": nme, "nme_mean": nme}
    return {**bins, "auc_6": 0.4, "failure_rate_6": 0.02, "images": 1000}


DESCRIPTION = Description(
    preset="tiny",
    model=TINY_MODEL,
    options={},
    command="python train.py --preset tiny",
    datasets={"made_up": "faces of dots."},
    faces_seen=100,
    hours=0.1,
    machine="a processor, 2 threads",
    val=results(9.0),
)


def run(folder: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, ROOT / "export.py", *map(str, arguments)],
        capture_output=True,
        text=True,
        env={**os.environ, "TF_NUM_INTRAOP_THREADS": "1"},
        cwd=folder,
        check=False,
    )


def in_process(monkeypatch: pytest.MonkeyPatch, *arguments: str | Path) -> int:
    """The exit code of the script, without the seconds of a new process."""
    monkeypatch.setattr(sys, "argv", ["export.py", *map(str, arguments)])
    with pytest.raises(SystemExit) as caught:
        run_script(export.main)
    assert isinstance(caught.value.code, int)
    return caught.value.code


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model as a training run exports it."""
    folder = tmp_path_factory.mktemp("run") / "export" / "tiny"
    save_model(build_model(TINY_MODEL).get_weights(), TINY_MODEL, DESCRIPTION, folder / "1")
    return folder


def test_promotion(exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    two_labels = {"original": results(3.456), "reannotated": results(2.25)}
    (tmp_path / "half.json").write_text(json.dumps({"other": {}, "tiny": two_labels}))
    (tmp_path / "more.json").write_text(json.dumps({"tiny (2 passes)": {"original": results(3.0)}}))
    titles = ["--metrics-title", "AFLW2000-3D half", "wild68 test"]
    files = ["--metrics", "half.json", "more.json"]
    done = run(tmp_path, "--model", exported, "--promote", "served", *files, *titles)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "promoted to savedmodels/served/1\n"
    folder = tmp_path / "savedmodels" / "served"
    assert (folder / "1" / "saved_model.pb").is_file()
    card = (folder / "README.md").read_text()
    assert "| AFLW2000-3D half, labels original | 3.46 | 3.46 | 3.46 | 3.46 | 3.46 | 0.400 |" in card
    assert "| AFLW2000-3D half, labels reannotated | 2.25 " in card
    assert "| wild68 test, labels original, 2 passes | 3.00 " in card
    assert "| val | 9.00 " in card
    for kind in ("float16", "web"):
        size = (folder / "1" / f"served_{kind}.tflite").stat().st_size
        assert f"- `served_{kind}.tflite`: {size:,} bytes." in card

    again: list[str | Path] = ["--model", exported / "1", "--promote", "served"]
    assert in_process(monkeypatch, *again, "--savedmodels-dir", tmp_path / "savedmodels") == 0
    assert {path.name for path in (folder / "2").iterdir()} >= {"saved_model.pb", "served_float16.tflite"}
    assert (folder / "1" / "saved_model.pb").is_file()
    assert "version 2." in (folder / "README.md").read_text()


def test_tflite_files_alone(
    exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    prepare.prepare("csv", read(write_faces(tmp_path / "faces", 4, 9)), tmp_path / "prepared")
    shutil.copytree(exported / "1", tmp_path / "tiny" / "1")
    kinds = ["--tflite", "float32", "int8", "--calibration", str(tmp_path / "prepared")]
    assert in_process(monkeypatch, "--model", tmp_path / "tiny", *kinds) == 0
    printed = capsys.readouterr().out.splitlines()
    for line, kind in zip(printed, ("float32", "int8"), strict=True):
        path = tmp_path / "tiny" / "1" / f"tiny_{kind}.tflite"
        assert line == f"{path}: {path.stat().st_size:,} bytes"


@pytest.mark.slow
def test_other_families_have_no_tflite_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    described = dataclasses.replace(
        DESCRIPTION,
        model=dataclasses.replace(PRESETS["dhm_small"].model, recurrent_channels=8, stage_channels=(8, 8, 8)),
    )
    model = described.model
    save_model(build_model(model).get_weights(), model, described, tmp_path / "dhm" / "1")
    where = ["--savedmodels-dir", str(tmp_path / "served")]
    assert in_process(monkeypatch, "--model", tmp_path / "dhm", "--promote", "dhm", *where) == 0
    assert not list((tmp_path / "served").rglob("*.tflite"))


SERVED = ["--promote", "served"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            [*SERVED, "--metrics", "metrics.json"],
            "error: metrics-title: found none, expected different ones for",
        ),
        (
            [*SERVED, "--metrics", "metrics.json", "metrics.json", "--metrics-title", "a", "a"],
            "error: metrics-title: found a, a, expected different ones for the 2 files",
        ),
        (
            [*SERVED, "--metrics", "metrics.json", "--metrics-title", "half"],
            "error: metrics.json: found results of other, expected some of tiny",
        ),
        (["--promote", "a/b"], "error: promote: found 'a/b', expected a name"),
        (["--promote", ""], "error: promote: found '', expected a name"),
        ([*SERVED, "--model", "none"], "error: model none: found nothing"),
        ([*SERVED, "--no-such", "1"], "--no-such"),
        (
            ["--metrics", "metrics.json", "--metrics-title", "a"],
            "error: metrics: found some, expected --prom",
        ),
        (["--tflite", "int8"], "error: calibration: found none, expected a prepared dataset"),
        (["--tflite", "int4"], "int4"),
    ],
)
def test_mistakes(
    arguments: list[str],
    message: str,
    exported: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "metrics.json").write_text(json.dumps({"other": {"original": results(3.0)}}))
    assert in_process(monkeypatch, "--model", exported, *arguments) == 2
    printed = capsys.readouterr()
    assert message in printed.err + printed.out
    assert not (tmp_path / "savedmodels").exists()
