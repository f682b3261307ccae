"""Published rows, and points for plots."""

from __future__ import annotations

import pytest

from tf_dhm.evaluation.evaluate import Metrics
from tf_dhm.evaluation.published import measured_points, published_points, read_published
from tf_dhm.face import metrics


def test_published_rows_are_as_printed() -> None:
    published = read_published()
    later = published["note"].str.contains("not re-run")
    table_1 = published[(published["source"] == "published") & ~later]
    assert len(table_1) == 16
    best = published[published["nme_mean"] != ""].astype({"nme_mean": float}).nsmallest(1, "nme_mean")
    assert best["system"].item() == "DSFNet-f"
    assert set(published["source"]) == {"published", "measured side by side"}
    row = table_1[table_1["system"] == "Fast DHM"].iloc[0]
    assert row[["nme_0_30", "nme_30_60", "nme_60_90", "nme_mean", "fps_gpu", "fps_cpu", "size"]].tolist() == [
        "2.57",
        "3.60",
        "5.88",
        "4.01",
        ">900",
        "81",
        "0.9 MB",
    ]
    # A printed mean that is not the mean of the printed bins says so.
    published = published[published["nme_0_30"] != ""]
    bins = published[[f"nme_{name}" for name in metrics.YAW_BINS]].astype(float).mean(axis=1)
    differs = (bins - published["nme_mean"].astype(float)).abs() > 0.015
    assert set(published.loc[differs, "system"]) == {"DHM", "DHM+RHG", "Hyperface", "MDM", "ERT"}
    for note, mean in zip(published.loc[differs, "note"], bins[differs], strict=True):
        assert note == f"mean as printed; the mean of the bins is {mean:.2f}"
    assert not published.loc[~differs, "note"].str.contains("as printed").any()


def test_published_points() -> None:
    by_name = {point.name: point for point in published_points("bytes")}
    assert (by_name["Fast DHM"].cost, by_name["Fast DHM"].nme) == (0.9e6, 4.01)
    assert by_name["dlib ERT"].cost == 99_693_937
    assert all(point.kind == "apart" for point in by_name.values())
    assert {point.group for point in by_name.values()} == {"published", "measured side by side"}
    assert "3DSTN" not in by_name  # no size printed
    times = {point.name: point.cost for point in published_points("ms")}
    assert times["Fast DHM"] == pytest.approx(1000 / 81)
    assert times["MediaPipe face_landmark (2 passes)"] == 1.3
    assert "DHM" not in times  # "<1" is a bound


def test_measured_points() -> None:
    results: Metrics = {
        "a": {"original": {"nme_mean_of_bins": 3.5, "nme_mean": 3.0}},
        "b": {"original": {"nme_mean_of_bins": None, "nme_mean": 4.0}},
        "c": {"other": {"nme_mean_of_bins": 1.0, "nme_mean": 1.0}},
        "untimed": {"original": {"nme_mean_of_bins": 1.0, "nme_mean": 1.0}},
    }
    timed = {"device": "cpu", "threads": 1, "stage": "model", "batch": 1, "file_bytes": 100}
    timed["precision"] = "float16"
    rows = [
        {**timed, "model": "a", "ms": 2.0, "file_bytes": 500},
        {**timed, "model": "a", "ms": 0.5},
        {**timed, "model": "a", "ms": 0.1, "threads": 2},
        {**timed, "model": "a", "ms": 0.1, "batch": 32},
        {**timed, "model": "a", "ms": 0.1, "precision": "int8"},
        {**timed, "model": "b", "ms": 1.0},
        {**timed, "model": "c", "ms": 1.0},
    ]
    found = measured_points(results, {"results": rows}, "original", "ms", "here")
    assert [(p.name, p.cost, p.nme, p.kind) for p in found] == [
        ("a", 0.5, 3.5, "series"),
        ("b", 1.0, 4.0, "series"),
    ]
    found = measured_points(results, {"results": rows}, "original", "bytes", "here")
    assert [p.cost for p in found] == [100.0, 100.0]
