"""What a teacher finds in training faces, and a run that learns from it."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from pipelines.prepared.datasets import load_mixture
from pipelines.runs import run as training_run
from pipelines.runs import teacher
from pipelines.runs.faces import prepared_folders
from pipelines.runs.run import run
from tests.faces import TINY_MODEL
from tests.made_faces import made_faces
from tests.shift_model import ShiftModel
from tests.small_runs import small_run
from tests.tiny_models import write_tiny_model
from tf_dhm.core.configuration import to_json
from tf_dhm.core.errors import InputError
from tf_dhm.export.description import CARD_FILE, DESCRIPTION_FILE, read_description
from tf_dhm.training.distribution import Strategy


def test_what_is_not_symmetric_cancels_in_the_mean() -> None:
    # In the mirror image a shift goes the other way; both models find the mean face in the box.
    faces = made_faces(5)
    found = teacher.find_landmarks([ShiftModel(2.0), ShiftModel(-1.0)], faces)
    without = teacher.find_landmarks([ShiftModel(0.0)], faces)
    np.testing.assert_allclose(found, without, atol=1e-3)
    np.testing.assert_allclose(found[..., :2], faces.landmarks[..., :2], atol=0.5)


def test_landmarks_of_other_faces_are_rejected(tmp_path: Path) -> None:
    file = tmp_path / "teacher.npy"
    with pytest.raises(InputError, match=r"teacher\.npy"):
        teacher.read_landmarks(file, 3)
    np.save(file, np.zeros((4, 68, 3), np.float32))
    assert teacher.read_landmarks(file, 4).shape == (4, 68, 3)
    with pytest.raises(InputError, match=r"\(4, 68, 3\)"):
        teacher.read_landmarks(file, 3)


def test_the_data_of_a_foreign_teacher_are_unknown(tmp_path: Path) -> None:
    folder = tmp_path / "foreign" / "1"
    folder.mkdir(parents=True)
    (folder / "saved_model.pb").write_bytes(b"")
    (note,) = teacher.data_of([str(folder.parent)]).items()
    assert note == ("data of the teacher foreign", "unknown, since that model has no description")


def test_a_run_learns_from_a_teacher_and_resumes_without_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny = write_tiny_model(tmp_path / "tiny")
    taught = dataclasses.replace(read_description(tiny), datasets={"wild68": "research only"})
    (tiny / "1" / DESCRIPTION_FILE).write_text(to_json(taught))
    options = small_run(tmp_path, "pupil", epochs=1)
    train = dataclasses.replace(options.train, teacher_share=1.0)
    pupil = dataclasses.replace(options, teacher=(str(tiny),), train=train, quality_crops=0)
    # A run that was stopped before its first step leaves the file, and can be started again.
    pupil.run_dir.mkdir(parents=True)
    (pupil.run_dir / training_run.TEACHER_FILE).write_bytes(b"")
    distances: list[float] = []
    split = Strategy.split

    def record(strategy: Strategy, batch: dict[str, Any]) -> Any:
        distances.append(float(tf.reduce_mean(tf.abs(batch["teacher"] - batch["landmarks"]))))
        return split(strategy, batch)

    with monkeypatch.context() as patch:
        patch.setattr(Strategy, "split", record)
        version_dir = run(pupil, False, "train.py")
    (prepared,) = prepared_folders(options.data, TINY_MODEL.input_size, 1)
    faces = load_mixture([prepared]).train
    landmarks = teacher.read_landmarks(pupil.run_dir / training_run.TEACHER_FILE, len(faces))
    assert np.isfinite(landmarks).all()
    assert read_description(version_dir).options["teacher"] == ["tiny"]
    # The card names the teacher's data too.
    assert read_description(version_dir).datasets["wild68"] == "by the teacher tiny: research only"
    assert len(distances) == 48 // 16
    assert min(distances) > 0.5  # pixels of the crop: an untrained teacher is far from the labels

    def no_model(*_: object) -> None:
        raise AssertionError("a resumed run asks no teacher")

    monkeypatch.setattr(teacher, "write_landmarks", no_model)
    (version_dir.parent / CARD_FILE).unlink()  # killed before the card was written
    assert run(pupil, True, "train.py") == version_dir
