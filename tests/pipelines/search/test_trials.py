"""What the table of a search tells, on tables whose answers are known."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pipelines.search import trials
from pipelines.search.options import SPACE


def test_which_trials_are_trained_to_the_end() -> None:
    rows = [("a", 3.0, 0.1), ("b", 2.5, 0.3), ("c", 2.6, 0.4), ("d", 2.4, 0.9)]
    table = pd.DataFrame(rows, columns=["trial", "nme", "latency_ratio"])
    table = table.assign(status="trained", cnn_multiplier=1.0)
    assert trials.chosen_trials(table, "pareto", 1.0) == ["a", "b", "d"]
    assert trials.chosen_trials(table, "best", 1.0) == ["b"]  # 3.1, 2.8, 3.0, 3.3
    assert trials.chosen_trials(table, "best", 0.0) == ["d"]


def test_a_worker_that_read_the_results_earlier_does_not_replace_a_newer_table(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def finish(name: str) -> None:
        folder = tmp_path / "trials" / name
        folder.mkdir(parents=True)
        trials.write_json(folder / trials.RESULT_FILE, {"trial": name})

    read_table, has_read, may_write = trials.read_table, threading.Event(), threading.Event()

    def read_slowly(output_dir: Path) -> pd.DataFrame:
        table = read_table(output_dir)
        if not has_read.is_set():
            has_read.set()
            may_write.wait(0.5)
        return table

    monkeypatch.setattr(trials, "read_table", read_slowly)
    finish("a")
    slow = threading.Thread(target=trials.write_table, args=[tmp_path])
    slow.start()
    has_read.wait()
    finish("b")
    trials.write_table(tmp_path)
    may_write.set()
    slow.join()
    assert pd.read_csv(tmp_path / trials.TABLE_FILE)["trial"].tolist() == ["a", "b"]


def test_effects_of_choices_is_found_from_effects_that_add_up() -> None:
    rng = np.random.default_rng(0)
    cnn, steps = rng.choice([0.5, 1.0, 2.0, 3.0], 20), rng.choice([1, 2, 4], 20)
    hidden = rng.choice([0, 136, 408], 20)
    table = pd.DataFrame(dict.fromkeys(SPACE, 1.0), index=range(20)).assign(
        status="trained",
        cnn_multiplier=cnn,
        recurrent_steps=steps,
        hidden_units=hidden,
        nme=4.0 - 0.5 * np.log2(cnn) - 0.1 * np.log2(steps) + 0.02 * hidden / 136,
        latency_ratio=0.3 * cnn * steps**0.5,
        weight_bytes=1e6 * cnn**2 * 1.1 ** (hidden / 136),
    )
    found = trials.effects_of_choices(table)
    assert found["choice"].tolist() == ["cnn_multiplier", "recurrent_steps", "hidden_units"]
    assert found["step"].tolist() == ["x 2", "x 2", "+ 136"]
    np.testing.assert_allclose(found["nme"], [-0.5, -0.1, 0.02], atol=1e-9)
    np.testing.assert_allclose(found["time"], [2.0, 2**0.5, 1.0], rtol=1e-9)
    np.testing.assert_allclose(found["bytes"], [4.0, 1.0, 1.1], rtol=1e-9)
    assert trials.effects_of_choices(table[:4]).empty
    text = trials.describe(table.assign(trial="a"))
    assert "20 trained, 0 not" in text
    assert text.splitlines()[-1].split() == ["hidden_units", "+", "136", "0.02", "1", "1.1"]


def test_the_trials_named_in_the_figure_are_those_of_the_front_that_is_exported(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    # b was timed in a slow hour: more milliseconds than c, and yet the faster network
    rows = [("a", 3.0, 0.1, 1.0), ("b", 2.5, 0.3, 2.0), ("c", 2.6, 0.4, 1.0), ("d", 2.4, 0.9, 1.0)]
    table = pd.DataFrame(rows, columns=["trial", "nme", "latency_ratio", "reference_ms"])
    table = table.assign(status="trained", cnn_multiplier=1.0, weight_bytes=1000)
    table["latency_ms"] = table["latency_ratio"] * table["reference_ms"]
    drawn = []
    monkeypatch.setattr(trials, "tradeoff_figure", lambda plots, title: drawn.append(plots))
    monkeypatch.setattr(trials, "save_figure", lambda figure, path: None)
    trials.draw_figure(table, [], tmp_path / "figure.png")
    (_, times), _ = drawn[0]
    own = [point for point in times if point.kind == "single" and point.group == "CNN × 1"]
    assert [point.name for point in own if point.name] == trials.chosen_trials(table, "pareto", 1.0)
    assert {round(point.cost, 9) for point in own} == {0.1, 0.3, 0.4, 0.9}  # ms of the median reference, 1.0
