"""Peers by their names on the command line."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.peer_files import BOX, SIZE, mean_in_square, mean_pixels, photo, write_tflite
from tf_dhm.core.errors import InputError
from tf_dhm.evaluation.entries import load_peers
from tf_dhm.evaluation.peers import dlib_ert
from tf_dhm.evaluation.peers.adapter import Adapter, FilePeer
from tf_dhm.evaluation.peers.load import load_peer


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


def test_missing_packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    (tmp_path / "net.onnx").write_bytes(b"any")
    with pytest.raises(
        InputError, match=r"net.onnx: found no package onnxruntime; .*pip install onnxruntime"
    ):
        load_peer(f"3ddfa_v2={tmp_path / 'net.onnx'}")
    monkeypatch.setattr(dlib_ert.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(InputError, match="found no package face-recognition-models"):
        load_peer("dlib")
