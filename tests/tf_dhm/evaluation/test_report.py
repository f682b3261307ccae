"""What is written about an evaluation."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pipelines.datasets.samples import FaceSample, Rejection
from tests.shift_model import ShiftModel, entry, faces
from tf_dhm.evaluation.evaluate import Evaluation, evaluate
from tf_dhm.evaluation.report import best_and_worst, errors_of_models, side_by_side, write_report


@pytest.fixture
def evaluated() -> Evaluation:
    good, bad = ShiftModel(0.0, "good"), ShiftModel(1.0, "bad")
    entries = [entry(good), replace(entry(bad, 2), name="bad (2 passes)")]
    yaws = [0.0, 10.0, -45.0, 50.0, 80.0, -90.0, 5.0]
    label_sets: dict[str, list[FaceSample | Rejection]]
    label_sets = {"original": [*faces(yaws), Rejection("face9", "empty")], "other": [*faces(yaws[:4])]}
    return evaluate(entries, label_sets)


def test_report(evaluated: Evaluation, tmp_path: Path) -> None:
    output = tmp_path / "made" / "out"
    printed = write_report(evaluated, "aflw2000_3d", output)
    assert sorted(p.name for p in output.iterdir()) == [
        "best_and_worst.png",
        "ced.png",
        "ced_by_yaw.png",
        "metrics.json",
        "per_image.csv",
        "rejected.csv",
        "table.md",
    ]
    results = json.loads((output / "metrics.json").read_text())
    assert list(results) == ["good", "bad (2 passes)"]
    original = results["good"]["original"]
    assert list(original) == [
        "nme_0_30",
        "nme_30_60",
        "nme_60_90",
        "nme_mean_of_bins",
        "nme_mean",
        "auc_6",
        "failure_rate_6",
        "images",
        "missed",
        "pose_mae_pitch",
        "pose_mae_yaw",
        "pose_mae_roll",
        "pose_mae",
        "pose_faces",
        "boxes",
    ]
    assert original["images"] == 7
    assert results["good"]["other"]["nme_mean_of_bins"] is None
    per_image = pd.read_csv(output / "per_image.csv")
    assert len(per_image) == 2 * (7 + 4)
    of_good = per_image[(per_image["model"] == "good") & (per_image["labels"] == "original")]
    assert of_good["nme"].mean() == pytest.approx(original["nme_mean"], abs=1e-5)
    assert list(of_good["bin"]) == ["0_30", "0_30", "30_60", "30_60", "60_90", "60_90", "0_30"]
    assert (output / "rejected.csv").read_text().splitlines() == [
        "labels,name,reason",
        "original,face9,empty",
    ]
    text = (output / "table.md").read_text()
    assert "- labels original: 7 faces, by bin 3/2/2; 1 rejected" in text
    assert "- labels other: 4 faces, by bin 2/2/0; 0 rejected" in text
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line[:1] == "|"]
    by_name = {(row[0], row[2]): dict(zip(rows[0], row, strict=True)) for row in rows[2:]}
    ours = by_name["good", "original"]
    assert ours["source"] == "this evaluation"
    assert ours["mean of bins"] == f"{original['nme_mean_of_bins']:.2f}"
    assert (ours["size"], ours["parameters"], ours["images"]) == ("1,000 bytes", "204", "7")
    assert by_name["good", "other"]["60–90°"] == "–"
    theirs = by_name["DHM", "original"]
    assert (theirs["source"], theirs["mean of bins"], theirs["60–90°"]) == ("published", "4.11", "6.91")
    assert theirs["note"] == "mean as printed; the mean of the bins is 4.62"
    assert ours["yaw"] == f"{original['pose_mae_yaw']:.2f}"
    assert (
        by_name["6DRepNet", "original"]["pose error"],
        by_name["6DRepNet", "original"]["mean of bins"],
    ) == (
        "3.97",
        "–",
    )
    assert by_name["3DDFA_V2 mb05 (ONNX Runtime)", "re-annotated"]["mean of bins"] == "2.99"
    # The terminal shows only the measured rows.
    assert re.findall(r"^\| (good|bad|DHM)", printed, re.M) == ["good", "good", "bad", "bad"]
    assert "published" not in printed
    assert "- labels original: 7 faces" in printed


def test_report_of_another_dataset_has_no_published_rows(evaluated: Evaluation, tmp_path: Path) -> None:
    text = write_report(evaluated, "wild68", tmp_path)
    assert "# Accuracy on wild68" in text
    assert (tmp_path / "table.md").read_text() == text
    assert "published" not in text


def test_unknown_pose_gives_means_without_bins(tmp_path: Path) -> None:
    entries = [entry(ShiftModel())]
    result = evaluate(entries, {"original": faces([np.nan, np.nan])})
    write_report(result, "points", tmp_path)
    summary = json.loads((tmp_path / "metrics.json").read_text())["shift"]["original"]
    assert summary["nme_30_60"] is None
    assert summary["nme_mean_of_bins"] is None
    assert summary["nme_mean"] > 0
    assert pd.read_csv(tmp_path / "per_image.csv")[["yaw", "bin"]].isna().all(axis=None)


def test_best_typical_and_worst_are_sorted(evaluated: Evaluation) -> None:
    rows = best_and_worst(evaluated, "original")
    assert [title for title, _ in rows[:3]] == ["good\nbest", "good\ntypical", "good\nworst"]
    assert len(rows) == 6
    # Face i is stretched by 2 i %, so the model of the mean shape errs more with i.
    assert [[p.caption.split()[0] for p in pictures] for _, pictures in rows[:3]] == [
        ["face0", "face1"],
        ["face2", "face3"],
        ["face5", "face6"],
    ]


def test_models_side_by_side(evaluated: Evaluation) -> None:
    rows = side_by_side(evaluated, "original")
    assert [title for title, _ in rows] == [
        f"{kind}\n{model}" for kind in ("best", "typical", "worst") for model in ("good", "bad (2 passes)")
    ]
    # The same faces for each model, with its own errors.
    names = [[p.caption.split()[0] for p in pictures] for _, pictures in rows]
    assert names[0] == names[1]
    assert rows[0][1][0].caption != rows[1][1][0].caption
    errors = errors_of_models(evaluated, "original")
    mean = np.mean(list(errors.values()), 0)
    assert names[0][0] == f"face{mean.argmin()}"
    assert names[4][-1] == f"face{mean.argmax()}"
