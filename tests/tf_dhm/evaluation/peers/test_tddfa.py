"""3DDFA_V2, with stand-ins for its files."""

from __future__ import annotations

import pickle
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.peer_files import BOX, photo, write_onnx
from tf_dhm.core.errors import InputError
from tf_dhm.evaluation.peers import tddfa
from tf_dhm.evaluation.peers.load import load_peer
from tf_dhm.evaluation.peers.tddfa import TddfaPeer, crop_as_3ddfa, field, find_beside, read_arrays


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

    monkeypatch.setattr(tddfa, "load_network", lambda *_: (network, "none", np.dtype("float32"), ["output"]))
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
    crop = crop_as_3ddfa(image, np.array([-10.2, -20.0]), 40.0, 40)
    assert (crop[:20] == 0).all()
    assert (crop[:, :10] == 0).all()
    assert (crop[20:, 10:] == 200).all()
    assert not crop_as_3ddfa(image, np.array([100.0, -90.0]), 40.0, 8).any()


def test_3ddfa_in_onnx_runtime(tmp_path: Path) -> None:
    answer = np.random.default_rng(0).normal(size=(1, 62))
    path = write_onnx(tmp_path / "mb1_120x120.onnx", [1, 3, 120, 120], answer)
    write_3ddfa_configs(tmp_path / "configs", np.random.default_rng(2))
    peer = TddfaPeer(path)
    assert peer.runtime.startswith("onnxruntime ")
    (found,) = peer.find([photo()], BOX)
    expected = peer.landmarks(answer) * (np.sqrt(2.0) / 2) + 70.0 - 30.0 * np.sqrt(2.0)
    np.testing.assert_allclose(found[:, :2], expected, rtol=1e-4, atol=1e-3)


def test_pickles_that_hold_code_are_rejected(tmp_path: Path) -> None:
    path = tmp_path / "bad.pkl"
    path.write_bytes(pickle.dumps({"mean": Path}))
    name = re.escape(f"{Path.__module__}.{Path.__qualname__}")  # the module differs between Pythons
    with pytest.raises(InputError, match=rf"bad.pkl: found {name}, expected a pickled dictionary"):
        read_arrays(path)
    path.write_bytes(pickle.dumps([1]))
    with pytest.raises(InputError, match=r"bad.pkl: found list"):
        read_arrays(path)
    path.write_bytes(pickle.dumps({"a": np.arange(3), "b": np.float64(2), "c": [1, "x"]}))
    assert list(read_arrays(path)) == ["a", "b", "c"]
    with pytest.raises(InputError, match=r"found no mean in its configs, only a, b, c"):
        field(read_arrays(path), "mean", path)
    with pytest.raises(InputError, match=r"found no x.pkl or y.pkl beside it"):
        find_beside(path, "x.pkl", "y.pkl")
