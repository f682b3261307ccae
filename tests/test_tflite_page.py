"""docs/tflite.md says what the committed TFLite files are."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import ExifTags, Image

from tf_dhm.face import geometry
from tf_dhm.face.heatmap import RADIUS, SIGMA, diffusion_heatmap
from tf_dhm.runtime.aligner import Aligner
from tf_dhm.runtime.crops import upright_roll
from tf_dhm.runtime.detector import FULL_MAP, NETWORKS, SHORT_MAP, FaceDetector
from tf_dhm.runtime.store import SAVEDMODELS
from tf_dhm.runtime.tflite import Network

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "tflite.md").read_text()
MODELS = re.findall(r"^\| `(\w+)` \| (\d+) \| ([\d,]+) \|$", PAGE, re.M)


def test_every_model_is_listed() -> None:
    assert sorted(name for name, *_ in MODELS) == sorted(
        path.name for path in SAVEDMODELS.iterdir() if path.is_dir()
    )


@pytest.mark.parametrize(("name", "size", "file_bytes"), MODELS)
def test_files(name: str, size: str, file_bytes: str) -> None:
    (path,) = SAVEDMODELS.glob(f"{name}/*/{name}_float16.tflite")
    assert path.stat().st_size == int(file_bytes.replace(",", ""))
    network = Network(path)
    signatures = network.interpreter.get_signature_list()
    side = int(size)
    outputs = {"landmarks": (68, 3), "visibility": (68,), "confidence": ()}
    inputs = {"serving_default": {"crops"}, "refine": {"crops", "heatmap"}}
    assert set(signatures) == set(inputs)
    for signature, names in inputs.items():
        runner = network.interpreter.get_signature_runner(signature)
        found = runner.get_input_details()
        assert set(found) == names
        for tensor, dtype in (("crops", np.uint8), ("heatmap", np.float32)):
            if tensor in names:
                assert found[tensor]["dtype"] == dtype
                assert found[tensor]["shape"].tolist() == [1, side, side, 3]
                assert found[tensor]["shape_signature"][0] == -1
        found = runner.get_output_details()
        assert {key: tuple(value["shape"][1:].tolist()) for key, value in found.items()} == outputs
        assert {value["dtype"] for value in found.values()} == {np.float32}
    # Without signatures: serving_default, with outputs of different ranks.
    (crops,) = network.inputs
    assert crops["dtype"] == np.uint8
    assert sorted(len(tensor["shape"]) for tensor in network.outputs) == [1, 2, 3]


def test_the_names_of_the_page() -> None:
    for name in ("crops", "heatmap", "landmarks", "visibility", "confidence", "serving_default", "refine"):
        assert f"`{name}`" in PAGE


def test_the_formula_of_the_crop() -> None:
    x0, y0, x1, y1, size = 10.0, 20.0, 50.0, 90.0, 112
    side = math.sqrt(2) * max(x1 - x0, y1 - y0)
    matrix = geometry.crop_to_image(geometry.crop_square([x0, y0, x1, y1]), size)
    for u, v in ((0, 0), (111, 3), (55.5, 70)):
        x = (x0 + x1) / 2 + ((u + 0.5) / size - 0.5) * side
        y = (y0 + y1) / 2 + ((v + 0.5) / size - 0.5) * side
        mapped = geometry.transform_landmarks(matrix, [[u, v, 1.0]])[0]
        np.testing.assert_allclose(mapped, [x, y, side / size])


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The Python programs of the page; the folder is one with what they read."""
    for name, target in {
        "photo.jpg": ROOT / "tests" / "data" / "astronaut.jpg",
        "savedmodels": SAVEDMODELS,
        "tf_dhm": ROOT / "tf_dhm",
    }.items():
        (tmp_path / name).symlink_to(target)
    monkeypatch.chdir(tmp_path)
    return re.findall(r"^```python\n(.*?)^```", PAGE, re.M | re.S)


def test_the_python_programs(programs: list[str]) -> None:
    """They find what `Aligner` finds: one pass, two passes, the pose, and the detected box."""
    first, second, pose, detector = programs
    names: dict[str, Any] = {}
    exec(first, names)
    box = [names[name] for name in ("x0", "y0", "x1", "y1")]
    (face,) = Aligner(passes=1).align("photo.jpg", boxes=[box])
    assert names["landmarks"].shape == (68, 3)
    np.testing.assert_allclose(names["landmarks"], face.landmarks, atol=0.05)
    assert names["found"]["confidence"][0] > 0.9

    exec(second, names)
    (face,) = Aligner(passes=2).align("photo.jpg", boxes=[box])
    np.testing.assert_allclose(names["landmarks"], face.landmarks, atol=0.05)
    np.testing.assert_allclose(names["roll"], upright_roll(face.landmarks), atol=0.02)

    exec(pose, names)
    np.testing.assert_allclose([names[name] for name in ("pitch", "yaw", "roll")], face.pose, atol=0.05)

    exec(detector, names)
    (detection,) = FaceDetector(reach="short").detect("photo.jpg")
    np.testing.assert_allclose(names["scores"].max(), detection.score, atol=1e-3)
    np.testing.assert_allclose([names[name] for name in ("x0", "y0", "x1", "y1")], detection.box, atol=0.3)


def test_the_python_program_on_a_rotated_photo(programs: list[str]) -> None:
    """It sees a photo as its EXIF orientation says."""
    photo = Image.open("photo.jpg")
    names: dict[str, Any] = {}
    exec(programs[0], names)
    upright = names["landmarks"]
    Path("photo.jpg").unlink()
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6  # shown after a quarter turn clockwise
    photo.transpose(Image.Transpose.ROTATE_90).save("photo.jpg", quality=95, exif=exif)
    exec(programs[0], names)
    np.testing.assert_allclose(names["landmarks"], upright, atol=0.5)


def test_the_second_pass_on_a_turned_face(programs: list[str]) -> None:
    """The formulas hold for a roll that is not small."""
    first, second, pose, _ = programs
    photo = Image.open("photo.jpg").rotate(-40, center=(225, 131), resample=Image.Resampling.BICUBIC)
    Path("photo.jpg").unlink()
    photo.save("photo.jpg", quality=95)
    names: dict[str, Any] = {}
    for program in (first, second, pose):
        exec(program, names)
    (face,) = Aligner(passes=2).align("photo.jpg", boxes=[[176, 84, 274, 178]])
    np.testing.assert_allclose(names["landmarks"], face.landmarks, atol=0.05)
    np.testing.assert_allclose([names[name] for name in ("pitch", "yaw", "roll")], face.pose, atol=0.05)
    assert face.pose[2] > 30


def test_the_tables_of_the_detector() -> None:
    for path, size, _ in NETWORKS.values():
        assert f"| `{path.name}` | (1, {size}, {size}, 3) |" in PAGE
        network = Network(path)
        assert {(tensor["name"], tuple(tensor["shape"].tolist())) for tensor in network.outputs} == {
            ("regressors", (1, 896, 16)),
            ("classificators", (1, 896, 1)),
        }
    table = PAGE.partition("| term |")[2].partition("\n\n")[0].replace("−", "-").splitlines()[2:]
    cells = [[cell.strip() for cell in row.split("|")[2:-1]] for row in table]
    for at, box_map in ((0, FULL_MAP), (4, SHORT_MAP)):
        assert [float(row[at]) for row in cells[:3]] == box_map.centre_x.tolist()
        found = [[float(cell) for cell in row[at + 1 : at + 4]] for row in cells[3:]]
        assert found == box_map.centre_y_and_size.tolist()


def test_the_formula_of_the_heat_map() -> None:
    assert (SIGMA, RADIUS) == (1.0, 5)
    points = np.random.default_rng(0).uniform(8, 24, (68, 3))
    values = (points - points.min(0)) / (points.max(0) - points.min(0))
    v, u = np.mgrid[:32, :32]
    squares = (u - points[:, 0, None, None]) ** 2 + (v - points[:, 1, None, None]) ** 2
    expected = (values[:, None, None] * np.exp(-squares / 2)[..., None]).max(0)
    np.testing.assert_allclose(diffusion_heatmap(points, 32), expected, atol=1e-5)
