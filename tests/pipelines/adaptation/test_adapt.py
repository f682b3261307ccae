"""Adapting models to other annotations, on rendered faces and on small made ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cache, partial
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

import adapt as script
from pipelines.adaptation.adapt import (
    Adapted,
    adapt,
    check_near,
    export,
    find_box,
    look_at,
    missing_yaw,
    summary,
)
from pipelines.adaptation.annotations import AnnotatedFace
from pipelines.adaptation.views import OutputFeatures, from_unit, to_unit
from pipelines.synthetic.renderer import FaceRenderer, RenderedFace
from tests.faces import write_faces
from tests.tiny_models import write_tiny_model
from tf_dhm.core.errors import InputError
from tf_dhm.export.description import read_description
from tf_dhm.export.saved_model import read_points, read_weights
from tf_dhm.face.geometry import landmark_box, mirror_landmarks, rotation_matrix
from tf_dhm.face.mean_face import mean_shape
from tf_dhm.face.metrics import nme
from tf_dhm.runtime.aligner import Aligner
from tf_dhm.runtime.images import decode_raster
from tf_dhm.runtime.saved_model import SavedModelPredictor
from tf_dhm.runtime.tflite import TFLitePredictor

ROOT = Path(__file__).resolve().parents[3]
SYNTHETIC_MODEL = ROOT / "savedmodels" / "fast_dhm_synthetic"


def png(image: NDArray[np.uint8]) -> bytes:
    return cv2.imencode(".png", image)[1].tobytes()


def made_faces(count: int, points: int = 68) -> list[AnnotatedFace]:
    """Noise with the mean face in it, and points that follow the mean grey of the upper and lower half."""
    rng = np.random.default_rng(0)
    faces = []
    for number in range(count):
        image = rng.integers(0, 256, (80, 80, 3)).astype(np.uint8)
        labels = mean_shape()[:points] * 20.0 * rng.uniform(0.95, 1.05) + [40.0, 40.0, 0.0]
        faces.append(AnnotatedFace(f"face{number}", partial(png, image), labels, f"group{number}"))
    return faces


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_model(tmp_path_factory.mktemp("models") / "tiny", quality=True)


def test_units_of_a_crop_by_hand() -> None:
    # A crop of 8 pixels that shows 16 of the photo, from its pixel 4 on.
    matrix = np.array([[2.0, 0.0, 4.5], [0.0, 2.0, 4.5]])
    points = np.array([[11.5, 11.5, 4.0], [3.5, 19.5, -8.0]])
    unit = to_unit(points, matrix, 8)
    np.testing.assert_allclose(unit, [[0.0, 0.0, 0.5], [-1.0, 1.0, -1.0]])
    np.testing.assert_allclose(from_unit(unit, matrix, 8), points)


def test_features_give_what_the_exported_model_predicts(tiny: Path) -> None:
    model = OutputFeatures(tiny)
    faces = made_faces(3)
    images = [decode_raster(face.read_image(), face.name) for face in faces]
    boxes = np.stack([landmark_box(face.points) for face in faces])
    views = model.views(images, boxes)
    assert views.features.shape[:2] == (3, 2)
    predictor = SavedModelPredictor(tiny)
    from tf_dhm.runtime.predictor import predict_boxes

    for number, image in enumerate(images):
        for view, passes in ((0, 1), (1, 2)):
            expected = predict_boxes(predictor, image, boxes[number : number + 1], passes)[0]
            features, matrix = views.features[number, view][None], views.matrices[number, view][None]
            np.testing.assert_allclose(model.landmarks(features, matrix)[0], expected, atol=0.01)


def test_mirrored_features_are_those_of_the_mirrored_photo(tiny: Path) -> None:
    model = OutputFeatures(tiny)
    (face,) = made_faces(1)
    image = decode_raster(face.read_image(), face.name)
    views = model.views([image], landmark_box(face.points)[None])
    flipped = landmark_box(mirror_landmarks(face.points, 80))
    mirrored = model.views([np.ascontiguousarray(image[:, ::-1])], flipped[None])
    np.testing.assert_allclose(views.mirrored[0, 0], mirrored.features[0, 0], atol=2e-2)


@pytest.fixture(scope="module")
def five(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Adapted, Path]:
    """The tiny model with five further points, fitted and exported."""
    model = OutputFeatures(tiny)
    adapted = adapt(model, look_at(model, made_faces(24, points=5), "labels"), mirror="none")
    folder = tmp_path_factory.mktemp("points") / "five"
    return adapted, export(model, tiny, adapted, "csv", "made faces.", folder, "python adapt.py")


def test_points_of_another_number_are_exported_beside_the_landmarks(
    tiny: Path, five: tuple[Adapted, Path]
) -> None:
    model = OutputFeatures(tiny)
    adapted, version = five
    assert adapted.kind == "points"
    before = read_weights(tiny)
    for old, new in zip(before, read_weights(version), strict=True):
        np.testing.assert_array_equal(old, new)
    layer = read_points(version)
    assert layer is not None
    assert layer.kernel.shape[1:] == (5, 3)
    crops = np.random.default_rng(1).integers(0, 256, (3, model.size, model.size, 3)).astype(np.uint8)
    saved, lite = SavedModelPredictor(version), TFLitePredictor(version)
    for initial in (None, np.repeat((mean_shape() * 8.0 + 20.0)[None], 3, 0)):
        one, other = saved.predict(crops, initial), lite.predict(crops, initial)
        assert one.points is not None
        assert other.points is not None
        assert one.points.shape == (3, 5, 3)
        np.testing.assert_allclose(one.points, other.points, atol=0.3)  # half precision of the weights
        np.testing.assert_allclose(one.landmarks, other.landmarks, atol=0.3)
    description = read_description(version)
    assert "24 faces of csv" in description.adapted
    assert "24 faces of csv" in (version.parent / "README.md").read_text()


def test_an_aligner_gives_the_points_in_the_photo(tiny: Path, five: tuple[Adapted, Path]) -> None:
    model = OutputFeatures(tiny)
    adapted, version = five
    faces = made_faces(24, points=5)
    seen = look_at(model, faces[:1], "labels")
    image = decode_raster(faces[0].read_image(), "face")
    box = landmark_box(faces[0].points)
    (face,) = Aligner(version.parent, passes=1).align(image, boxes=[box])
    assert face.points is not None
    expected = from_unit(adapted.layer(seen.views.features[:1, 0]), seen.views.matrices[:1, 0], model.size)[0]
    np.testing.assert_allclose(face.points, expected, atol=0.5)
    assert np.asarray(face.as_dict()["points"]).shape == (5, 3)


def test_too_few_faces_or_persons(tiny: Path) -> None:
    model = OutputFeatures(tiny)
    with pytest.raises(InputError, match="found 19 usable faces"):
        adapt(model, look_at(model, made_faces(19), "labels"))
    one_person = [replace(face, group="one") for face in made_faces(24)]
    with pytest.raises(InputError, match="of 1 photos or persons"):
        adapt(model, look_at(model, one_person, "labels"))


def test_faces_that_cannot_be_used_are_rejected(tiny: Path) -> None:
    faces = [
        replace(face, read_image=lambda: b"noise") if i == 1 else face for i, face in enumerate(made_faces(4))
    ]
    faces[3].points[2, 0] = 900.0
    seen = look_at(OutputFeatures(tiny), faces, "labels")
    assert [face.name for face in seen.faces] == ["face0", "face2"]
    assert [name for name, _ in seen.rejected] == ["face1", "face3"]
    assert "x2: found 900.0" in seen.rejected[1][1]
    with pytest.raises(InputError, match="found none that can be used"):
        look_at(OutputFeatures(tiny), faces[1:2], "labels")


@pytest.mark.parametrize(
    ("point", "coordinate"), [([161.0, 9.0, 0.0], "x1: found 161.0"), ([9.0, -61.0, 0.0], "y1: found -61.0")]
)
def test_a_point_far_outside_of_the_photo_is_rejected(point: list[float], coordinate: str) -> None:
    image = np.zeros((60, 80, 3), np.uint8)
    with pytest.raises(InputError, match=f"^{coordinate}, far outside of the 80 x 60 image"):
        check_near(np.array([[40.0, 30.0, 0.0], point]), image)


def test_points_near_the_photo_and_unknown_ones_are_accepted() -> None:
    image = np.zeros((60, 80, 3), np.uint8)
    check_near(np.array([[-80.0, 120.0, 999.0], [160.0, -60.0, np.nan], [np.nan, np.nan, np.nan]]), image)


def test_the_note_of_points_without_mirror_images_names_the_option(tiny: Path) -> None:
    model = OutputFeatures(tiny)
    faces = [replace(face, points=face.points[[0, 8, 30]]) for face in made_faces(24)]
    adapted = adapt(model, look_at(model, faces, "labels"))
    assert adapted.pairs is None
    assert any("--mirror-map 1 0 2 4 3" in note for note in adapted.notes)


def test_a_detected_box_lies_around_the_points() -> None:
    class Detection:
        def __init__(self, box: list[float]) -> None:
            self.box = np.array(box)

    class Detector:
        def detect(self, image: NDArray[np.uint8]) -> list[Detection]:
            return [Detection([0, 0, 10, 10]), Detection([20, 20, 60, 60]), Detection([30, 30, 62, 62])]

    (face,) = made_faces(1, points=5)
    image = np.zeros((80, 80, 3), np.uint8)
    points = np.array([[40.0, 40.0, 0.0], [44.0, 44.0, 0.0]])
    detector: object = Detector()
    assert find_box(replace(face, points=points), image, detector)[0] == 20  # type: ignore[arg-type]
    with pytest.raises(InputError, match="around"):
        find_box(replace(face, points=points + 30.0), image, detector)  # type: ignore[arg-type]


def test_missing_ranges_of_yaw() -> None:
    def turned(yaws: Sequence[float]) -> NDArray[np.floating]:
        flip = np.array([1.0, -1.0, 1.0])
        return np.stack(
            [(mean_shape() * flip @ rotation_matrix(0.0, np.radians(yaw), 0.0).T) * flip for yaw in yaws]
        )

    assert missing_yaw(turned([0.0] * 9), mirrored=True) == "30 to 60 degrees, 60 to 90 degrees"
    assert missing_yaw(turned([0.0] * 5 + [45.0] * 5 + [75.0] * 5), mirrored=True) == ""
    one_side = missing_yaw(turned([0.0] * 5 + [45.0] * 5 + [75.0] * 5), mirrored=False)
    assert one_side == "-90 to -60 degrees, -60 to -30 degrees"


@cache
def rendered() -> list[RenderedFace]:
    renderer = FaceRenderer()
    return [renderer.render(77, index) for index in range(140)]


def annotated(labels: Sequence[NDArray[np.floating]]) -> list[AnnotatedFace]:
    return [
        AnnotatedFace(f"face{i}", partial(png, face.image[..., ::-1]), np.asarray(points, float), f"{i}")
        for i, (face, points) in enumerate(zip(rendered(), labels, strict=True))
    ]


def fitted(labels: Sequence[NDArray[np.floating]]) -> tuple[Adapted, float, float]:
    """What 100 faces teach, and the NME on 40 others before and after, in percent."""
    model = OutputFeatures(SYNTHETIC_MODEL)
    faces = annotated(labels)
    adapted = adapt(model, look_at(model, faces[:100], "labels"))
    rest = look_at(model, faces[100:], "labels")
    truth = rest.points[:, 0]
    old = model.layer(rest.views.features[:, 0])
    before = float(nme(old, truth).mean()) if truth.shape[1] == 68 else np.nan
    return adapted, before, float(nme(adapted.layer(rest.views.features[:, 0]), truth).mean())


@pytest.mark.slow
def test_100_faces_move_the_landmarks_toward_another_jaw() -> None:
    moved = []
    for face in rendered():
        points = face.landmarks.astype(float).copy()
        inward = points[30] - points[:17]
        points[:17] += 0.12 * inward  # the jaw lies 12 % nearer to the nose
        moved.append(points)
    adapted, before, after = fitted(moved)
    assert adapted.kind == "landmarks"
    assert after < before - 0.1
    assert adapted.after.mean() < adapted.before.mean() - 0.2
    assert "60 to 90" not in summary(adapted)


@pytest.mark.slow
def test_labels_of_other_faces_are_reported() -> None:
    own = [face.landmarks for face in rendered()]
    with pytest.raises(InputError, match="do not belong"):
        fitted([own[(i + 7) % 140] + 20.0 * ((i % 5) - 2) for i in range(140)])
    wrong = [own[i] if i % 20 else own[i + 1] * [1.0, 0.5, 1.0] for i in range(140)]
    adapted, _, _ = fitted(wrong)
    assert "face0" in adapted.ignored
    assert any("far off" in note for note in adapted.notes)


def test_fine_tuning_goes_on_from_the_adapted_model(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    faces = write_faces(tmp_path / "faces", 40, 6)
    monkeypatch.chdir(tmp_path)
    options = ["--model", str(tiny), "--data-dir", str(faces), "--kind", "landmarks", "--finetune", "1"]
    monkeypatch.setattr("sys.argv", ["adapt.py", *options, "--finetune-rate", "1e-9", "--name", "mine"])
    script.main()
    printed = capsys.readouterr().out
    (tuned,) = Path("runs/mine_finetuned/export").glob("*/1")
    assert str(tuned) in printed
    description = read_description(tuned)
    assert description.initialized_from is not None
    assert "46 faces of csv" in description.initialized_from["adapted"]
    assert description.options["train"]["epochs"] == 1
    # The learning rate is too low to move the weights of the layer that was fitted.
    layer = OutputFeatures("runs/mine").layer
    np.testing.assert_allclose(OutputFeatures(tuned).layer.kernel, layer.kernel, atol=1e-4)
    assert np.abs(layer.kernel - OutputFeatures(tiny).layer.kernel).max() > 1e-3
    with pytest.raises(InputError, match="earlier result"):
        script.main()


@pytest.mark.parametrize(
    ("config", "field"),
    [
        (script.Config(name="a", finetune=1, manual=True), "finetune"),
        (script.Config(name="a/b"), "name"),
        (script.Config(name="a", mirror_map=(0,), mirror=False), "mirror-map"),
    ],
)
def test_options_that_cannot_be_followed(config: script.Config, field: str) -> None:
    with pytest.raises(InputError, match=f"^{field}"):
        script.check(config)


def test_a_wrong_mirror_map_is_rejected_before_the_faces_are_looked_at(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipelines.adaptation.views.OutputFeatures", None)
    options = ["--model", str(tiny), "--data-dir", str(write_faces(tmp_path, 24, 9)), "--name", "mine"]
    monkeypatch.setattr("sys.argv", ["adapt.py", *options, "--mirror-map", "1", "0"])
    with pytest.raises(InputError, match=r"mirror-map: found 2 numbers, .* 68 points"):
        script.main()


@pytest.mark.parametrize(
    ("options", "field"), [(["--kind", "landmarks"], "kind"), (["--finetune", "1"], "finetune")]
)
def test_options_for_68_points_are_rejected_before_five_points_are_looked_at(
    options: list[str], field: str, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipelines.adaptation.views.OutputFeatures", None)
    table = write_five_points(tmp_path, made_faces(24, points=5))
    arguments = ["--model", str(tiny), "--data-dir", str(table), "--runs-dir", str(tmp_path / "runs")]
    monkeypatch.setattr("sys.argv", ["adapt.py", *arguments, "--name", "mine", *options])
    with pytest.raises(InputError, match=f"^{field}: found"):
        script.main()


def write_five_points(folder: Path, faces: Sequence[AnnotatedFace]) -> Path:
    """A table of faces in 2-D, and their images."""
    rows = []
    for face in faces:
        (folder / f"{face.name}.png").write_bytes(face.read_image())
        points = {f"{axis}{p}": xyz[a] for p, xyz in enumerate(face.points) for a, axis in enumerate("xy")}
        rows.append({"image": f"{face.name}.png", **points})
    pd.DataFrame(rows).to_csv(folder / "faces.csv", index=False)
    return folder / "faces.csv"


def test_all_rejected_faces_are_listed_and_the_command_may_be_repeated(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    faces = made_faces(28, points=5)
    for face in faces[:2]:
        face.points[2, 0] = 900.0
    table = write_five_points(tmp_path, faces)
    for number in range(20, 28):
        Path(f"face{number}.png").rename(f"moved{number}.png")
    options = ["--model", str(tiny), "--data-dir", str(table), "--boxes", "labels", "--no-mirror"]
    monkeypatch.setattr("sys.argv", ["adapt.py", *options, "--name", "mine"])
    with pytest.raises(InputError, match="found 18 usable faces"):
        script.main()
    printed = capsys.readouterr().err
    assert "8 faces rejected" in printed
    assert "2 faces rejected" in printed
    file = Path("runs/mine/rejected.csv")
    assert printed.count(str(file)) == 2
    names = [f"face{number}.png" for number in range(20, 28)]
    assert pd.read_csv(file)["name"].tolist() == [*names, "face0.png#2", "face1.png#3"]

    for number in range(20, 28):
        Path(f"moved{number}.png").rename(f"face{number}.png")
    script.main()
    assert pd.read_csv(file)["name"].tolist() == ["face0.png#2", "face1.png#3"]
    # What is suggested shows the points.
    assert "--model runs/mine --json faces.jsonl, which writes" in capsys.readouterr().out
    (found,) = Aligner("runs/mine").align(np.zeros((80, 80, 3), np.uint8), boxes=[np.array([20, 20, 60, 60])])
    assert np.shape(found.as_dict()["points"]) == (5, 3)
    with pytest.raises(InputError, match="earlier result"):
        script.main()


def test_the_command_for_landmarks_draws_them() -> None:
    assert script.example("landmarks", Path("runs/a b")) == "python align.py photo.jpg --model 'runs/a b'"
