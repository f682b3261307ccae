"""Peers that a description makes of a file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from numpy.typing import NDArray

from tests.peer_files import (
    BOX,
    SIZE,
    adapter,
    mean_in_square,
    mean_pixels,
    photo,
    write_onnx,
    write_saved_model,
)
from tf_dhm.core.errors import InputError
from tf_dhm.evaluation.peers.adapter import Adapter, FilePeer
from tf_dhm.evaluation.peers.load import load_peer
from tf_dhm.evaluation.peers.network import check_one_input
from tf_dhm.face import geometry


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_saved_model(tmp_path_factory.mktemp("peer") / "mean", mean_pixels())


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


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"mean": (1.0, 2.0)}, "mean: found"),
        ({"scale": (0.0,)}, "scale: found 0.0"),
        ({"passes": 0}, "passes: found 0"),
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
        check_one_input(Path("x"), ["a", "b"])
