"""`python train.py`: options, mistakes, a run from end to end, and one killed in the middle."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

import train
from pipelines.datasets.csv_landmarks import read
from pipelines.input import heat_maps
from pipelines.prepared import prepare
from pipelines.runs import run as training_run
from tests.faces import write_faces
from tests.scripts import ROOT, run_script_here
from tf_dhm.core import configuration
from tf_dhm.core.errors import InputError
from tf_dhm.export.saved_model import read_weights
from tf_dhm.networks.models import constant_heatmap
from tf_dhm.runtime.store import DEFAULT_MODEL
from tf_dhm.training.distribution import Strategy
from tf_dhm.training.presets import PRESETS, SYNTHETIC_AUGMENT

SMALL: list[str | Path] = [
    "--preset",
    "tiny",
    "--input-size",
    "32",
    "--batch-size",
    "16",
    "--hidden-units",
    "16",
]


def environment() -> dict[str, str]:
    """One thread: sums in another order differ in the last bit."""
    found = {name: value for name, value in os.environ.items() if name != "TF_CPP_MIN_LOG_LEVEL"}
    return {**found, "TF_NUM_INTRAOP_THREADS": "1", "TF_NUM_INTEROP_THREADS": "1", "OMP_NUM_THREADS": "1"}


def command(*arguments: str | Path) -> list[str]:
    return [sys.executable, str(ROOT / "train.py"), *map(str, arguments)]


def start(folder: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*arguments), capture_output=True, text=True, cwd=folder, env=environment(), check=False
    )


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small dataset as prepare.py writes it: 64 faces to train and 9 to validate with."""
    folder = tmp_path_factory.mktemp("faces")
    table = write_faces(folder / "faces", 64, 9)
    prepare.prepare("csv", read(table), folder / "prepared")
    return folder / "prepared"


# Options


def test_options_stand_over_those_of_the_preset() -> None:
    options, resume = train.parse(["--preset", "fast_dhm_paper", "--epochs", "7", "--rotation", "5"])
    preset = PRESETS["fast_dhm_paper"]
    assert not resume
    assert (options.preset, options.model) == ("fast_dhm_paper", preset.model)
    assert (options.train.epochs, options.augment.rotation) == (7, 5.0)
    assert (options.train.loss, options.train.batch_size) == (preset.train.loss, preset.train.batch_size)
    assert train.parse(["--preset=tiny"])[0].model == PRESETS["tiny"].model
    assert train.parse([])[0].preset == DEFAULT_MODEL
    with pytest.warns(FutureWarning, match="fast_dhm_m"):
        assert train.parse(["--preset", "fast_dhm_tuned"])[0] == train.parse([])[0]


def test_trained_weights_take_small_steps_by_default() -> None:
    usual, tuned = (train.parse(arguments)[0].train for arguments in ([], ["--init", "fast_dhm_m"]))
    assert (usual.pooled_statistics, tuned.pooled_statistics) == ("batch", "fixed")
    assert tuned.learning_rate == pytest.approx(usual.learning_rate / 10)
    given = ["--init=fast_dhm_m", "--learning-rate", "0.004", "--pooled-statistics", "batch"]
    assert train.parse(given)[0].train == dataclasses.replace(usual, learning_rate=0.004)
    # Other families do not normalise pooled features.
    dhm = train.parse(["--preset", "dhm_small", "--init", "model"])[0].train
    assert dhm.pooled_statistics == "batch"


def test_without_a_dataset_faces_are_rendered_and_the_run_is_short() -> None:
    full = PRESETS[DEFAULT_MODEL].train.epochs
    options, _ = train.parse([])
    assert (options.data.dataset, options.data.data_dir, options.minutes) == (("synthetic",), (), 10.0)
    # The largest numbers that the time may allow.
    assert (options.data.faces, options.data.test_faces, options.train.epochs) == (26_400, 1000, full)
    assert train.parse(["--minutes", "30", "--faces", "500"])[0].data.faces == 500
    for given in (["--faces", "500"], ["--minutes", "0"]):
        options, _ = train.parse(given)
        assert (options.minutes, options.train.epochs) == (0.0, 36)
    options, _ = train.parse(["--epochs", "3"])
    assert (options.minutes, options.data.faces, options.train.epochs) == (0.0, 8800, 3)
    few = train.parse(["--preset", "tiny", "--minutes", "0"])[0]
    assert few.train.epochs == PRESETS["tiny"].train.epochs < 36
    named = train.parse(["--dataset", "synthetic"])[0]
    assert (named.minutes, named.train.epochs) == (0.0, full)
    assert full > 40
    assert train.parse(["--dataset", "synthetic", "--minutes", "5"])[0].minutes == 5.0
    options, _ = train.parse(
        ["--dataset", "csv", "synthetic", "--dataset-weights", "2", "1", "--data-dir", "a"]
    )
    assert options.train.epochs == full
    assert options.data.folders() == [("csv", Path("a")), ("synthetic", None)]
    assert options.data.dataset_weights == (2.0, 1.0)


def test_rendered_faces_alone_are_changed_more_than_photos() -> None:
    rendered = dataclasses.replace(SYNTHETIC_AUGMENT, map_noise=PRESETS[DEFAULT_MODEL].augment.map_noise)
    for arguments in ([], ["--dataset", "synthetic"]):
        assert train.parse(arguments)[0].augment == rendered
    assert train.parse(["--dataset=synthetic", "--preset", "dhm"])[0].augment == SYNTHETIC_AUGMENT
    mixed = ["--dataset", "csv", "synthetic", "--data-dir", "a"]
    assert train.parse(mixed)[0].augment == PRESETS[DEFAULT_MODEL].augment != SYNTHETIC_AUGMENT
    options, _ = train.parse(["--grey", "0.5"])
    assert options.augment == dataclasses.replace(rendered, grey=0.5)


@pytest.mark.parametrize(
    "arguments",
    [
        ["--epoch", "3"],
        ["--no-such", "1"],
        ["--epochs", "many"],
        ["stray"],
        ["--resume"],
        ["--resume", "--epochs", "3"],
    ],
)
def test_unknown_options_and_wrong_types(arguments: list[str]) -> None:
    done = run_script_here("train.py", *arguments)
    assert done.returncode == 2
    printed = done.stderr + done.stdout
    assert arguments[-1] in printed or arguments[0] in printed


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--dataset", "wild68"], "error: data-dir: found none for wild68, expected its folder"),
        (["--data-dir", str(Path(__file__).parent)], "tests: found a folder for synthetic, expected none"),
        (["--faces", "0"], "faces: found 0"),
        (["--preset", "fastdhm"], "error: preset: found 'fastdhm', expected one of fast_dhm, fast_dhm_x2"),
        (["--epochs", "0"], "epochs: found 0, expected more than 0"),
        (["--mirror", "1.5"], "mirror: found 1.5"),
        (["--minutes", "-1"], "minutes: found -1"),
        (["--input-size", "100"], "input_size: found 100"),
        (["--dataset", "csv", "--data-dir", "/no/such"], "error: data-dir: found no /no/such"),
        (["--name", "../run"], "error: name: found '../run', expected a name without slashes"),
        (["--name", ".."], "error: name: found '..', expected a name without slashes"),
        (["--resume", "no/run"], "error: no/run: found no options.json, expected the folder of a run"),
        (["--resume=no/run"], "error: no/run: found no options.json, expected the folder of a run"),
    ],
)
def test_mistakes_end_with_code_2(arguments: list[str], message: str, tmp_path: Path) -> None:
    done = run_script_here("train.py", *arguments, cwd=tmp_path)  # has no earlier run in runs/train
    assert done.returncode == 2
    assert message in done.stderr


def test_help_lists_presets_and_options() -> None:
    text = run_script_here("train.py", "--help").stdout
    assert all(name in text for name in PRESETS)
    for option in ("--dataset", "--data-dir", "--epochs", "--init", "--batch-size", "--rotation", "--resume"):
        assert option in text


def test_options_of_a_run_are_read_where_the_run_lies(tmp_path: Path) -> None:
    folder = tmp_path / "moved" / "here"
    folder.mkdir(parents=True)
    options, _ = train.parse(["--name", "elsewhere"])
    (folder / train.OPTIONS_FILE).write_text(configuration.to_json(options))
    found, resume = train.parse(["--resume", str(folder)])
    assert resume
    assert found.run_dir == folder
    places = ["--data-dir", "now", "--cache-dir", "there", "--data-service", "grpc://a:1", "--threads", "2"]
    moved, _ = train.parse(["--resume", str(folder), *places])
    assert (moved.data.data_dir, moved.data_service, moved.threads) == ((Path("now"),), ("grpc://a:1",), 2)
    anywhere, resume = train.parse(["--threads", "2", f"--resume={folder}", "--cache-dir", "there"])
    assert resume
    assert (anywhere.run_dir, anywhere.threads) == (folder, 2)
    with pytest.raises(InputError, match=r"found epochs 3, expected 200: .* --data-dir, --cache-dir"):
        train.parse(["--resume", str(folder), "--epochs", "3"])
    with pytest.raises(InputError, match=r"found minutes 3\.0, expected 10\.0"):
        train.parse(["--resume", str(folder), "--minutes", "3"])
    (folder / train.OPTIONS_FILE).write_text('{"epochs": 3}')
    with pytest.raises(InputError, match=r"options.json: found unknown options \['epochs'\]"):
        train.parse(["--resume", str(folder)])


# Runs


def test_without_a_dataset_from_end_to_end(tmp_path: Path) -> None:
    options = ["--faces", "55", "--test-faces", "6", "--epochs", "1"]
    done = start(tmp_path, *SMALL, *options, "--threads", "2")
    assert done.returncode == 0, done.stderr
    run = tmp_path / "runs" / "train"
    (rendered, tested) = sorted(
        (tmp_path / "data" / "prepared").iterdir(), key=lambda path: -path.stat().st_size
    )
    assert "synthetic: 50 faces to train with, from data/prepared/synthetic-128-" in done.stdout
    sizes = {len(pd.read_parquet(folder / "index.parquet")) for folder in (rendered, tested)}
    assert sizes == {55, 6}
    for bar in ("preparing synthetic", "training:", "55/55", "3/3"):
        assert bar in done.stderr
    results = json.loads((run / "evaluation" / "metrics.json").read_text())
    assert results["tiny"]["original"]["images"] == 6
    for place in (
        "runs/train/evaluation/table.md",
        "runs/train/evaluation/ced.png",
        "runs/train/evaluation/ced_by_yaw.png",
        "runs/train/evaluation/best_and_worst.png",
        "runs/train/export/tiny/1",
    ):
        assert place in done.stdout
        assert (tmp_path / place).exists()
    card = (run / "export" / "tiny" / "README.md").read_text()
    assert "50 faces; faces rendered from the open face" in card
    assert "| synthetic test faces |" in card


@pytest.mark.slow
def test_from_end_to_end(prepared: Path, tmp_path: Path) -> None:
    data: list[str | Path] = ["--dataset", "csv", "--data-dir", prepared]
    done = start(tmp_path, *SMALL, *data, "--epochs", "2", "--name", "first")
    assert done.returncode == 0, done.stderr
    run = tmp_path / "runs" / "first"
    version_dir = run / "export" / "tiny" / "1"
    assert (version_dir / "saved_model.pb").is_file()
    assert "exported to runs/first/export/tiny/1" in done.stdout
    assert "NME on val" in done.stdout
    assert "python train.py --preset tiny" in (version_dir.parent / "README.md").read_text()
    history = pd.read_csv(run / "history.csv")
    assert history["epoch"].tolist() == [1, 2]
    assert list((run / "tensorboard").glob("events.out.tfevents.*"))
    # Progress with the steps done, a rate and the time left; and nothing that TensorFlow has to say.
    assert "training:" in done.stderr
    assert "8/8" in done.stderr
    assert "<00:00" in done.stderr
    assert "cuda" not in done.stderr.lower()
    assert "Traceback" not in done.stderr

    finished = start(tmp_path, "--resume", "runs/first")
    assert finished.returncode == 2
    assert "error: runs/first: found the exported model" in finished.stderr


def test_every_preset_draws_heat_maps_by_py_function() -> None:
    assert {name for name, preset in PRESETS.items() if preset.augment.map_noise} == {
        "fast_dhm",
        "fast_dhm_x2",
        "fast_dhm_x3",
        "fast_dhm_x4",
        "fast_dhm_rnn_x2",
        "fast_dhm_rnn_x3",
        "fast_dhm_m",
        "fast_dhm_s",
        "fast_dhm_l",
    }
    assert train.parse([])[0].train.map_source == "py_function"
    assert {preset.train.map_source for preset in PRESETS.values()} == {"py_function"}


@pytest.mark.slow
@pytest.mark.parametrize("noise", [[], ["--map-noise", "0"]])
def test_defaults_draw_a_map_of_every_face_by_py_function(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, noise: list[str]
) -> None:
    """128 faces, the batch of the default preset: a step in each of two epochs."""
    table = write_faces(tmp_path / "faces", 128, 9)
    drawn: list[tuple[int, ...]] = []
    trained: list[NDArray[np.float32]] = []
    draw, split = heat_maps.draw_heat_maps, Strategy.split

    def count_drawn(initial: Any, size: int) -> Any:
        maps = draw(initial, size)
        drawn.append(tuple(maps.shape))
        return maps

    def count_trained(strategy: Strategy, batch: dict[str, Any]) -> Any:
        trained.append(batch["heatmap"].numpy())
        return split(strategy, batch)

    monkeypatch.setattr(heat_maps, "draw_heat_maps", count_drawn)
    monkeypatch.setattr(Strategy, "split", count_trained)
    monkeypatch.chdir(tmp_path)
    arguments = ["--dataset", "csv", "--data-dir", str(table), "--epochs", "2", "--quality-crops", "0"]
    options, resume = train.parse([*arguments, *noise])
    training_run.run(options, resume, "python train.py")
    # The average is calibrated on the 1, then 2 last batches at the end of the epochs.
    size = options.model.input_size
    assert drawn == [(128, size, size, 3)] * (2 + 1 + 2)
    assert sum(map(len, trained)) == 128 * 2
    different = {map_.tobytes() for maps in trained for map_ in maps}
    if noise:
        assert different == {constant_heatmap(size)[0].tobytes()}
    else:
        assert len(different) == 128 * 2  # from the initial shape of each example


@pytest.mark.slow
def test_a_killed_run_ends_with_the_weights_of_one_that_was_not(prepared: Path, tmp_path: Path) -> None:
    options = [*SMALL, "--epochs", "12", "--dataset", "csv", "--data-dir", prepared]
    often = ["--checkpoint-minutes", "0.0005"]  # so that it is killed within an epoch
    done = start(tmp_path, *options, "--name", "whole")
    assert done.returncode == 0, done.stderr

    run = tmp_path / "runs" / "killed"
    errors = tmp_path / "errors.txt"
    with (
        errors.open("w") as file,
        subprocess.Popen(
            command(*options, *often, "--name", "killed"),
            cwd=tmp_path,
            env=environment(),
            stdout=subprocess.DEVNULL,
            stderr=file,
        ) as process,
    ):
        deadline = time.monotonic() + 900
        while not (run / "history.csv").exists() or len(pd.read_csv(run / "history.csv")) < 3:
            assert process.poll() is None, errors.read_text()
            assert time.monotonic() < deadline
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert not (run / "export").exists()

    resumed = start(tmp_path, "--resume", run)
    assert resumed.returncode == 0, resumed.stderr
    at = int(resumed.stdout.split("at step ")[1].split()[0])
    assert 8 <= at < 48
    whole = tmp_path / "runs" / "whole"
    columns = ["epoch", "loss", "val_nme", "learning_rate"]
    tables = [pd.read_csv(folder / "history.csv")[columns] for folder in (run, whole)]
    pd.testing.assert_frame_equal(*tables)
    weights = [read_weights(folder / "export" / "tiny") for folder in (run, whole)]
    for found, expected in zip(*weights, strict=True):
        np.testing.assert_array_equal(found, expected)
