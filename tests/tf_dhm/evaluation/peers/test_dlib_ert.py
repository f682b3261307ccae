"""dlib's regression trees, with a stand-in for the package."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from tests.peer_files import BOX, photo
from tf_dhm.core.errors import InputError
from tf_dhm.evaluation.peers.dlib_ert import DlibPeer
from tf_dhm.evaluation.peers.load import load_peer


def test_dlib_with_a_stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "face_recognition_models"
    (package / "models").mkdir(parents=True)
    (package / "__init__.py").write_text("raise ImportError('needs pkg_resources')")
    file = package / "models" / "shape_predictor_68_face_landmarks.dat"
    file.write_bytes(b"trees")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setitem(sys.modules, "dlib", None)
    with pytest.raises(InputError, match=r"peer dlib: found no package dlib; .*pip install dlib-bin"):
        load_peer("dlib")

    def predictor(path: str) -> Any:
        assert path == str(file)
        # Alternates between two corners of the rectangle.
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
