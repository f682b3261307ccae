"""Systems of others, with stand-ins for their files whose answers can be computed by hand."""

from __future__ import annotations

import dataclasses
import json
import os
import pickle
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from numpy.typing import NDArray

from pipelines.datasets import aflw2000_3d
from tf_dhm.core.errors import InputError
from tf_dhm.evaluation import peers
from tf_dhm.evaluation.entries import load_peers
from tf_dhm.evaluation.evaluate import evaluate, summarize
from tf_dhm.evaluation.peers import Adapter, DlibPeer, FilePeer, TddfaPeer, load_peer
from tf_dhm.face import geometry
from tf_dhm.face.mean_face import mean_shape
from tf_dhm.runtime.images import read_photo

SIZE = 16
DATA = os.environ.get("TF_DHM_TEST_DATA")
PHOTO = Path(__file__).parents[2] / "data" / "astronaut.jpg"
BOX = np.array([40.0, 50.0, 100.0, 90.0])


class Answer(tf.Module):
    """Answers the same points always, and the input's first pixel."""

    def __init__(self, points: NDArray[np.floating], dtype: tf.DType = tf.float32) -> None:
        super().__init__()
        self.points = tf.constant(points, tf.float32)
        self.run = tf.function(self._run, input_signature=[tf.TensorSpec([1, SIZE, SIZE, 3], dtype, "x")])

    def _run(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"first": tf.cast(x[:, 0, 0], tf.float32), "points": self.points[None] + 0.0}


def write_saved_model(folder: Path, points: NDArray[np.floating], dtype: tf.DType = tf.float32) -> Path:
    module = Answer(points, dtype)
    tf.saved_model.save(module, str(folder), {"serving_default": module.run.get_concrete_function()})
    return folder


def write_tflite(path: Path, points: NDArray[np.floating]) -> Path:
    module = Answer(points)
    converter = tf.lite.TFLiteConverter.from_concrete_functions([module.run.get_concrete_function()], module)
    path.write_bytes(converter.convert())
    return path


def photo(seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (140, 160, 3), np.uint8)


def mean_pixels() -> NDArray[np.floating]:
    """(68, 2) of the mean face in pixels of a crop."""
    return geometry.unit_to_pixels(mean_shape(), SIZE)[:, :2]


def mean_in_square(x: float, y: float, side: float) -> NDArray[np.floating]:
    return mean_shape()[:, :2] * (side / 2.0) + [x, y]


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_saved_model(tmp_path_factory.mktemp("peer") / "mean", mean_pixels())


def adapter(path: Path, **changes: Any) -> Adapter:
    return dataclasses.replace(Adapter(str(path), SIZE, output="points"), **changes)


class TestCrop:
    def test_of_the_box(self, saved: Path) -> None:
        found = FilePeer(adapter(saved), Path()).find([photo(), photo(1)], np.stack([BOX, BOX + 7.0]))
        assert found.shape == (2, 68, 3)
        assert found.dtype == np.float32
        assert np.isnan(found[..., 2]).all()
        expected = mean_in_square(70.0, 70.0, 60.0 * np.sqrt(2.0))
        np.testing.assert_allclose(found[0, :, :2], expected, atol=1e-3)
        np.testing.assert_allclose(found[1, :, :2], expected + 7.0, atol=1e-3)

    def test_scale_and_shift(self, saved: Path) -> None:
        changed = adapter(saved, crop_scale=2.0, crop_shift=(0.5, -0.25))
        (found,) = FilePeer(changed, Path()).find([photo()], BOX)
        np.testing.assert_allclose(found[:, :2], mean_in_square(100.0, 55.0, 120.0), atol=1e-3)

    def test_the_second_pass_is_cut_around_the_points(self, saved: Path) -> None:
        peer = FilePeer(adapter(saved, passes=2, next_scale=1.2), Path())
        (found,) = peer.find([photo()], BOX)
        box = geometry.landmark_box(mean_in_square(70.0, 70.0, 60.0 * np.sqrt(2.0)))
        x, y = (box[:2] + box[2:]) / 2
        expected = mean_in_square(x, y, 1.2 * np.max(box[2:] - box[:2]))
        np.testing.assert_allclose(found[:, :2], expected, atol=1e-3)
        assert peer.name == "mean (2 passes)"

    def test_the_second_pass_stands_upright(self, tmp_path: Path) -> None:
        # The network answers a face rolled by 20 degrees in every crop, so that two passes roll by 40.
        angle = np.radians(20.0)
        turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
        centre = (SIZE - 1) / 2
        points = (mean_pixels() - centre) @ turn + centre
        path = write_saved_model(tmp_path / "rolled", points)
        (found,) = FilePeer(adapter(path, passes=2, upright=True), Path()).find([photo()], BOX)
        across = found[45, :2] - found[36, :2]
        start = mean_pixels()[45] - mean_pixels()[36]
        roll = np.degrees(np.arctan2(across[1], across[0]) - np.arctan2(start[1], start[0]))
        # The eyes of the mean face lie level but for a hair.
        assert roll == pytest.approx(40.0, abs=1.0)


class TestInput:
    def crop(self) -> NDArray[np.uint8]:
        crop = np.zeros((SIZE, SIZE, 3), np.uint8)
        crop[0, 0] = (255, 51, 0)
        return crop

    def test_fractions(self, saved: Path) -> None:
        value = FilePeer(adapter(saved), Path())._input(self.crop())
        assert value.dtype == np.float32
        assert value.shape == (1, SIZE, SIZE, 3)
        np.testing.assert_allclose(value[0, 0, 0], [1.0, 0.2, 0.0], atol=1e-6)

    def test_mean_scale_order_and_layout(self, saved: Path) -> None:
        changed = adapter(
            saved, colour="bgr", layout="nchw", mean=(1.0, 2.0, 3.0), scale=(1.0, 2.0, 4.0), input_size=SIZE
        )
        value = FilePeer(changed, Path())._input(self.crop())
        assert value.shape == (1, 3, SIZE, SIZE)
        np.testing.assert_allclose(value[0, :, 0, 0], [-1.0, 49 / 2, 252 / 4])

    def test_integers_are_pixels(self, tmp_path: Path) -> None:
        path = write_saved_model(tmp_path / "bytes", mean_pixels(), tf.uint8)
        value = FilePeer(adapter(path), Path())._input(self.crop())
        assert value.dtype == np.uint8
        assert value[0, 0, 0].tolist() == [255, 51, 0]


@pytest.mark.parametrize(
    ("changes", "answer", "expected"),
    [
        ({}, [4.0, 8.0], [4.0, 8.0]),
        ({"origin": "corner"}, [4.0, 8.0], [3.5, 7.5]),
        ({"unit": "fraction", "origin": "corner"}, [0.25, 0.5], [3.5, 7.5]),
        ({"unit": "symmetric", "origin": "corner"}, [-0.5, 0.0], [3.5, 7.5]),
        ({"unit": "symmetric"}, [-1.0, 1.0], [0.0, 16.0]),
        ({"dimensions": 3}, [4.0, 8.0, 99.0], [4.0, 8.0]),
    ],
)
def test_units(saved: Path, changes: dict[str, Any], answer: list[float], expected: list[float]) -> None:
    peer = FilePeer(adapter(saved, **changes), Path())
    found = peer._to_pixels(np.tile(np.array(answer, np.float32), (1, 68)))
    np.testing.assert_allclose(found, [expected] * 68)


def test_points_are_means_of_the_output_s(saved: Path) -> None:
    entries = (*((i,) for i in range(67)), (67, 69))
    peer = FilePeer(adapter(saved, points=entries), Path())
    points = peer._to_pixels(np.arange(140.0).reshape(1, 140))
    found = peer._chosen(points)
    assert found.shape == (68, 2)
    assert found[0].tolist() == [0.0, 1.0]
    assert found[67].tolist() == [136.0, 137.0]  # of (134, 135) and (138, 139)
    with pytest.raises(InputError, match=r"found an output of the shape \(1, 138\), expected 70 points of 2"):
        peer._to_pixels(np.zeros((1, 138)))


def test_the_map_of_mediapipe_names_each_point_once() -> None:
    first = [entry[0] for entry in peers.MEDIAPIPE_POINTS]
    assert len(first) == len(set(first)) == 68
    assert max(map(max, peers.MEDIAPIPE_POINTS)) < 468


def test_mediapipe_on_a_photo() -> None:
    peer = load_peer("mediapipe")
    assert peer.name == "MediaPipe face_landmark (2 passes)"
    assert peer.file_bytes == peers.mediapipe_file().stat().st_size
    pixels = read_photo(PHOTO).pixels
    box = np.array([180.0, 80.0, 270.0, 175.0])
    (found,) = peer.find([pixels], box)
    points = found[:, :2]
    inside = geometry.landmark_box(points)
    assert ((inside > box - 15) & (inside < box + 15)).all()
    # Eyes above the mouth above the chin; the left of the picture first.
    assert points[36:48, 1].max() < points[48:68, 1].min() < points[8, 1]
    assert points[36, 0] < points[39, 0] < points[42, 0] < points[45, 0]
    # Where it begins does not matter much.
    (again,) = peer.find([pixels], box + [-6.0, 4.0, 6.0, 8.0])
    assert np.linalg.norm(again[:, :2] - points, axis=1).mean() < 2.0
    peer.network_call()()


def test_a_json_file_beside_a_tflite_file(tmp_path: Path) -> None:
    write_tflite(tmp_path / "net.tflite", mean_pixels())
    description = {
        "file": "net.tflite",
        "input_size": SIZE,
        "name": "a peer",
        "points": [[i] for i in range(68)],
    }
    (tmp_path / "net.json").write_text(json.dumps(description))
    with pytest.raises(InputError, match=r"found an output of the shape|found the outputs"):
        FilePeer(Adapter("net.tflite", SIZE, output="7"), tmp_path).find([photo()], BOX)
    peer = load_peer(str(tmp_path / "net.json"), runtime="tensorflow")
    assert isinstance(peer, FilePeer)
    names = peer._outputs
    sizes = [output.size for output in peer._network(np.zeros((1, SIZE, SIZE, 3), np.float32))]
    (tmp_path / "net.json").write_text(json.dumps({**description, "output": str(sizes.index(136))}))
    peer = load_peer(str(tmp_path / "net.json"), runtime="tensorflow")
    (found,) = peer.find([photo()], BOX)
    np.testing.assert_allclose(found[:, :2], mean_in_square(70.0, 70.0, 60.0 * np.sqrt(2.0)), atol=1e-3)
    assert (peer.name, len(names)) == ("a peer", 2)
    assert peer.file_bytes == (tmp_path / "net.tflite").stat().st_size
    assert peer.runtime.startswith("TFLite, tensorflow 2.")
    entries = load_peers([str(tmp_path / "net.json")])
    assert [entry.size.parameters for entry in entries] == [None]
    assert entries[0].name == "a peer"
    with pytest.raises(InputError, match="more than once"):
        load_peers([str(tmp_path / "net.json")] * 2)


def write_onnx(path: Path, shape: list[int], answer: NDArray[np.floating]) -> Path:
    """A network that adds nothing to `answer` but 0 times its input."""
    onnx = pytest.importorskip("onnx", reason="makes the file; it is no requirement of this project")
    pytest.importorskip("onnxruntime", reason="runs the file; it is no requirement of this project")
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    constant = helper.make_tensor("answer", kind, list(answer.shape), answer.astype(np.float32).ravel())
    zero = helper.make_tensor("zero", kind, [1], np.zeros(1, np.float32))
    nodes = [
        helper.make_node("ReduceMean", ["input"], ["mean"], keepdims=0),
        helper.make_node("Mul", ["mean", "zero"], ["nothing"]),
        helper.make_node("Add", ["answer", "nothing"], ["output"]),
    ]
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("input", kind, shape)],
        [helper.make_tensor_value_info("output", kind, list(answer.shape))],
        [constant, zero],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.save(model, str(path))
    return path


def write_3ddfa_configs(folder: Path, rng: np.random.Generator) -> dict[str, Any]:
    """Small stand-ins for configs/*.pkl of 3DDFA_V2: a face of 80 vertices."""
    folder.mkdir()
    keypoints = np.concatenate([[3 * i, 3 * i + 1, 3 * i + 2] for i in rng.permutation(80)[:68]])
    bfm = {
        "u": rng.normal(0.0, 1.0, (240, 1)).astype(np.float32),
        "w_shp": rng.normal(0.0, 0.1, (240, 45)).astype(np.float32),
        "w_exp": rng.normal(0.0, 0.1, (240, 12)).astype(np.float32),
        "keypoints": keypoints,
    }
    standard = {
        "mean": rng.normal(size=62).astype(np.float32),
        "std": rng.uniform(1, 2, 62).astype(np.float32),
    }
    (folder / "bfm_noneck_v3.pkl").write_bytes(pickle.dumps(bfm))
    (folder / "param_mean_std_62d_120x120.pkl").write_bytes(pickle.dumps(standard))
    return {**bfm, **standard}


def test_3ddfa_by_hand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(2)
    made = write_3ddfa_configs(tmp_path / "configs", rng)
    (tmp_path / "weights").mkdir()
    path = tmp_path / "weights" / "mb05_120x120.onnx"
    path.write_bytes(b"stand-in")
    raw = rng.normal(size=(1, 62)).astype(np.float32)
    seen: list[NDArray[Any]] = []

    def network(value: NDArray[Any]) -> list[NDArray[Any]]:
        seen.append(value)
        return [raw]

    monkeypatch.setattr(peers, "load_network", lambda *_: (network, "none", np.dtype("float32"), ["output"]))
    peer = load_peer(f"3ddfa_v2={path}")
    assert (peer.name, peer.file_bytes) == ("3DDFA_V2 mb05", 8)
    image = photo()
    (found,) = peer.find([image], BOX)

    p = (raw[0] * made["std"] + made["mean"]).astype(np.float64)
    side = 60.0 * np.sqrt(2.0)
    for k in (0, 30, 67):
        rows = made["keypoints"][3 * k : 3 * k + 3]
        vertex = made["u"][rows, 0] + made["w_shp"][rows, :40] @ p[12:52] + made["w_exp"][rows, :10] @ p[52:]
        x = p[0:3] @ vertex + p[3]
        y = p[4:7] @ vertex + p[7]
        expected = [(x - 1) * side / 120 + 70 - side / 2, (120 - y) * side / 120 + 70 - side / 2]
        np.testing.assert_allclose(found[k, :2], expected, rtol=1e-4, atol=1e-3)
    (value,) = seen
    assert value.dtype == np.float32
    assert value.shape == (1, 3, 120, 120)
    # The crop begins at pixel (28, 28) = round(70 - 42.4); blue comes first.
    np.testing.assert_allclose(value[0, :, 0, 0], (image[28, 28, ::-1] - 127.5) / 128.0, atol=0.02)
    peer.network_call()()


def test_3ddfa_crops_beyond_the_image() -> None:
    image = np.full((40, 50, 3), 200, np.uint8)
    crop = peers.crop_as_3ddfa(image, np.array([-10.2, -20.0]), 40.0, 40)
    assert (crop[:20] == 0).all()
    assert (crop[:, :10] == 0).all()
    assert (crop[20:, 10:] == 200).all()
    assert not peers.crop_as_3ddfa(image, np.array([100.0, -90.0]), 40.0, 8).any()


def test_3ddfa_in_onnx_runtime(tmp_path: Path) -> None:
    answer = np.random.default_rng(0).normal(size=(1, 62))
    path = write_onnx(tmp_path / "mb1_120x120.onnx", [1, 3, 120, 120], answer)
    write_3ddfa_configs(tmp_path / "configs", np.random.default_rng(2))
    peer = TddfaPeer(path)
    assert peer.runtime.startswith("onnxruntime ")
    (found,) = peer.find([photo()], BOX)
    expected = peer.landmarks(answer) * (np.sqrt(2.0) / 2) + 70.0 - 30.0 * np.sqrt(2.0)
    np.testing.assert_allclose(found[:, :2], expected, rtol=1e-4, atol=1e-3)


def test_an_adapter_of_an_onnx_file(tmp_path: Path) -> None:
    path = write_onnx(tmp_path / "net.onnx", [1, 3, SIZE, SIZE], mean_pixels().reshape(1, -1))
    peer = FilePeer(Adapter("net.onnx", SIZE, layout="nchw"), tmp_path)
    (found,) = peer.find([photo()], BOX)
    np.testing.assert_allclose(found[:, :2], mean_in_square(70.0, 70.0, 60.0 * np.sqrt(2.0)), atol=1e-3)
    with pytest.raises(InputError, match=r"net.onnx: found an input of the shape \[1, 3, 16, 16\], expected"):
        FilePeer(Adapter("net.onnx", SIZE), tmp_path).find([photo()], BOX)
    path.write_bytes(b"noise")
    with pytest.raises(InputError, match=r"net.onnx: found no readable ONNX model"):
        FilePeer(Adapter("net.onnx", SIZE), tmp_path)


def test_dlib_with_a_stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "face_recognition_models"
    (package / "models").mkdir(parents=True)
    (package / "__init__.py").write_text("raise ImportError('needs pkg_resources')")
    file = package / "models" / "shape_predictor_68_face_landmarks.dat"
    file.write_bytes(b"trees")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setitem(sys.modules, "dlib", None)
    with pytest.raises(InputError, match="peer dlib: found no package dlib, expected dlib or dlib-bin"):
        load_peer("dlib")

    def predictor(path: str) -> Any:
        assert path == str(file)
        # The corners of the rectangle in turns.
        return lambda _, r: SimpleNamespace(
            part=lambda i: SimpleNamespace(x=r[2 * (i % 2)], y=r[1 + 2 * (i % 2)])
        )

    fake = SimpleNamespace(__version__="1", rectangle=lambda *r: r, shape_predictor=predictor)
    monkeypatch.setitem(sys.modules, "dlib", fake)
    peer = load_peer("dlib")
    assert (peer.name, peer.runtime, peer.file_bytes) == ("dlib ERT", "dlib 1", 5)
    assert peer.box_start == 17  # without the jaw
    monkeypatch.setattr(DlibPeer, "RECTANGLE", (0.0, -0.1, 1.06))
    (found,) = peer.find([photo()], BOX)
    # Longer side 60: the centre (70, 70) goes up by 6, half of the side is 31.8.
    np.testing.assert_array_equal(found[:2, :2], [[38, 32], [102, 96]])
    peer.network_call()()
    file.unlink()
    with pytest.raises(InputError, match=r"landmarks.dat: found no such file"):
        DlibPeer()


def test_missing_packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    (tmp_path / "net.onnx").write_bytes(b"any")
    with pytest.raises(InputError, match=r"net.onnx: found no package onnxruntime"):
        load_peer(f"3ddfa_v2={tmp_path / 'net.onnx'}")
    monkeypatch.setattr(peers.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(InputError, match="found no package face-recognition-models"):
        load_peer("dlib")


def test_pickles_that_hold_code_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "bad.pkl"
    path.write_bytes(pickle.dumps({"mean": Path}))
    with pytest.raises(InputError, match=r"bad.pkl: found pathlib.Path, expected a pickled dictionary"):
        peers.read_arrays(path)
    path.write_bytes(pickle.dumps([1]))
    with pytest.raises(InputError, match=r"bad.pkl: found list"):
        peers.read_arrays(path)
    path.write_bytes(pickle.dumps({"a": np.arange(3), "b": np.float64(2), "c": [1, "x"]}))
    assert list(peers.read_arrays(path)) == ["a", "b", "c"]
    with pytest.raises(InputError, match=r"found no mean in its configs, only a, b, c"):
        peers.field(peers.read_arrays(path), "mean", path)
    with pytest.raises(InputError, match=r"found no x.pkl or y.pkl beside it"):
        peers.find_beside(path, "x.pkl", "y.pkl")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"mean": (1.0, 2.0)}, "mean: found"),
        ({"scale": (0.0,)}, "scale, crop_scale"),
        ({"passes": 0}, "passes: found 0 or less"),
        ({"crop_shift": (1.0,)}, "crop_shift: found"),
        ({"dimensions": 1}, "dimensions: found 1"),
        ({"points": ((1,),)}, "points: found 1 entries"),
        ({"points": ((),) * 68}, "points: found 68 entries, some of them empty"),
    ],
)
def test_descriptions_that_make_no_sense(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Adapter("x", SIZE, **changes)


def test_mistakes(tmp_path: Path, saved: Path) -> None:
    for text in ("other", "3ddfa_v2", "net.tflite"):
        with pytest.raises(InputError, match=f"peers: found '{text}', expected mediapipe, dlib, 3ddfa_v2="):
            load_peer(text)
    with pytest.raises(InputError, match=r"none.json: found no such file"):
        load_peer(str(tmp_path / "none.json"))
    (tmp_path / "bad.json").write_text('{"file": "x", "size": 3}')
    with pytest.raises(InputError, match=r"bad.json: found unknown options \['size'\]"):
        load_peer(str(tmp_path / "bad.json"))
    with pytest.raises(InputError, match=r"x.bin: found no such file"):
        FilePeer(Adapter("x.bin", SIZE), tmp_path)
    (tmp_path / "x.bin").write_bytes(b"")
    with pytest.raises(InputError, match=r"x.bin: found a file \*.bin, expected"):
        FilePeer(Adapter("x.bin", SIZE), tmp_path)
    (tmp_path / "x.tflite").write_bytes(b"noise")
    with pytest.raises(InputError, match=r"x.tflite: found no readable TFLite model"):
        FilePeer(Adapter("x.tflite", SIZE), tmp_path)
    with pytest.raises(InputError, match="found no readable SavedModel"):
        FilePeer(Adapter(".", SIZE), tmp_path)
    with pytest.raises(InputError, match="found the outputs first, points, expected 9 among them"):
        FilePeer(adapter(saved, output="9"), Path()).find([photo()], BOX)
    with pytest.raises(InputError, match=r"expected 68 points of 2 numbers"):
        FilePeer(adapter(saved, output="first"), Path()).find([photo()], BOX)
    with pytest.raises(
        InputError, match=r"found an input of the shape \[1, 16, 16, 3\], expected \[1, 8, 8, 3\]"
    ):
        FilePeer(adapter(saved, input_size=8), Path()).find([photo()], BOX)
    with pytest.raises(InputError, match="found the inputs a, b, expected one image"):
        peers.check_one_input(Path("x"), ["a", "b"])


@pytest.mark.slow
@pytest.mark.skipif(DATA is None, reason="TF_DHM_TEST_DATA is not set")
def test_mediapipe_on_the_real_half() -> None:
    assert DATA is not None
    entries = load_peers(["mediapipe"])
    faces = aflw2000_3d.read(Path(DATA) / "aflw2000_3d_half", wrap_pose=False)
    table = evaluate(entries, {"original": faces}).table
    summary = summarize(table)["MediaPipe face_landmark (2 passes)"]["original"]
    assert summary["images"] == 1000
    assert summary["nme_mean_of_bins"] == pytest.approx(8.73, abs=0.1)
