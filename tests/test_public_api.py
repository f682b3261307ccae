"""What `import tf_dhm` offers: each name with its signature, an example that runs, and a quick start."""

from __future__ import annotations

import doctest
import inspect
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tf_dhm
from tf_dhm.commands.sinks import upright_crops
from tf_dhm.core.errors import InputError
from tf_dhm.face.mean_face import mean_shape
from tf_dhm.runtime.aligner import Aligner, load_model
from tf_dhm.runtime.drawing import draw_faces
from tf_dhm.runtime.faces import Face
from tf_dhm.runtime.tracking import Tracker
from tf_dhm.runtime.video import VideoReader

ROOT = Path(__file__).resolve().parents[1]

SURFACE = {
    "Aligner": (
        "(model: 'str | Path | LandmarkModel' = 'fast_dhm_m', passes: 'int | None' = None, "
        "backend: 'Backend' = 'tflite', threads: 'int' = 1, mesh: 'bool' = False, "
        "field_of_view: 'float | None' = None, min_confidence: 'float' = 0.5, "
        "tiles: 'bool | None' = None, mirror: 'bool' = False, max_faces: 'int | None' = None, "
        "detector: 'Choice' = 'auto') -> 'None'"
    ),
    "Aligner.align": "(self, image: 'Source | Photo', boxes: 'ArrayLike | None' = None) -> 'Alignment'",
    "Aligner.align_all": (
        "(self, images: 'Sequence[Source | Photo]', "
        "boxes: 'Sequence[ArrayLike | None] | None' = None) -> 'list[Alignment]'"
    ),
    "Alignment": "(faces: 'tuple[Face, ...]', photo: 'Photo', min_confidence: 'float' = 0.5) -> None",
    "Alignment.convincing": "property",
    "Alignment.faces_in_pixels": "property",
    "Face": (
        "(landmarks: 'NDArray[np.float32]', box: 'Array', score: 'float | None', "
        "pose: 'NDArray[np.float32]', id: 'int | None' = None, "
        "visibility: 'NDArray[np.float32] | None' = None, confidence: 'float | None' = None, "
        "mesh: 'FaceFit | None' = None, points: 'NDArray[np.float32] | None' = None) -> None"
    ),
    "Face.as_dict": "(self) -> 'dict[str, Any]'",
    "Face.fit": "(self, camera: 'Camera | None' = None, image_height: 'float' = 0.0) -> 'FaceFit'",
    "Face.is_convincing": "(self, min_confidence: 'float' = 0.5) -> 'bool'",
    "FaceDetector": "(threads: 'int' = 1, runtime: 'str | None' = None, reach: 'Range' = 'full') -> 'None'",
    "FaceDetector.answers": "(self, image: 'Image', margin: 'float' = 1.0) -> 'list[tuple[Array, float]]'",
    "FaceDetector.detect": "(self, image: 'Source | Photo') -> 'list[Detection]'",
    "FaceDetector.detect_in_tiles": "(self, image: 'Source | Photo') -> 'list[Detection]'",
    "FaceDetector.look": "(self, image: 'Image', margin: 'float' = 1.0) -> 'list[Detection]'",
    "Prediction": (
        "(landmarks: 'NDArray[np.float32]', visibility: 'NDArray[np.float32] | None' = None, "
        "confidence: 'NDArray[np.float32] | None' = None, "
        "points: 'NDArray[np.float32] | None' = None) -> None"
    ),
    "Prediction.of": "(cls, outputs: 'dict[str, Any]', model: 'Path') -> 'Prediction'",
    "Tracker": (
        "(detect: 'Detect', align: 'Align', config: 'TrackingConfig | None' = None, "
        "mesh: 'bool' = False, field_of_view: 'float | None' = None, "
        "max_faces: 'int | None' = None, glance: 'Detect | None' = None) -> 'None'"
    ),
    "Tracker.of": "(cls, aligner: 'Aligner', config: 'TrackingConfig | None' = None) -> 'Tracker'",
    "Tracker.update": "(self, image: 'Source | Photo', time: 'float | None' = None) -> 'list[Face]'",
    "list_models": "() -> 'list[str]'",
    "load_model": (
        "(model: 'str | Path' = 'fast_dhm_m', backend: 'Backend' = 'tflite', "
        "threads: 'int' = 1) -> 'LandmarkModel'"
    ),
    "read_photo": "(source: 'Source | Photo') -> 'Photo'",
}
"""Public name -> signature. A change here is a change that users meet: say so in its commit."""


def public_surface() -> dict[str, str]:
    surface = {}
    for name in tf_dhm.__all__:
        value = getattr(tf_dhm, name)
        if not (inspect.isclass(value) and issubclass(value, Exception)):
            surface[name] = str(inspect.signature(value))
        if inspect.isclass(value):
            surface |= {f"{name}.{member}": text for member, text in public_members(value).items()}
    return surface


def public_members(kind: type) -> dict[str, str]:
    """Methods and properties that a class defines itself."""
    members = {}
    for name, value in vars(kind).items():
        function = getattr(value, "__func__", value)
        if name.startswith("_"):
            continue
        if inspect.isfunction(function):
            members[name] = str(inspect.signature(function))
        elif hasattr(value, "__get__") and not isinstance(value, type):
            members[name] = "property"
    return members


def test_surface() -> None:
    assert public_surface() == SURFACE


def test_names() -> None:
    assert sorted(tf_dhm.__all__) == sorted(tf_dhm.HOMES)
    assert set(tf_dhm.__all__) <= set(dir(tf_dhm))
    with pytest.raises(AttributeError, match="has no attribute 'none'"):
        tf_dhm.none  # noqa: B018


@pytest.mark.parametrize("name", tf_dhm.__all__)
def test_examples(name: str) -> None:
    """Each public name is documented, with an example that runs."""
    value = getattr(tf_dhm, name)
    tests = doctest.DocTestFinder(recurse=False).find(
        value, name, globs=vars(sys.modules[value.__module__]).copy()
    )
    examples = [example for test in tests for example in test.examples]
    assert examples
    assert not any(doctest.SKIP in example.options for example in examples)
    runner = doctest.DocTestRunner()
    assert [runner.run(test).failed for test in tests] == [0] * len(tests)


def test_example_of_the_package() -> None:
    assert doctest.testmod(tf_dhm).failed == 0
    assert doctest.testmod(tf_dhm).attempted > 0


def test_types_are_announced() -> None:
    assert (ROOT / "tf_dhm" / "py.typed").is_file()


def test_import_is_quick_and_loads_nothing() -> None:
    code = (
        "import sys, time; began = time.perf_counter(); import tf_dhm; took = time.perf_counter() - began\n"
        "print(took, [name for name in ('numpy', 'cv2', 'av', 'PIL', 'tensorflow') if name in sys.modules])"
    )
    runs = [
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
        for _ in range(3)
    ]
    outputs = [run.stdout.split(maxsplit=1) for run in runs]
    assert {loaded.strip() for _, loaded in outputs} == {"[]"}
    assert min(float(took) for took, _ in outputs) < 0.3


PHOTO_ONLY = """
import sys, numpy as np, tf_dhm
tf_dhm.Aligner().align(np.zeros((9, 9, 3), np.uint8))
print([name for name in ("av", "scipy.optimize", "tensorflow") if name in sys.modules])
"""


def test_a_photo_does_not_load_what_videos_and_meshes_need() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PHOTO_ONLY], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert done.stdout == "[]\n"
    assert done.stderr == ""


def test_a_loaded_model_serves_several_aligners() -> None:
    model = load_model()
    boxes: Any = [[2, 2, 30, 30]]
    first, second = (
        Aligner(model, passes).align(np.zeros((40, 40, 3), np.uint8), boxes) for passes in (1, 2)
    )
    assert len(first) == len(second) == 1


PICTURE = np.zeros((40, 40, 3), np.uint8)
POINTS = (5 * mean_shape() + [20, 20, 0]).astype(np.float32)
FACE = Face(POINTS, np.array([15.0, 15, 25, 25]), score=None, pose=np.zeros(3, np.float32))


@pytest.mark.parametrize(
    ("option", "expected"),
    [
        ({"passes": "2"}, "passes: found '2', expected a whole number or None"),
        ({"passes": 2.0}, "passes: found 2.0, expected a whole number or None"),
        ({"threads": True}, "threads: found True, expected a whole number"),
        ({"mesh": "no"}, "mesh: found 'no', expected True or False"),
        ({"mesh": True, "field_of_view": "wide"}, "field_of_view: found 'wide', expected degrees or None"),
        ({"min_confidence": True}, "min_confidence: found True, expected a number"),
        ({"min_confidence": None}, "min_confidence: found NoneType, expected a number"),
        ({"tiles": "off"}, "tiles: found 'off', expected True, False or None"),
        ({"tiles": 0}, "tiles: found 0, expected True, False or None"),
        ({"mirror": []}, "mirror: found list, expected True or False"),
        ({"max_faces": 1.5}, "max_faces: found 1.5, expected a whole number or None"),
    ],
)
def test_an_aligner_rejects_options_of_another_type(option: dict[str, Any], expected: str) -> None:
    with pytest.raises(InputError) as caught:
        Aligner(**option)
    assert str(caught.value) == expected


def test_an_aligner_takes_numbers_of_numpy() -> None:
    assert Aligner(passes=np.int64(2), min_confidence=np.float32(0.5)).passes_given == 2  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("function", "arguments", "expected"),
    [
        (Tracker.of, ("fast_dhm",), "aligner: found 'fast_dhm', expected an Aligner"),
        (Tracker.of, (Aligner,), "aligner: found the class tf_dhm.runtime.aligner.Aligner, expected an"),
        (Tracker.of, (Aligner(), {"detect_every": 5}), "config: found dict, expected a TrackingConfig"),
        (draw_faces, (PICTURE / 255, [FACE]), "image: found float64 of shape (40, 40, 3), expected uint8"),
        (draw_faces, (PICTURE[..., 0], [FACE]), "image: found uint8 of shape (40, 40), expected uint8"),
        (draw_faces, ("photo.jpg", [FACE]), "image: found str, expected uint8 (H, W, 3) RGB"),
        (draw_faces, (PICTURE, FACE), "faces: found tf_dhm.runtime.faces.Face, expected several"),
        (draw_faces, (PICTURE, [POINTS]), "faces: found numpy.ndarray, expected items of the class Face"),
        (draw_faces, (PICTURE, [FACE], ["nose"]), "parts: found 'nose', expected some of points, contours"),
        (upright_crops, (PICTURE, [FACE], 0), "size: found 0, expected 1 or more"),
        (upright_crops, (PICTURE, [], "256"), "size: found '256', expected a whole number"),
        (upright_crops, (PICTURE, FACE, 64), "faces: found tf_dhm.runtime.faces.Face, expected several"),
        (upright_crops, ("photo.jpg", [FACE], 64), "image: found str, expected uint8 (H, W, 3) RGB"),
        (VideoReader, (0,), "video: found 0, expected a path or URL; CameraReader(0) reads a camera"),
        (FACE.fit, (70,), "camera: found 70, expected a Camera or None"),
    ],
)
def test_a_wrong_object_is_named_with_what_is_expected(
    function: Callable[..., Any], arguments: tuple[Any, ...], expected: str
) -> None:
    with pytest.raises(InputError, match=re.escape(expected)):
        function(*arguments)
