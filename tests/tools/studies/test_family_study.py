"""The study of the small twins, with networks and data so small that they learn nothing."""

from __future__ import annotations

import dataclasses
import json
import shlex
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import train
from pipelines.runs import run as training_run
from tests.builders import pose_para, write_aflw2000
from tests.faces import write_faces
from tf_dhm.core.errors import InputError
from tf_dhm.face.mean_face import mean_landmarks
from tf_dhm.training.presets import PRESETS, Preset
from tools.studies import family_study
from tools.studies.family_study import TWINS, Run, StudyConfig, study
from tools.studies.family_tables import CONTRASTS

DOCUMENT = """# Family
<!-- family sizes -->
<!-- end of family sizes -->
between
<!-- family study -->
old
<!-- end of family study -->
after
"""


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> StudyConfig:
    folder = tmp_path_factory.mktemp("study")
    for index, yaw in enumerate((0.1, -0.7, 1.3)):
        write_aflw2000(folder / "test", f"image0000{index}", mean_landmarks(64), Pose_Para=pose_para(yaw=yaw))
    (folder / "family.md").write_text(DOCUMENT)
    return StudyConfig(
        data_dir=write_faces(folder / "faces", 64, 9),
        test_dir=folder / "test",
        output_dir=folder / "runs",
        document=folder / "family.md",
        dataset="csv",
        cache_dir=folder / "prepared",
        presets=("tiny",),
        seeds=(3,),
        epochs=1,
        threads=1,
        rounds=1,
    )


@pytest.fixture(scope="module")
def finished(config: StudyConfig) -> StudyConfig:
    study(config)
    return config


def test_all_twins_are_studied_alike() -> None:
    assert sorted(TWINS) == sorted(name for name in PRESETS if name.endswith("_small"))
    assert {name for _, *pair in CONTRASTS for name in pair} <= set(TWINS)
    config = StudyConfig()
    found = list(family_study.runs(config))
    assert [run.seed for run in found] == [1] * 6 + [2] * 6
    options = [family_study.options_of(config, run) for run in found]
    assert len({(o.train.epochs, o.train.batch_size, o.augment) for o in options}) == 1
    # wild68 has 19,451 faces to train with.
    assert options[0].train.epochs * (19451 // options[0].train.batch_size) * 64 >= 200_000


@pytest.mark.parametrize("changes", [{}, {"epochs": 3, "limit": 20}])
def test_the_command_is_that_of_the_options(config: StudyConfig, changes: dict[str, Any]) -> None:
    found = dataclasses.replace(config, presets=("dhm_small",), **{"epochs": None, **changes})
    options = family_study.options_of(found, next(family_study.runs(found)))
    parsed, _ = train.parse(shlex.split(family_study.command_of(options))[2:])
    # Where things lie and how many cores compute is of the machine.
    data = dataclasses.replace(options.data, cache_dir=parsed.data.cache_dir)
    expected = dataclasses.replace(options, threads=0, data=data, runs_dir=parsed.runs_dir)
    assert parsed == expected


@pytest.mark.slow
def test_runs_and_table(finished: StudyConfig) -> None:
    runs = list(family_study.runs(finished))
    assert [run.folder.name for run in runs] == ["tiny_seed3"]
    assert all(run.is_trained for run in runs)
    table = pd.read_csv(finished.document.with_name("family.csv"))
    assert table["seed"].tolist() == [3]
    assert table["faces_seen"].tolist() == [64]
    assert table["images"].tolist() == [3]
    assert table["ms"].isna().all()
    found = json.loads(runs[0].metrics_file.read_text())["tiny"]["original"]["nme_mean_of_bins"]
    assert table["test_nme_mean_of_bins"][0] == pytest.approx(found, rel=1e-4)
    text = finished.document.read_text()
    assert text.startswith("# Family\n<!-- family sizes -->\n<!-- end of family sizes -->\nbetween\n")
    assert text.endswith("<!-- end of family study -->\nafter\n")
    assert "old" not in text
    assert "| `tiny`" in text
    assert "| 3 " in text
    assert "Not timed yet." in text


@pytest.mark.slow
def test_what_is_done_is_not_done_again(finished: StudyConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training_run, "run", lambda *_: pytest.fail("trained again"))
    monkeypatch.setattr(family_study, "evaluate", lambda *_: pytest.fail("measured again"))
    study(finished)


@pytest.mark.slow
def test_a_stopped_run_is_resumed(finished: StudyConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    (run, *_) = family_study.runs(finished)
    card = run.version_dir.parent / "README.md"
    kept = card.read_text()
    card.unlink()
    calls: list[bool] = []
    monkeypatch.setattr(training_run, "run", lambda options, resume, *rest: calls.append(resume))
    family_study.train(finished, run)
    with pytest.raises(InputError, match="tiny_seed3: found a run begun with other options"):
        family_study.train(dataclasses.replace(finished, epochs=2), run)
    card.write_text(kept)
    # Stopped before it began: nothing is lost.
    empty = Run("tiny", 9, finished.output_dir / "tiny_seed9")
    (empty.folder / "checkpoints").mkdir(parents=True)
    family_study.train(finished, empty)
    assert calls == [True, False]
    assert not empty.folder.exists()


@pytest.mark.slow
def test_latency(finished: StudyConfig) -> None:
    config = dataclasses.replace(finished, steps=("latency", "table"))
    study(config)
    table = pd.read_csv(finished.document.with_name("family.csv"))
    assert (table["ms"] > 0).all()
    assert "one thread of" in finished.document.read_text()
    (finished.output_dir / family_study.LATENCY_FILE).unlink()


def test_sizes(config: StudyConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    small: dict[str, Preset] = {name: PRESETS[name] for name in ("tiny", "fast_dhm")}
    monkeypatch.setattr(family_study, "PRESETS", small)
    family_study.write_sizes(config)
    text = config.document.read_text()
    assert "| `fast_dhm` | Fast DHM, under 0.95 MB of weights" in text
    assert "0.93 MB" in text
    assert "96 × 96" in text


def test_mistakes(config: StudyConfig, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="preset: found 'x'"):
        StudyConfig(presets=("x",))
    with pytest.raises(InputError, match=r"seeds: found \(1, 1\), expected one or more, each once"):
        StudyConfig(seeds=(1, 1))
    with pytest.raises(InputError, match="data_dir: found none, expected a folder"):
        study(dataclasses.replace(config, data_dir=None))
    with pytest.raises(InputError, match=r"test_dir: found no .*none, expected a folder"):
        study(dataclasses.replace(config, test_dir=tmp_path / "none"))
    missing = dataclasses.replace(config, output_dir=tmp_path)
    with pytest.raises(InputError, match="found no trained model"):
        study(dataclasses.replace(missing, steps=("latency",)))
    with pytest.raises(InputError, match="found no finished run"):
        study(dataclasses.replace(missing, steps=("table",)))
    with pytest.raises(InputError, match=r"document: found no .*gone.md"):
        study(dataclasses.replace(config, document=tmp_path / "gone.md"))
    for content in ("", "<!-- end of x --><!-- x -->", "<!-- x --><!-- x --><!-- end of x -->"):
        (tmp_path / "doc.md").write_text(content)
        with pytest.raises(InputError, match="found no place for a table, expected the lines <!-- x -->"):
            family_study.fill_in(tmp_path / "doc.md", "x", "text")
