"""A search from a dataset on disk to its table, figure and exported models."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import keras_tuner
import numpy as np
import pandas as pd
import pytest

from pipelines.runs import run as training_run
from pipelines.search import latency, tuner, tuning
from pipelines.search.options import SPACE, TuneConfig, read_search
from pipelines.search.trials import RESULT_FILE, TABLE_FILE, chosen_trials, read_result, write_result
from pipelines.search.tuner import DhmHyperModel, make_oracle, passes
from pipelines.search.tuning import tune
from tests.faces import write_faces
from tf_dhm.core.errors import InputError
from tf_dhm.evaluation.entries import model_size
from tf_dhm.export.description import CARD_FILE, read_description
from tf_dhm.networks.models import build_model, weight_bytes
from tf_dhm.runtime.saved_model import SavedModelPredictor
from tf_dhm.training.trainer import DivergedError

COMMAND = "python tune.py"


def small(folder: Path, **changes: Any) -> TuneConfig:
    """Two trials of very small networks."""
    config = TuneConfig(
        data_dir=folder / "faces",
        dataset="csv",
        preset="tiny",
        output_dir=folder / "tune",
        cache_dir=folder / "prepared",
        tuner="random",
        trials=2,
        images=32,
        cnn_multiplier=(1.0, 2.0),
        rnn_multiplier=(1.0,),
        recurrent_steps=(1,),
        input_size=(32,),
        last_channels=(16,),
        hidden_units=(0,),
        mark=(),
        threads=1,
    )
    return dataclasses.replace(config, **changes)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tune")
    write_faces(folder / "faces", 40, 9)
    return folder


@pytest.fixture(scope="module")
def table(folder: Path) -> pd.DataFrame:
    """The trials of a finished search, which ran in two parts."""
    tune(small(folder, trials=1), COMMAND)
    first = (folder / "tune/trials/0" / RESULT_FILE).read_bytes()
    text = tune(small(folder, export="best", epochs=1), COMMAND)
    assert (folder / "tune/trials/0" / RESULT_FILE).read_bytes() == first
    assert "2 trained, 0 not" in text
    return pd.read_csv(folder / "tune" / TABLE_FILE)


@pytest.mark.slow
def test_every_trial_is_trained_and_timed(folder: Path, table: pd.DataFrame) -> None:
    assert sorted(table["cnn_multiplier"]) == [1.0, 2.0]  # no network twice
    for row in table.to_dict("records"):
        run = folder / "tune" / "trials" / str(row["trial"])
        options = json.loads((run / training_run.OPTIONS_FILE).read_text())
        assert options["model"]["cnn_multiplier"] == row["cnn_multiplier"]
        assert options["model"]["stage_channels"] == [16, 16]
        description = read_description(run / "export/tiny")
        assert row["nme"] == pytest.approx(description.val["nme_mean_of_bins"])
        assert row["images"] == description.faces_seen == 32  # 1 pass of 1 batch
        assert row["weight_bytes"] == weight_bytes(build_model(description.model))
        assert row["latency_ratio"] == pytest.approx(row["latency_ms"] / row["reference_ms"], rel=0.5)
        assert row["tflite_bytes"] > row["weight_bytes"]
    larger = table.sort_values("cnn_multiplier")["weight_bytes"].to_numpy()
    assert larger[1] > larger[0]
    assert (folder / "tune" / tuning.FIGURE_FILE).stat().st_size > 10_000


@pytest.mark.slow
def test_the_best_is_trained_to_the_end(folder: Path, table: pd.DataFrame) -> None:
    (best,) = chosen_trials(table.astype({"trial": str}), "best", 1.0)
    exported = folder / "tune" / "exported" / best / "export" / "tiny"
    crops = np.zeros((1, 32, 32, 3), np.uint8)
    assert SavedModelPredictor(exported).predict(crops).landmarks.shape == (1, 68, 3)
    assert (exported / CARD_FILE).is_file()


@pytest.mark.slow
def test_timing_again_and_marking(folder: Path, table: pd.DataFrame, monkeypatch: pytest.MonkeyPatch) -> None:
    (best,) = chosen_trials(table.astype({"trial": str}), "best", 1.0)
    own = folder / "tune" / "exported" / best / "export" / "tiny"
    calls: list[Path] = []

    def measure(version_dir: Path, output_dir: Path) -> dict[str, float]:
        calls.append(version_dir)
        return {"latency_ratio": 7.0, "latency_ms": 9.0, "reference_ms": 1.3, "tflite_bytes": 5}

    monkeypatch.setattr(latency, "measure_latency", measure)
    config = small(folder, mark=(str(own), "fast_dhm"), time_again=True)
    tune(config, COMMAND)
    assert len(calls) == 3
    again = pd.read_csv(folder / "tune" / TABLE_FILE)
    assert (again["latency_ratio"] == 7.0).all()
    pd.testing.assert_series_equal(again["nme"], table["nme"])
    (marked,) = latency.marked_models(dataclasses.replace(config, time_again=False))
    # That of the other dataset is left out, and the first is not timed a second time.
    assert (marked["name"], marked["latency_ms"], len(calls)) == (str(own), 9.0, 3)
    assert marked["nme"] == pytest.approx(read_description(own).val["nme_mean_of_bins"])
    assert marked["weight_bytes"] == model_size(own / "1").bytes


def test_a_model_to_mark_that_is_none(folder: Path) -> None:
    with pytest.raises(InputError, match="no_such_model"):
        tune(small(folder, output_dir=folder / "never", mark=("no_such_model",)), COMMAND)
    assert not (folder / "never").exists()


def test_passes_make_the_images(folder: Path) -> None:
    # 36 faces to train with: a pass is one batch of 32
    assert [passes(small(folder, images=images)) for images in (1, 32, 33, 100)] == [1, 1, 2, 4]
    with pytest.raises(InputError, match=r"faces: found [0-9]+ faces to train with, expected 32 or more"):
        passes(small(folder, limit=20))


@pytest.mark.slow
def test_another_search_in_the_same_folder(folder: Path, table: pd.DataFrame) -> None:
    with pytest.raises(InputError, match=r"tune: found a search with images 32, expected 64; choose"):
        tune(small(folder, images=64), COMMAND)


@pytest.mark.slow
def test_an_export_of_other_epochs_is_not_given_for_this_one(folder: Path, table: pd.DataFrame) -> None:
    with pytest.raises(InputError, match=r"options.json: found an earlier run with epochs 1, expected 2;"):
        tune(small(folder, export="best", epochs=2), COMMAND)


@pytest.mark.slow
def test_what_was_exported_is_named_again_and_no_face_is_read(
    folder: Path, table: pd.DataFrame, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(tuner.datasets, "load_mixture", None)  # calling it is an error
    config = small(folder, export="best", epochs=1)
    tune(config, COMMAND)
    (best,) = chosen_trials(table.astype({"trial": str}), "best", 1.0)
    place = folder / "tune/exported" / best / "export/tiny/1"
    assert f"trial {best} was exported before, to {place}" in capsys.readouterr().out


@pytest.mark.slow
def test_the_card_of_an_export_says_in_what_it_differs(folder: Path, table: pd.DataFrame) -> None:
    (best,) = chosen_trials(table.astype({"trial": str}), "best", 1.0)
    card = (folder / "tune/exported" / best / "export/tiny" / CARD_FILE).read_text()
    assert "Preset `tiny` with input_size 32, stage_channels (16, 16), " in card


@pytest.mark.slow
def test_a_search_is_resumed_by_its_folder(folder: Path, table: pd.DataFrame) -> None:
    config = small(folder, export="best", epochs=1, minutes=0.0)
    tune(config, COMMAND)  # no trial is left to begin, so that no minutes are over
    moved = dataclasses.replace(config, output_dir=Path("elsewhere"))
    assert read_search(folder / "tune") == dataclasses.replace(
        moved, output_dir=folder / "tune", export="none", epochs=None, minutes=None
    )
    with pytest.raises(InputError, match=r"prepared: found no tune.json, expected the folder of a search"):
        read_search(folder / "prepared")


def test_a_state_of_the_tuner_that_was_cut_off(folder: Path) -> None:
    config = small(folder, output_dir=folder / "cut", max_bytes=100)
    with pytest.raises(InputError, match="found none that was trained among 2"):
        tune(config, COMMAND)
    results = {file: file.read_bytes() for file in (folder / "cut/trials").glob(f"*/{RESULT_FILE}")}
    times = {file: file.stat().st_mtime_ns for file in results}
    state = folder / "cut/search/oracle.json"
    state.write_bytes(state.read_bytes()[:50])
    with pytest.raises(InputError, match=r"cut/search: found keras-tuner's state cut off .*; remove that"):
        tune(config, COMMAND)
    shutil.rmtree(folder / "cut/search")
    with pytest.raises(InputError, match="found none that was trained among 2"):
        tune(config, COMMAND)
    assert {file: file.stat().st_mtime_ns for file in results} == times  # none was written again
    assert {file: file.read_bytes() for file in results} == results


def test_a_wrong_dataset_does_not_claim_the_folder(folder: Path) -> None:
    config = small(folder, output_dir=folder / "unclaimed", dataset="300w_lp")
    with pytest.raises(InputError, match="faces"):
        tune(config, COMMAND)
    assert not (folder / "unclaimed").exists()


def test_a_network_over_the_limit_is_not_trained(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    config = small(folder, output_dir=folder / "limited", max_bytes=100)
    reason = r"\(0 not trained: [0-9]+ bytes, expected at most 100; 1 not trained: [^;]*\)"
    with pytest.raises(InputError, match=f"found none that was trained among 2, expected some {reason}"):
        tune(config, COMMAND)
    assert "Traceback" not in capfd.readouterr().err
    rows = pd.read_csv(folder / "limited" / TABLE_FILE)
    assert rows["status"].str.contains("expected at most 100").all()
    assert not (folder / "limited/trials/0/export").exists()


def test_no_trial_begins_when_the_time_is_up(folder: Path) -> None:
    config = small(folder, output_dir=folder / "late", minutes=0.0)
    with pytest.raises(InputError, match="trials: found none that is finished"):
        tune(config, COMMAND)


def test_a_space_that_is_used_up_is_said(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = small(folder, output_dir=folder / "few", trials=9, max_bytes=100)
    with pytest.raises(InputError, match="found none that was trained among 2"):
        tune(config, COMMAND)
    assert "the tuner found 2 networks to try, and no other" in capsys.readouterr().out


class Choice:
    """A trial of keras-tuner."""

    def __init__(self, config: TuneConfig, **values: Any) -> None:
        self.trial_id = "0"
        self.hyperparameters = keras_tuner.HyperParameters()
        DhmHyperModel(config).model_config(self.hyperparameters)
        self.hyperparameters.values.update(values)


def test_a_result_of_another_network_is_not_taken_for_this_one(folder: Path) -> None:
    config = small(folder)
    trial_dir = folder / "a_trial"
    assert read_result(trial_dir, Choice(config)) is None
    write_result(trial_dir, Choice(config), {"status": "failed: by hand"})
    found = read_result(trial_dir, Choice(config))
    assert found is not None
    assert found["status"] == "failed: by hand"
    with pytest.raises(InputError, match=r"found another network, cnn_multiplier 1.0, expected 2.0 in this"):
        read_result(trial_dir, Choice(config, cnn_multiplier=2.0))


def test_what_is_no_fault_of_the_network_stops_the_search(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = small(folder, output_dir=folder / "stopped")

    def full(*_: object) -> Path:
        raise OSError(28, "No space left on device", "a_file")

    monkeypatch.setattr(training_run, "run_to_end", full)
    with pytest.raises(OSError, match="No space left"):
        tune(config, COMMAND)
    assert not list((folder / "stopped").glob(f"trials/*/{RESULT_FILE}"))

    def diverge(*_: object) -> Path:
        raise DivergedError("training: found a NaN")

    monkeypatch.setattr(training_run, "run_to_end", diverge)
    with pytest.raises(InputError, match="0 failed: training: found a NaN; 1 failed"):
        tune(config, COMMAND)
    assert pd.read_csv(folder / "stopped" / TABLE_FILE)["status"].str.startswith("failed: training").all()


def test_an_earlier_name_of_the_preset() -> None:
    with pytest.warns(FutureWarning, match="fast_dhm_m"):
        assert TuneConfig(data_dir=Path("x"), preset="fast_dhm_tuned").preset == "fast_dhm_m"


def test_what_is_searched() -> None:
    config = TuneConfig(data_dir=Path("x"))
    hp = keras_tuner.HyperParameters()
    model = DhmHyperModel(config)
    model.model_config(hp)
    assert {name: list(hp._hps[name][0].values) for name in SPACE} == {
        name: list(getattr(config, name)) for name in SPACE
    }
    hp.values.update(cnn_multiplier=3.0, input_size=64, last_channels=96, hidden_units=0, recurrent_steps=2)
    found = model.model_config(hp)
    assert (found.cnn_multiplier, found.input_size, found.stage_channels) == (3.0, 64, (32, 64, 96))
    assert (found.hidden_units, found.recurrent_steps) == (0, 2)


@pytest.mark.parametrize("kind", ["bayesian", "hyperband", "random"])
def test_both_objectives_count(kind: Any) -> None:
    oracle = make_oracle(TuneConfig(data_dir=Path("x"), tuner=kind, trials=7), 6)
    assert oracle.objective.get_value({"nme": 2.0, "latency": 0.5, "other": 9.0}) == 2.5
    assert oracle.max_trials == (None if kind == "hyperband" else 7)
    if kind == "hyperband":
        assert oracle.max_epochs == 6


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"trials": 0}, "trials: found 0"),
        ({"input_size": ()}, r"input_size: found \(\), expected one or more values"),
        ({"hidden_units": (0, 0)}, r"hidden_units: found \(0, 0\), expected .* each once"),
        ({"max_bytes": -5}, "max_bytes: found -5"),
        ({"epochs": 0}, "epochs: found 0"),
        ({"minutes": -1.0}, "minutes: found -1.0"),
        ({"latency_weight": -1.0}, "latency_weight: found -1.0"),
        ({"input_size": (64, 50)}, "input_size: found 50, expected a multiple of 16"),
        ({"rnn_multiplier": (1.0, 0.0)}, "rnn_multiplier: found 0.0"),
        ({"last_channels": (0,)}, "last_channels: found 0"),
        ({"preset": "huge"}, "huge"),
    ],
)
def test_wrong_options(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        TuneConfig(data_dir=Path("x"), **changes)


@pytest.mark.parametrize("tuner", ["bayesian", "random", "hyperband"])
def test_the_default_seed_makes_a_search_repeatable(tuner: Any) -> None:
    config = TuneConfig(data_dir=Path("x"), tuner=tuner)
    assert make_oracle(config, 2).seed == make_oracle(config, 2).seed
