"""The figures of the paper, drawn with networks that have learnt nothing."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import cv2
import pytest

from tests.builders import pose_para, write_aflw2000
from tests.fakes import write_fake_model
from tests.tiny_models import write_tiny_model
from tf_dhm.core.errors import InputError
from tf_dhm.export.description import Description
from tf_dhm.export.saved_model import save_model
from tf_dhm.face.mean_face import mean_landmarks
from tf_dhm.networks.config import ModelConfig
from tf_dhm.networks.models import build_model
from tools.studies.family_study import StudyConfig, runs
from tools.studies.paper_figures import Ablations, Ced, Faces, States, Tradeoff, read_report
from tools.studies.photo import PHOTO

TINY_DHM = ModelConfig(
    family="dhm",
    input_size=32,
    backbone="vgg",
    cell="vanilla",
    stem_channels=8,
    stage_channels=(8,),
    stage_blocks=(0,),
    recurrent_channels=8,
    recurrent_steps=2,
    hidden_units=0,
)


def looks_drawn(path: Path) -> bool:
    picture = cv2.imread(str(path))
    return picture is not None and picture.std() > 5.0


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_fake_model(tmp_path_factory.mktemp("models") / "fake", size=24)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("aflw2000")
    for index, yaw in enumerate((0.1, -0.7, 1.3)):
        points = mean_landmarks(64) * [1.0 + 0.1 * index, 1.0, 1.0]
        write_aflw2000(folder, f"image0000{index}", points, Pose_Para=pose_para(yaw=yaw))
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("heatmap_input", [True, False])
def test_states(tmp_path: Path, heatmap_input: bool) -> None:
    config = dataclasses.replace(TINY_DHM, heatmap_input=heatmap_input, landmarks_input=not heatmap_input)
    network = build_model(config)
    description = Description("dhm", config, {}, "none", {}, 0, 0.0, "none", {})
    save_model(network.get_weights(), config, description, tmp_path / "dhm" / "1")
    States(model=str(tmp_path / "dhm"), output=tmp_path / "states.png").draw()
    assert looks_drawn(tmp_path / "states.png")


def test_states_of_a_model_without_any(tmp_path: Path) -> None:
    fast = write_tiny_model(tmp_path / "fast")
    with pytest.raises(InputError, match=r"fast: found the family fast_dhm, expected dhm, which has states"):
        States(model=str(fast), output=tmp_path / "states.png").draw()
    assert PHOTO.is_file()


def test_ablations(tmp_path: Path) -> None:
    figure = Ablations(runs_dir=tmp_path / "runs", output=tmp_path / "out.png")
    with pytest.raises(InputError, match="found no finished run of seed 1"):
        figure.draw()
    for number, run in enumerate(runs(StudyConfig(output_dir=tmp_path / "runs", seeds=(1,)))):
        if number < 2:
            run.metrics_file.parent.mkdir(parents=True)
            run.metrics_file.with_name("per_image.csv").write_text("nme\n3.0\n5.0\n")
    figure.draw()
    assert looks_drawn(tmp_path / "out.png")


def test_ced_and_faces_of_datasets(model: Path, dataset: Path, tmp_path: Path) -> None:
    (tmp_path / "faces").mkdir()
    data = (f"aflw2000_3d={dataset}",)
    Ced((str(model),), data=data, output=tmp_path / "ced.png").draw()
    assert looks_drawn(tmp_path / "ced.png")
    Faces((str(model),), data=data, output=tmp_path / "faces.jpg").draw()
    assert looks_drawn(tmp_path / "faces.jpg")
    with pytest.raises(InputError, match="data: found 'aflw2000_3d', expected NAME=FOLDER"):
        Ced((str(model),), data=("aflw2000_3d",)).draw()


def test_rendered_faces_and_several_datasets(model: Path, dataset: Path, tmp_path: Path) -> None:
    data = ("synthetic", f"aflw2000_3d={dataset}")
    sheet = Faces((str(model),), data=data, cache_dir=tmp_path / "cache", faces=3, output=tmp_path / "f.jpg")
    sheet.draw()
    assert looks_drawn(tmp_path / "f_synthetic.jpg")
    assert looks_drawn(tmp_path / "f_aflw2000_3d.jpg")


def test_tradeoff(tmp_path: Path) -> None:
    output = tmp_path / "tradeoff.png"
    Tradeoff(output=output).draw()
    assert looks_drawn(output)
    results = {"a": {"original": {"nme_mean_of_bins": 3.5, "nme_mean": 3.0}}}
    row = {"model": "a", "device": "cpu", "threads": 1, "stage": "model", "batch": 1, "ms": 1.0}
    row |= {"precision": "float32", "file_bytes": 1000}
    timing = {"machine": {"cpu": "a CPU"}, "results": [row]}
    (tmp_path / "metrics.json").write_text(json.dumps(results))
    (tmp_path / "benchmark.json").write_text(json.dumps(timing))
    before = output.read_bytes()
    figure = Tradeoff(tmp_path / "metrics.json", tmp_path / "benchmark.json", output=output)
    figure.draw()
    assert output.read_bytes() != before
    with pytest.raises(InputError, match="found none of the models a on one thread"):
        dataclasses.replace(figure, labels="other").draw()
    with pytest.raises(InputError, match="found one of them, expected both or none"):
        dataclasses.replace(figure, metrics=None).draw()
    with pytest.raises(InputError, match=r"none.json: found .*, expected a report as JSON"):
        read_report(tmp_path / "none.json")
    (tmp_path / "list.json").write_text("[]")
    with pytest.raises(InputError, match=r"list.json: found list"):
        read_report(tmp_path / "list.json")
