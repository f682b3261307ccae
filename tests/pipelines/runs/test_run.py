"""A run from a dataset on disk to an exported model, and what stops it before it begins."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

from pipelines.prepared import datasets
from pipelines.runs import results
from pipelines.runs import run as training_run
from pipelines.runs.options import DataOptions, Options, read_options
from pipelines.runs.run import FEW_VAL_FACES, run
from pipelines.synthetic.config import TEST_SEED
from tests.faces import TINY_MODEL, TINY_RECIPE, write_faces
from tests.small_runs import small_run
from tf_dhm.core import configuration
from tf_dhm.core.errors import InputError
from tf_dhm.export.description import CARD_FILE, DESCRIPTION_FILE, Description, read_description
from tf_dhm.export.saved_model import read_weights
from tf_dhm.networks.config import ModelConfig
from tf_dhm.networks.models import build_model
from tf_dhm.runtime.saved_model import SavedModelPredictor
from tf_dhm.training.config import NO_AUGMENTATION
from tf_dhm.training.history import HISTORY_FILE
from tf_dhm.training.trainer import Trainer

COMMAND = "python train.py --name x"


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Options:
    """Options of a small run over 48 faces to train and 9 to validate with."""
    return small_run(tmp_path_factory.mktemp("run"), "first", epochs=2)


@pytest.fixture(scope="module")
def finished(base: Options) -> Path:
    """The exported version folder of a finished run."""
    return run(base, False, COMMAND)


def with_data(options: Options, **changes: Any) -> Options:
    """Options with changes of their own, and of those of the data."""
    names = {field.name for field in dataclasses.fields(DataOptions)}
    data = {name: changes.pop(name) for name in list(changes) if name in names}
    return dataclasses.replace(options, data=dataclasses.replace(options.data, **data), **changes)


def save_description(
    weights: list[Any], model: ModelConfig, description: Description, version_dir: Path, head: None
) -> None:
    """What `save_model` writes, but for the model, which takes seconds."""
    (version_dir / DESCRIPTION_FILE).parent.mkdir(parents=True)
    (version_dir / DESCRIPTION_FILE).write_text(configuration.to_json(description))
    (version_dir / "saved_model.pb").touch()


def test_from_a_table_to_an_exported_model(base: Options, finished: Path) -> None:
    assert finished == base.run_dir / "export" / "tiny" / "1"
    assert len(pd.read_csv(base.run_dir / HISTORY_FILE)) == 2
    assert list((base.run_dir / "tensorboard").iterdir())
    assert read_options(base.run_dir / training_run.OPTIONS_FILE) == base
    crops = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3)).astype(np.uint8)
    assert SavedModelPredictor(finished).predict(crops).landmarks.shape == (2, 68, 3)
    # The prepared form of the dataset is kept and used again.
    (prepared,) = base.data.cache_dir.iterdir()
    assert prepared.name.startswith("csv-128-")


def test_the_description_tells_how_it_was_trained(base: Options, finished: Path) -> None:
    found = read_description(finished)
    assert (found.preset, found.model, found.command) == ("tiny", TINY_MODEL, COMMAND)
    assert found.faces_seen == 2 * 3 * 16  # 2 epochs of 48 // 16 batches
    assert 0.0 < found.hours < 0.2
    assert found.options["train"]["epochs"] == 2
    assert found.datasets["csv"].startswith("48 faces; the user's own images")
    assert found.initialized_from is None
    assert found.software["tensorflow"] == tf.__version__
    assert f"- Exported with python {found.software['python']}, " in (finished.parent / CARD_FILE).read_text()
    history = pd.read_csv(base.run_dir / HISTORY_FILE)
    assert found.val["nme_mean_of_bins"] == pytest.approx(history["val_nme"].min(), rel=1e-5)
    card = (finished.parent / CARD_FILE).read_text()
    assert "Preset `tiny` with input_size 32, " in card
    assert f"| {found.val['nme_mean_of_bins']:.2f} |" in card


@pytest.mark.parametrize("side", [-0.01, 0.01])
def test_a_model_that_finds_few_faces_is_noted(
    side: float,
    base: Options,
    finished: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    nme = read_description(finished).val["nme_mean_of_bins"]
    assert nme is not None
    monkeypatch.setattr(results, "GOOD_NME", nme + side)
    results.write_card(base, finished)
    note = f"note: above {nme + side:g} %, align.py counts few faces as found; train for longer"
    assert (note in capsys.readouterr().out.splitlines()) == (side < 0)


def test_the_best_weights_are_exported(base: Options, finished: Path) -> None:
    with np.load(base.run_dir / "best.npz") as archive:
        best = [archive[name] for name in archive.files]
    for found, expected in zip(read_weights(finished), best, strict=True):
        np.testing.assert_array_equal(found, expected)


def test_a_finished_run_is_not_resumed(base: Options, finished: Path) -> None:
    with pytest.raises(InputError, match=r"first: found the exported model .*; the run is finished"):
        run(base, True, COMMAND)


def test_an_earlier_run_is_not_overwritten(base: Options, finished: Path) -> None:
    before = (base.run_dir / HISTORY_FILE).read_text()
    with pytest.raises(InputError, match=r"first: found an earlier run; choose another --name, or --resume"):
        run(base, False, COMMAND)
    assert (base.run_dir / HISTORY_FILE).read_text() == before


def test_a_run_that_was_killed_while_exporting_is_resumed(base: Options, finished: Path) -> None:
    weights = [weight.copy() for weight in read_weights(finished)]
    card = finished.parent / CARD_FILE
    text = card.read_text()
    card.unlink()  # after the model, before the card
    assert run(base, True, "python train.py --resume x") == finished
    assert card.read_text() == text
    for found, expected in zip(read_weights(finished), weights, strict=True):
        np.testing.assert_array_equal(found, expected)


def test_training_begins_with_an_exported_model(base: Options, finished: Path) -> None:
    tuned = dataclasses.replace(
        base,
        name="tuned",
        init=str(finished.parent),
        # The learning rate is too low to move the weights.
        train=dataclasses.replace(
            base.train, epochs=1, learning_rate=1e-9, ema=0.0, weight_decay=0.0, keep="last"
        ),
        quality_crops=0,
        augment=NO_AUGMENTATION,
    )
    version_dir = run(tuned, False, COMMAND)
    found, expected = read_weights(version_dir), read_weights(finished)
    names = [weight.name for weight in build_model(TINY_MODEL).weights]
    for name, a, b in zip(names, found, expected, strict=True):
        if "moving" not in name:  # the statistics of batch normalisation move at their own rate
            np.testing.assert_allclose(a, b, atol=1e-6)
    began = read_description(version_dir).initialized_from
    assert began is not None
    assert (began["faces_seen"], began["command"]) == (96, COMMAND)
    card = (version_dir.parent / CARD_FILE).read_text()
    assert "Began with the weights of an earlier run of preset `tiny`: 96 faces" in card


def test_initial_weights_that_no_epoch_improves_are_exported(
    base: Options, finished: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spoiled = dataclasses.replace(
        base,
        name="spoiled",
        init=str(finished.parent),
        train=dataclasses.replace(base.train, epochs=2, learning_rate=0.5, ema=0.0),
        quality_crops=0,
    )
    version_dir = run(spoiled, False, COMMAND)
    for found, expected in zip(read_weights(version_dir), read_weights(finished), strict=True):
        np.testing.assert_array_equal(found, expected)
    printed = capsys.readouterr().out
    assert "the initial weights: NME on val" in printed
    assert "note: no epoch was better on val" in printed
    assert read_description(version_dir).faces_seen == 0
    assert "unchanged: 96 faces" in (version_dir.parent / CARD_FILE).read_text()


def test_with_no_epochs_the_network_stays_and_the_head_is_fitted(base: Options, finished: Path) -> None:
    kept = dataclasses.replace(
        base, name="kept", init=str(finished.parent), train=dataclasses.replace(base.train, epochs=0)
    )
    version_dir = run(kept, False, "python train.py --epochs 0")
    for found, expected in zip(read_weights(version_dir), read_weights(finished), strict=True):
        np.testing.assert_array_equal(found, expected)
    crops = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3)).astype(np.uint8)
    answers = [SavedModelPredictor(folder).predict(crops) for folder in (version_dir, finished)]
    np.testing.assert_array_equal(answers[0].landmarks, answers[1].landmarks)
    assert all(answer.confidence is not None for answer in answers)
    description = read_description(version_dir)
    assert (description.faces_seen, description.val) == (0, read_description(finished).val)
    assert description.quality is not None
    assert description.quality["confidence_crops"] > 0
    card = (version_dir.parent / CARD_FILE).read_text()
    assert "unchanged: 96 faces" in card
    weights, mixture = read_weights(finished), datasets.load_mixture(list(base.data.cache_dir.iterdir()))
    assert training_run.fit_head(weights, TINY_MODEL, mixture, 0) == (None, None)


def test_a_resumed_run_remembers_the_model_it_began_with(
    base: Options, finished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train = dataclasses.replace(base.train, epochs=1)
    options = dataclasses.replace(
        base, name="stopped", init=str(finished.parent), quality_crops=0, train=train
    )
    monkeypatch.setattr(training_run, "save_model", save_description)
    monkeypatch.setattr(training_run, "write_card", lambda *arguments: None)

    def stop(trainer: Trainer, minutes: float) -> None:
        trainer.save()
        raise KeyboardInterrupt

    def end(trainer: Trainer, minutes: float) -> dict[str, Any]:
        return trainer.best_metrics()

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "fit", stop)
        with pytest.raises(KeyboardInterrupt):
            run(options, False, COMMAND)
    monkeypatch.setattr(Trainer, "fit", end)
    # It does not matter any more whether that model is there.
    resumed = dataclasses.replace(options, init="/no/such/model")
    found = read_description(run(resumed, True, "python train.py --resume x"))
    assert found.initialized_from is not None
    assert found.initialized_from["faces_seen"] == 96
    assert found.command == COMMAND


def test_another_network_cannot_be_begun_with(base: Options, finished: Path) -> None:
    wider = dataclasses.replace(
        base, name="wider", init=str(finished.parent), model=dataclasses.replace(TINY_MODEL, hidden_units=32)
    )
    with pytest.raises(InputError, match=r"init .*tiny: found a network with hidden_units 16, expected 32"):
        run(wider, False, COMMAND)
    assert not wider.run_dir.exists()
    # Steps share their weights, but without any there is no cell.
    stepless = dataclasses.replace(
        base,
        name="wider",
        init=str(finished.parent),
        model=dataclasses.replace(TINY_MODEL, recurrent_steps=0),
    )
    with pytest.raises(InputError, match=r"init: found the \d+ weights of another network"):
        run(stepless, False, COMMAND)
    assert not stepless.run_dir.exists()


def test_a_resumed_run_rejects_other_faces(base: Options, finished: Path, tmp_path: Path) -> None:
    (base.run_dir / "export" / "tiny" / CARD_FILE).rename(tmp_path / "card")
    try:
        other = with_data(base, data_dir=(write_faces(tmp_path / "faces", 32, 9),))
        with pytest.raises(
            InputError, match=r"data-dir: found 32 faces to train .* expected the 48 and 9 that"
        ):
            run(other, True, COMMAND)
    finally:
        (tmp_path / "card").rename(base.run_dir / "export" / "tiny" / CARD_FILE)


@pytest.fixture(scope="module")
def mixed(base: Options) -> Options:
    """A run over the 48 faces of a table and 20 rendered ones."""
    return dataclasses.replace(
        base,
        name="mixed",
        data=dataclasses.replace(
            base.data,
            dataset=("csv", "synthetic"),
            dataset_weights=(1.0, 3.0),
            faces=22,
            faces_seed=7,
            test_faces=6,
        ),
        quality_crops=0,
        threads=1,
        train=dataclasses.replace(base.train, epochs=1),
    )


def test_a_mixture_of_datasets(mixed: Options, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    fit = Trainer.fit

    def noted(trainer: Trainer, minutes: float) -> dict:
        assert trainer.faces_of_step is not None
        for step in range(trainer.total_steps):
            seen.extend(trainer.faces_of_step(step))
        return fit(trainer, minutes)

    monkeypatch.setattr(Trainer, "fit", noted)
    version_dir = run(mixed, False, COMMAND)
    rendered = sum(name.startswith("synthetic/7/") for name in seen)
    assert len(seen) == (48 + 20) // 16 * 16
    assert rendered == pytest.approx(48, abs=8)  # three quarters
    found = read_description(version_dir)
    assert found.datasets["csv"].startswith("48 faces, 25.0% of the faces seen; the user's own images")
    assert found.datasets["synthetic"].startswith("20 faces, 75.0% of the faces seen; faces rendered from")
    assert found.val["images"] == 9 + 2
    assert found.options["data"]["dataset_weights"] == [1.0, 3.0]
    # What came of it, on other faces than it was trained with.
    report = mixed.run_dir / "evaluation"
    metrics = json.loads((report / "metrics.json").read_text())["tiny"]["original"]
    assert metrics["images"] == 6
    names = pd.read_csv(report / "per_image.csv")["name"].tolist()
    assert names == [f"synthetic/{TEST_SEED}/{i}" for i in range(6)]
    files = {path.name for path in report.iterdir()}
    assert {"table.md", "ced.png", "ced_by_yaw.png", "best_and_worst.png"} <= files
    card = (version_dir.parent / CARD_FILE).read_text()
    assert f"| synthetic test faces | {metrics['nme_0_30']:.2f} |" in card


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dataset": ("wild86",)}, "dataset: found 'wild86', expected one of wild68"),
        (
            {"data_dir": (Path("/no/such/folder"),)},
            "data-dir: found no /no/such/folder, expected the folder of csv",
        ),
        ({"init": "/no/such/model"}, "model /no/such/model: found nothing"),
        ({"train": dataclasses.replace(TINY_RECIPE, epochs=0)}, "epochs: found 0, expected more than 0, or"),
        ({"data_service": ("localhost:1",)}, "data_service: found 'localhost:1', expected grpc://HOST:PORT"),
        (
            {"train": dataclasses.replace(TINY_RECIPE, batch_size=49)},
            "batch_size: found 49, expected at most the 48",
        ),
    ],
)
def test_mistakes_leave_no_run(changes: dict, message: str, base: Options) -> None:
    options = with_data(base, name="never", **changes)
    with pytest.raises(InputError, match=message):
        run(options, False, COMMAND)
    assert not options.run_dir.exists()


def test_a_table_without_faces_to_validate_with(base: Options, tmp_path: Path) -> None:
    options = with_data(
        base,
        data_dir=(write_faces(tmp_path / "faces", 20, 0),),
        runs_dir=tmp_path,
        cache_dir=tmp_path / "prepared",
    )
    with pytest.raises(InputError, match=r"expected faces of both train and val"):
        run(options, False, COMMAND)


@pytest.mark.parametrize("count", [1, FEW_VAL_FACES])
def test_few_faces_to_validate_with_are_noted(
    count: int, base: Options, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = with_data(
        base,
        data_dir=(write_faces(tmp_path / "faces", 20, count),),
        runs_dir=tmp_path,
        cache_dir=tmp_path / "prepared",
        train=dataclasses.replace(TINY_RECIPE, batch_size=49),
    )
    with pytest.raises(InputError, match=r"--batch-size 16"):
        run(options, False, COMMAND)
    assert ("val has 1 face, too few" in capsys.readouterr().out) == (count == 1)


@pytest.mark.slow
def test_mixed_precision_and_faces_without_depth(base: Options, tmp_path: Path) -> None:
    options = with_data(
        base,
        data_dir=(write_faces(tmp_path / "faces", 32, 6, depth=False),),
        runs_dir=tmp_path / "runs",
        cache_dir=tmp_path / "prepared",
        train=dataclasses.replace(base.train, mixed_precision=True, epochs=1),
    )
    version_dir = run(options, False, COMMAND)
    assert {weight.dtype for weight in read_weights(version_dir)} == {np.dtype(np.float32)}
    assert all(np.isfinite(weight).all() for weight in read_weights(version_dir))
