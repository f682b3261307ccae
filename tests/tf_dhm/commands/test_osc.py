"""`align.py --osc`: what arrives at a UDP port."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pythonosc.osc_packet import OscPacket

from tests.fakes import draw_cartoon_face, write_fake_model
from tf_dhm.commands.align import align_inputs
from tf_dhm.commands.options import AlignConfig
from tf_dhm.commands.osc import OscSink, parse_address
from tf_dhm.commands.sinks import Picture
from tf_dhm.core.errors import InputError
from tf_dhm.face.expression import OFFERED
from tf_dhm.face.mean_face import mean_shape
from tf_dhm.runtime.faces import Face, with_meshes
from tf_dhm.runtime.video_writer import VideoWriter


@pytest.fixture
def receiver() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as bound:
        bound.bind(("127.0.0.1", 0))
        bound.settimeout(20)
        yield bound


def address(receiver: socket.socket) -> str:
    return f"127.0.0.1:{receiver.getsockname()[1]}"


def received(receiver: socket.socket) -> dict[str, list[Any]]:
    """Arguments by address of the next datagram."""
    packet = OscPacket(receiver.recv(2**16))
    return {timed.message.address: list(timed.message.params) for timed in packet.messages}


def face(number: int, confidence: float | None) -> Face:
    points = (mean_shape() * [60, 60, 60] + [150, 120, 0]).astype(np.float32)
    pose = np.array([1.5, -2.0, 30.0], np.float32)
    return Face(points, np.array([90.0, 60, 210, 180]), None, pose, id=number, confidence=confidence)


def picture(faces: list[Face], convincing: list[bool]) -> Picture:
    return Picture(np.zeros((240, 320, 3), np.uint8), 320, 240, faces, faces, convincing, 0, 0.0)


def test_the_convincing_faces_are_sent_with_their_fits(receiver: socket.socket) -> None:
    (fitted,) = with_meshes([face(4, 0.9)], 320, 240)
    with OscSink(address(receiver)) as sink:
        sink.write(picture([fitted, face(5, 0.1), face(7, None)], [True, False, True]))
    messages = received(receiver)
    assert messages["/tf_dhm/faces"] == [4, 7]
    assert messages["/tf_dhm/face/7/pose"] == pytest.approx([1.5, -2.0, 30.0])
    assert messages["/tf_dhm/face/4/confidence"] == pytest.approx([0.9])
    assert fitted.mesh is not None
    assert messages["/tf_dhm/face/4/matrix"] == pytest.approx(fitted.mesh.matrix.ravel(), rel=1e-5)
    for name in OFFERED:
        (weight,) = messages[f"/tf_dhm/face/4/expression/{name}"]
        assert 0 <= weight <= 1
    assert {name for name in messages if "/7/" in name} == {"/tf_dhm/face/7/pose"}
    assert not any("/5/" in name for name in messages)


def test_a_frame_without_faces_is_sent(receiver: socket.socket) -> None:
    with OscSink(address(receiver)) as sink:
        sink.write(picture([], []))
    assert received(receiver) == {"/tf_dhm/faces": []}


def test_every_frame_of_a_video(receiver: socket.socket, tmp_path: Path) -> None:
    model = str(write_fake_model(tmp_path / "fake"))
    with VideoWriter(tmp_path / "clip.mp4", 25) as writer:
        for index in range(3):
            writer.write(draw_cartoon_face(), index / 25)
    config = AlignConfig(
        (str(tmp_path / "clip.mp4"),), model=model, backend="saved_model", osc=address(receiver), quiet=True
    )
    assert config.fits_meshes
    assert config.drawn_folder is None
    assert align_inputs(config) == 0
    for _ in range(3):
        assert "/tf_dhm/faces" in received(receiver)


@pytest.mark.parametrize("text", ["", "9000", "localhost", ":9000", "localhost:0", "localhost:x", "a:65536"])
def test_a_malformed_address_is_rejected(text: str) -> None:
    with pytest.raises(InputError, match="--osc"):
        parse_address(text)


def test_an_unknown_host_is_rejected() -> None:
    with pytest.raises(InputError, match="--osc"):
        OscSink("no-such-host.invalid:9000")
