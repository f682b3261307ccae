"""`python export.py`: versions with their TFLite files, cards with measured results, and mistakes."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import pytest

from pipelines.datasets.csv_landmarks import read
from pipelines.prepared import prepare
from tests.faces import TINY_MODEL, write_faces
from tests.scripts import run_script_here
from tf_dhm.export.description import Description
from tf_dhm.export.saved_model import save_model
from tf_dhm.networks.models import build_model
from tf_dhm.training.presets import PRESETS


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


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model as a training run exports it."""
    folder = tmp_path_factory.mktemp("run") / "export" / "tiny"
    save_model(build_model(TINY_MODEL).get_weights(), TINY_MODEL, DESCRIPTION, folder / "1")
    return folder


def test_promotion_says_what_a_server_still_needs(exported: Path, tmp_path: Path) -> None:
    (tmp_path / "savedmodels").mkdir()
    listed = tmp_path / "savedmodels" / "models.config"
    for content, told in [('name: "other"', True), ('name: "served"', False)]:
        listed.write_text(content)
        done = run_script_here("export.py", "--model", exported, "--promote", "served", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert ("models.config" in done.stdout) == told


def test_promotion(exported: Path, tmp_path: Path) -> None:
    two_labels = {"original": results(3.456), "reannotated": results(2.25)}
    (tmp_path / "half.json").write_text(json.dumps({"other": {}, "tiny": two_labels}))
    (tmp_path / "more.json").write_text(json.dumps({"tiny (2 passes)": {"original": results(3.0)}}))
    titles = ["--metrics-title", "AFLW2000-3D half", "wild68 test"]
    files = ["--metrics", "half.json", "more.json"]
    done = run_script_here(
        "export.py", "--model", exported, "--promote", "served", *files, *titles, cwd=tmp_path
    )
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
    done = run_script_here("export.py", *again, "--savedmodels-dir", tmp_path / "savedmodels")
    assert done.returncode == 0, done.stderr
    assert {path.name for path in (folder / "2").iterdir()} >= {"saved_model.pb", "served_float16.tflite"}
    assert (folder / "1" / "saved_model.pb").is_file()
    assert "version 2." in (folder / "README.md").read_text()


def test_tflite_files_alone(exported: Path, tmp_path: Path) -> None:
    prepare.prepare("csv", read(write_faces(tmp_path / "faces", 4, 9)), tmp_path / "prepared")
    shutil.copytree(exported / "1", tmp_path / "tiny" / "1")
    kinds = ["--tflite", "float32", "int8", "--calibration", str(tmp_path / "prepared")]
    done = run_script_here("export.py", "--model", tmp_path / "tiny", *kinds)
    for line, kind in zip(done.stdout.splitlines(), ("float32", "int8"), strict=True):
        path = tmp_path / "tiny" / "1" / f"tiny_{kind}.tflite"
        assert line == f"{path}: {path.stat().st_size:,} bytes"


def test_tflite_files_are_replaced_only_if_asked_for(exported: Path, tmp_path: Path) -> None:
    version = tmp_path / "tiny" / "1"
    shutil.copytree(exported / "1", version)
    present, new = version / "tiny_float16.tflite", version / "tiny_float32.tflite"
    present.write_bytes(b"as it was")
    command = ["export.py", "--model", str(tmp_path / "tiny"), "--tflite"]
    done = run_script_here(*command, "float16", "float32")
    assert done.returncode == 0, done.stderr
    kept, written = done.stdout.splitlines()
    assert kept.startswith(f"{present}: kept")
    assert "--overwrite" in kept
    assert written == f"{new}: {new.stat().st_size:,} bytes"
    assert present.read_bytes() == b"as it was"
    before = new.stat().st_mtime_ns
    done = run_script_here(*command, "float16", "float32")
    assert (done.returncode, done.stdout.count(": kept"), new.stat().st_mtime_ns) == (0, 2, before)
    done = run_script_here(*command, "float16", "--overwrite")
    assert done.stdout == f"{present}: {present.stat().st_size:,} bytes\n"
    assert present.stat().st_size > 1000


@pytest.mark.slow
def test_other_families_have_no_tflite_file(tmp_path: Path) -> None:
    described = dataclasses.replace(
        DESCRIPTION,
        model=dataclasses.replace(PRESETS["dhm_small"].model, recurrent_channels=8, stage_channels=(8, 8, 8)),
    )
    model = described.model
    save_model(build_model(model).get_weights(), model, described, tmp_path / "dhm" / "1")
    where = ("--savedmodels-dir", tmp_path / "served")
    done = run_script_here("export.py", "--model", tmp_path / "dhm", "--promote", "dhm", *where)
    assert done.returncode == 0, done.stderr
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
        (["--tflite", "int8"], "error: calibration: found none, expected --calibration FOLDER"),
        (["--tflite", "int4"], "int4"),
    ],
)
def test_mistakes(arguments: list[str], message: str, exported: Path, tmp_path: Path) -> None:
    (tmp_path / "metrics.json").write_text(json.dumps({"other": {"original": results(3.0)}}))
    done = run_script_here("export.py", "--model", exported, *arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert message in done.stderr + done.stdout
    assert not (tmp_path / "savedmodels").exists()
