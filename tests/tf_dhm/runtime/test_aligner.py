"""Tests of tf_dhm.runtime.aligner."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.fakes import draw_cartoon_face, mean_shape_in_box, write_fake_model
from tests.tiny_models import write_tiny_model
from tf_dhm.core.errors import InputError
from tf_dhm.face import geometry
from tf_dhm.face.mean_face import mean_shape
from tf_dhm.runtime import images, predictor
from tf_dhm.runtime.aligner import Aligner
from tf_dhm.runtime.detector import FaceDetector
from tf_dhm.runtime.faces import Alignment, Face
from tf_dhm.runtime.images import Photo, Source, read_photo
from tf_dhm.runtime.saved_model import SavedModelPredictor
from tf_dhm.runtime.settings import TrackingConfig
from tf_dhm.runtime.tflite import TFLitePredictor
from tf_dhm.runtime.tracking import Tracker, align_frame


@pytest.fixture(scope="module")
def fake_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_fake_model(tmp_path_factory.mktemp("models") / "fake")


@pytest.fixture(scope="module")
def aligner(fake_model: Path) -> Aligner:
    return Aligner(fake_model, backend="saved_model")


def png(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


class TestAlign:
    def test_given_boxes(self, aligner: Aligner) -> None:
        boxes = np.array([[10.0, 20.0, 60.0, 90.0], [-30.0, 5.0, 20.0, 40.0]])
        faces = aligner.align(np.zeros((100, 120, 3), np.uint8), boxes)
        assert len(faces) == 2
        for face, box in zip(faces, boxes, strict=True):
            assert face.landmarks.dtype == np.float32
            np.testing.assert_allclose(face.landmarks, mean_shape_in_box(box), atol=1e-4)
            np.testing.assert_allclose(face.box, box)
            assert face.score is None
            np.testing.assert_allclose(face.pose, 0, atol=1e-3)

    def test_detected(self, aligner: Aligner) -> None:
        (face,) = aligner.align(draw_cartoon_face())
        assert face.score is not None
        assert face.score > 0.5
        np.testing.assert_allclose(face.landmarks, mean_shape_in_box(face.box), atol=1e-4)

    def test_no_face(self, aligner: Aligner) -> None:
        assert len(aligner.align(np.zeros((50, 50, 3), np.uint8))) == 0
        assert len(aligner.align(np.zeros((50, 50, 3), np.uint8), boxes=[])) == 0

    def test_sources_agree(self, aligner: Aligner, tmp_path: Path) -> None:
        pixels = draw_cartoon_face()
        (tmp_path / "photo.png").write_bytes(png(pixels))
        (expected,) = aligner.align(pixels)
        path = tmp_path / "photo.png"
        sources: list[Source | Photo] = [png(pixels), path, str(path), read_photo(pixels)]
        for source in sources:
            (face,) = aligner.align(source)
            np.testing.assert_array_equal(face.landmarks, expected.landmarks)

    def test_passes(self, fake_model: Path) -> None:
        box = [10.0, 20.0, 60.0, 90.0]
        (face,) = Aligner(fake_model, passes=2, backend="saved_model").align(
            np.zeros((100, 120, 3), np.uint8), [box]
        )
        np.testing.assert_allclose(face.landmarks, mean_shape_in_box(np.array(box)), atol=1e-3)

    def test_orientation(self, aligner: Aligner) -> None:
        """Landmarks are in the photo as it is shown, not as it is stored."""
        exif = Image.Exif()
        exif[0x0112] = 6
        file = io.BytesIO()
        stored = np.rot90(draw_cartoon_face(256, (100, 140), 40))
        Image.fromarray(np.ascontiguousarray(stored)).save(file, "PNG", exif=exif)
        (face,) = aligner.align(file.getvalue())
        np.testing.assert_allclose((face.box[:2] + face.box[2:]) / 2, [100, 154], atol=6)

    def test_reduced_photo(self, aligner: Aligner, monkeypatch: pytest.MonkeyPatch) -> None:
        """Of a photo too large to be decoded whole, boxes and landmarks are in its own pixels."""
        file = io.BytesIO()
        Image.fromarray(draw_cartoon_face(1000, (600, 400), 200)).save(file, "JPEG")
        (whole,) = aligner.align(file.getvalue())
        monkeypatch.setattr(images, "MAX_PIXELS", 250 * 250)
        photo = read_photo(file.getvalue())
        assert photo.reduction == 4
        (reduced,) = aligner.align(photo)
        np.testing.assert_allclose(reduced.box, whole.box, atol=5)
        np.testing.assert_allclose(reduced.landmarks, mean_shape_in_box(reduced.box), atol=1e-2)
        (given,) = aligner.align(photo, [whole.box])
        np.testing.assert_allclose(given.box, whole.box)
        np.testing.assert_allclose(given.landmarks, whole.landmarks, atol=1e-2)

    @pytest.mark.parametrize(
        ("boxes", "message"),
        [
            ([[0, 0, np.nan, 10]], "expected finite"),
            ([[0, 0, np.inf, 10]], "expected finite"),
            ([[10, 10, 10, 20]], "expected finite x0 < x1"),
            ([[20, 10, 10, 20]], "expected finite x0 < x1"),
            ([[0, 0, 10]], r"expected \(N, 4\)"),
            ([0, 0, 10, 10], r"expected \(N, 4\)"),
            ([[120, 0, 150, 10]], "inside the photo of 120 x 100"),
            ([[-20, 0, 0, 10]], "inside the photo"),
            ([[0, 0, 10, 10], [0, 100, 10, 130]], r"found \[0.0, 100.0, 10.0, 130.0\]"),
            ([[0, -9, 10, -1]], "inside the photo"),
        ],
    )
    def test_bad_boxes(self, aligner: Aligner, boxes: list[list[float]], message: str) -> None:
        with pytest.raises(InputError, match=message):
            aligner.align(np.zeros((100, 120, 3), np.uint8), boxes)

    def test_unreadable(self, aligner: Aligner) -> None:
        with pytest.raises(InputError, match="found an empty file"):
            aligner.align(b"")


class TestModel:
    def test_no_model(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="found an empty folder"):
            Aligner(tmp_path)

    def test_passes(self, fake_model: Path, tmp_path: Path) -> None:
        for passes in (0, 4):
            with pytest.raises(InputError, match=f"passes: found {passes}, expected 1 to 3"):
                Aligner(fake_model, passes=passes, backend="saved_model")
        with pytest.raises(InputError, match="passes must be 1"):
            Aligner(write_fake_model(tmp_path / "plain", refine=False), passes=2, backend="saved_model")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that gives visibility and confidence, with its TFLite files."""
    folder = tmp_path_factory.mktemp("models") / "tiny"
    return write_tiny_model(folder, quality=True, tflite=("float32", "float16"))


def seen(face: Face) -> np.ndarray:
    assert face.visibility is not None
    return face.visibility


class TestBackends:
    @pytest.mark.parametrize("passes", [1, 2])
    def test_the_same_to_a_twentieth_of_a_pixel(self, tiny: Path, passes: int) -> None:
        file = tiny / "1" / "tiny_float32.tflite"
        boxes = [[70.0, 80, 190, 200], [30.0, 10, 100, 90]]
        lite = Aligner(file, passes).align(draw_cartoon_face(), boxes)
        full = Aligner(tiny, passes, "saved_model").align(draw_cartoon_face(), boxes)
        for one, other in zip(lite, full, strict=True):
            np.testing.assert_allclose(one.landmarks, other.landmarks, rtol=0, atol=0.05)
            np.testing.assert_allclose(seen(one), seen(other), rtol=0, atol=1e-3)
            assert one.confidence == pytest.approx(other.confidence, abs=1e-3)

    def test_the_default_is_tflite(self, tiny: Path) -> None:
        model = Aligner(tiny).predictor
        assert isinstance(model, TFLitePredictor)
        assert model.path.name == "tiny_float16.tflite"
        assert isinstance(Aligner(tiny, backend="saved_model").predictor, SavedModelPredictor)

    def test_no_such_backend(self, tiny: Path) -> None:
        with pytest.raises(InputError, match="backend: found 'onnx', expected one of tflite, saved_model"):
            Aligner(tiny, backend="onnx")  # type: ignore[arg-type]

    def test_a_model_without_a_tflite_file(self, fake_model: Path) -> None:
        with pytest.raises(
            InputError, match=r"found no TFLite file, expected fake_float16.tflite; .*export.py --model"
        ):
            Aligner(fake_model)


def test_detected_faces_have_two_passes_and_given_ones_one(
    tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(predictor, "UNSETTLED", np.inf)
    picture = draw_cartoon_face()
    once, twice = (Aligner(tiny, passes).align(picture)[0] for passes in (1, 2))
    assert np.abs(once.landmarks - twice.landmarks).max() > 0.01
    given, detected = Aligner(tiny).align_all([picture, picture], [[once.box], None])
    np.testing.assert_allclose(given[0].landmarks, once.landmarks, atol=1e-3)
    np.testing.assert_allclose(detected[0].landmarks, twice.landmarks, atol=1e-3)


def test_a_third_pass_if_two_differ(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(predictor, "UNSETTLED", 0.0)
    picture = draw_cartoon_face()
    once, twice, thrice = (Aligner(tiny, passes).align(picture)[0] for passes in (1, 2, 3))
    assert np.abs(thrice.landmarks - twice.landmarks).max() > 0.01
    given, detected = Aligner(tiny).align_all([picture, picture], [[once.box], None])
    np.testing.assert_allclose(given[0].landmarks, once.landmarks, atol=1e-3)
    np.testing.assert_allclose(detected[0].landmarks, thrice.landmarks, atol=1e-3)


def test_a_model_that_cannot_refine_has_one_pass(tmp_path: Path) -> None:
    plain = Aligner(write_fake_model(tmp_path / "plain", refine=False), backend="saved_model")
    (face,) = plain.align(draw_cartoon_face())
    np.testing.assert_allclose(face.landmarks, mean_shape_in_box(face.box), atol=1e-4)


class TestBatch:
    @pytest.mark.parametrize("passes", [1, 2])
    def test_as_one_by_one(self, tiny: Path, passes: int) -> None:
        aligner = Aligner(tiny, passes)
        pictures = [
            draw_cartoon_face(),
            np.zeros((40, 50, 3), np.uint8),
            draw_cartoon_face(300, (100, 140), 50),
        ]
        together = aligner.align_all(pictures)
        assert [len(faces) for faces in together] == [1, 0, 1]
        for faces, picture in zip(together, pictures, strict=True):
            for one, other in zip(faces, aligner.align(picture), strict=True):
                np.testing.assert_allclose(one.landmarks, other.landmarks, atol=1e-3)
                np.testing.assert_allclose(seen(one), seen(other), atol=1e-5)
                assert one.score == other.score

    def test_given_boxes(self, tiny: Path) -> None:
        box = [10.0, 10, 60, 60]
        found = Aligner(tiny).align_all([np.zeros((90, 90, 3), np.uint8)] * 3, [[box], [], [box] * 40])
        assert [len(faces) for faces in found] == [1, 0, 40]
        assert found[2][39].confidence == pytest.approx(found[0][0].confidence, abs=1e-5)
        assert Aligner(tiny).align_all([]) == []

    def test_other_numbers(self, tiny: Path) -> None:
        with pytest.raises(InputError, match="boxes: found those of 2 photos, expected of 1"):
            Aligner(tiny).align_all([draw_cartoon_face()], [None, None])

    @pytest.mark.parametrize("shape", [(512, 512, 3), (512, 512)])
    def test_one_photo(self, tiny: Path, shape: tuple[int, ...]) -> None:
        """Its rows would be taken for grey photos."""
        with pytest.raises(InputError, match=r"found one array of shape .* use align for one photo"):
            Aligner(tiny).align_all(np.zeros(shape, np.uint8))  # type: ignore[arg-type]

    def test_photos_in_one_array(self, tiny: Path) -> None:
        photos: Any = np.zeros((2, 60, 60, 3), np.uint8)
        found = Aligner(tiny).align_all(photos, [[[10.0, 10, 50, 50]]] * 2)
        assert [len(faces) for faces in found] == [1, 1]


def test_something_else_in_place_of_a_model() -> None:
    with pytest.raises(InputError, match="model: found NoneType, expected a name, a path or a loaded model"):
        Aligner(None)  # type: ignore[arg-type]


def test_an_alignment_prints_briefly(tiny: Path) -> None:
    found = Aligner(tiny).align(np.zeros((60, 80, 3), np.uint8), [[10.0, 10, 50, 50]])
    text = repr(found)
    assert text.startswith("Alignment([Face(box=[10.0, 10.0, 50.0, 50.0], score=None, confidence=0.")
    assert text.endswith("80 x 60)")
    assert "\n" not in text


def test_visibility_and_confidence_as_json(tiny: Path) -> None:
    (face,) = Aligner(tiny).align(draw_cartoon_face(), [[70.0, 80, 190, 200]])
    assert face.visibility is not None
    assert face.confidence is not None
    assert 0 <= face.visibility.min() <= face.visibility.max() <= 1
    assert 0 <= face.confidence <= 1
    record = json.loads(json.dumps(face.as_dict()))
    assert record["confidence"] == pytest.approx(face.confidence, abs=1e-4)
    np.testing.assert_allclose(record["visibility"], face.visibility, atol=6e-4)
    assert all(value == round(value, 3) for value in record["visibility"])  # no float32 digits after them


def test_as_dict_is_json(aligner: Aligner) -> None:
    (face,) = aligner.align(np.zeros((100, 120, 3), np.uint8), [[10.00049, 20, 60, 90]])
    record = json.loads(json.dumps(face.as_dict()))
    assert record["box"] == [10.0, 20.0, 60.0, 90.0]
    assert record["score"] is None
    assert record["pose"] == {"pitch": 0.0, "yaw": 0.0, "roll": 0.0}
    np.testing.assert_allclose(record["landmarks"], face.landmarks, atol=6e-4)


class TestAlignment:
    def test_is_a_sequence_of_its_faces(self, aligner: Aligner) -> None:
        pixels = draw_cartoon_face()
        boxes = [[60, 60, 190, 190], [70, 60, 190, 190]]
        alignment = aligner.align(pixels, boxes)
        assert len(alignment) == 2
        assert list(alignment) == [alignment[0], alignment[1]] == list(alignment.faces)
        assert alignment[-1] in alignment
        assert alignment[:1] == (alignment[0],)
        np.testing.assert_array_equal(alignment.photo.pixels, pixels)
        assert alignment.faces_in_pixels is alignment.faces

    def test_values_compare_by_identity(self, aligner: Aligner) -> None:
        first, second = (aligner.align(draw_cartoon_face(), [[60, 60, 190, 190]]) for _ in range(2))
        for one, other in ((first, second), (first[0], second[0]), (first.photo, second.photo)):
            assert one == one
            assert one != other
            assert len({one, other}) == 2

    def test_faces_of_a_reduced_photo_lie_on_its_pixels(self) -> None:
        pixels = draw_cartoon_face()
        face = Face(
            np.full((68, 3), 41.5, np.float32),
            np.array([1.5, 3.5, 41.5, 81.5]),
            None,
            np.zeros(3, np.float32),
        )
        (inner,) = Alignment((face,), Photo(pixels, 1024, 1024, 4)).faces_in_pixels
        # Four photo pixels to a decoded one: pixel centre 1.5 of the photo is 0 of the pixels.
        np.testing.assert_allclose(inner.box, [0.0, 0.5, 10.0, 20.0])
        np.testing.assert_allclose(inner.landmarks[0], [10.0, 10.0, 41.5 / 4])


PIXELS = np.zeros((60, 80, 3), np.uint8)


@pytest.mark.parametrize(
    "boxes",
    [
        "text",
        {"x0": 1},
        [[1, 2, 3], [1, 2, 3, 4]],
        [["1", "2", "3", "4"]],
        [None],
        [[None, 1, 2, 3]],
        [1, 2, 3, 4],
        [[1, 2, 3, 4, 0.9]],
        [[[1, 2], [3, 4]]],
        [[1 + 0j, 2, 3, 4]],
        [[True, False, True, True]],
        7,
        (row for row in [[1, 2, 3, 4]]),
        np.array([[1, 2, 3, "x"]], object),
    ],
)
def test_boxes_of_another_type(aligner: Aligner, boxes: Any) -> None:
    with pytest.raises(InputError, match="box"):
        aligner.align(PIXELS, boxes)


@pytest.mark.parametrize(
    "boxes", [[[1, 2, 30, 40]], ((1.0, 2.0, 30.0, 40.0),), np.array([[1, 2, 30, 40]], object)]
)
def test_boxes_of_other_containers(aligner: Aligner, boxes: Any) -> None:
    assert aligner.align(PIXELS, boxes)[0].box.tolist() == [1, 2, 30, 40]


@pytest.mark.parametrize("images", ["photo.jpg", Path("photo.jpg"), b"content", 7, None])
def test_photos_that_are_no_sequence(aligner: Aligner, images: Any) -> None:
    with pytest.raises(InputError, match="images: found"):
        aligner.align_all(images)


@pytest.mark.parametrize("boxes", ["text", {"a": 1}, 7])
def test_boxes_of_photos_that_are_no_sequence(aligner: Aligner, boxes: Any) -> None:
    with pytest.raises(InputError, match="boxes: found"):
        aligner.align_all([PIXELS], boxes)


@pytest.mark.parametrize(
    "image",
    [PIXELS / 255, PIXELS.astype(np.float32), PIXELS.astype(np.uint16), PIXELS > 3, None, 7, "none.jpg"],
)
def test_one_rule_for_photos_and_frames(aligner: Aligner, image: Any) -> None:
    """What the aligner rejects, the tracker and the detector reject with the same words."""
    messages = []
    for call in (aligner.align, lambda value: Tracker.of(aligner).update(value, 0.0), FaceDetector().detect):
        with pytest.raises(InputError) as error:
            call(image)
        messages.append(str(error.value))
    assert len(set(messages)) == 1


def test_grey_frames_and_pillow_frames(aligner: Aligner) -> None:
    grey = draw_cartoon_face()[..., 0]
    for frame in (grey, np.dstack([grey] * 3 + [np.full_like(grey, 255)]), Image.fromarray(grey)):
        assert len(Tracker.of(aligner).update(frame, 0.0)) == 1
        assert len(FaceDetector().detect(frame)) == 1


@pytest.mark.parametrize("smooth", [True, False])
def test_a_tracker_gives_the_pose_of_its_landmarks(aligner: Aligner, smooth: bool) -> None:
    tracker = Tracker.of(aligner, TrackingConfig(smooth=smooth))
    for number in range(3):
        (face,) = tracker.update(draw_cartoon_face(), number / 25)
        pose = np.degrees(geometry.pose_from_landmarks(face.landmarks, mean_shape()))
        np.testing.assert_allclose(face.pose, pose, atol=1e-3)
    assert np.isfinite(aligner.align(draw_cartoon_face(), [face.box])[0].pose).all()


def test_faces_of_a_frame_are_those_of_a_photo(aligner: Aligner) -> None:
    boxes = np.array([[10.0, 20.0, 60.0, 50.0], [-5.0, 5.0, 20.0, 40.0]])
    faces = align_frame(aligner.predictor, 1, True, PIXELS, boxes)
    for face, expected in zip(faces, aligner.align(PIXELS, boxes), strict=True):
        assert face.as_dict() == expected.as_dict()
    (face,) = align_frame(aligner.predictor, 1, False, PIXELS, boxes[:1])
    assert np.isnan(face.pose).all()


def test_a_box_beyond_a_frame_ends_no_video(aligner: Aligner) -> None:
    """A tracker with min_inside=0 searches it, and finds black."""
    beyond = np.array([[-300.0, -300.0, -200.0, -200.0]])
    with pytest.raises(InputError, match="expected a part of it inside the photo"):
        aligner.align(PIXELS, beyond)
    (face,) = align_frame(aligner.predictor, 1, True, PIXELS, beyond)
    assert np.isfinite(face.landmarks).all()
