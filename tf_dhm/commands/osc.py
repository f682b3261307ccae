"""Faces as OSC messages, for programs that animate or play music: `align.py --osc HOST:PORT`."""

from __future__ import annotations

from contextlib import AbstractContextManager, suppress
from typing import TYPE_CHECKING, Any

from tf_dhm.commands.sinks import Picture
from tf_dhm.core.errors import InputError
from tf_dhm.core.extras import packages_of
from tf_dhm.runtime.faces import Face

if TYPE_CHECKING:
    from pythonosc.osc_bundle import OscBundle

ROOT = "/tf_dhm"
"""Begins every address."""


def parse_address(text: str) -> tuple[str, int]:
    """Host and port.

    >>> parse_address("localhost:9000")
    ('localhost', 9000)
    """
    host, _, port = text.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 2**16:
        raise InputError(f"--osc: found {text!r}, expected HOST:PORT, for example 127.0.0.1:9000")
    return host, int(port)


class OscSink(AbstractContextManager["OscSink"]):
    """Sends the convincing faces of each picture in one UDP datagram, an OSC bundle.

    | address | arguments |
    |---|---|
    | `/tf_dhm/faces` | id of each face; in a photo its number |
    | `/tf_dhm/face/ID/pose` | pitch, yaw and roll in degrees |
    | `/tf_dhm/face/ID/confidence` | 0 to 1, if the model gives it |
    | `/tf_dhm/face/ID/matrix` | 16 numbers, row by row: from the head to the camera, see `FaceFit.matrix` |
    | `/tf_dhm/face/ID/expression/NAME` | weight of a face unit, 0 to 1 |

    The last two only of faces that have a fit.

    Args:
        address: HOST:PORT.

    Raises:
        InputError: the address is malformed or its host unknown, or python-osc is not installed.
    """

    def __init__(self, address: str) -> None:
        host, port = parse_address(address)
        with packages_of("osc", "--osc"):
            from pythonosc.udp_client import UDPClient
        try:
            self._client = UDPClient(host, port)
        except OSError as error:  # no such host
            raise InputError(f"--osc: found {address!r}, whose host is unknown: {error}") from error

    def write(self, picture: Picture) -> None:
        with suppress(BlockingIOError):  # a full buffer: frames may be lost, as always with UDP
            self._client.send(bundle(picture.shown))

    def __exit__(self, *_: object) -> None:
        self._client._sock.close()


def bundle(faces: list[tuple[int, Face]]) -> OscBundle:
    """The messages of numbered faces, to be taken at once."""
    from pythonosc.osc_bundle_builder import IMMEDIATELY, OscBundleBuilder
    from pythonosc.osc_message_builder import OscMessageBuilder

    from tf_dhm.face.expression import expressions  # SciPy's optimisers take a second to load

    builder = OscBundleBuilder(IMMEDIATELY)

    def add(address: str, values: list[int] | list[float]) -> None:
        message = OscMessageBuilder(f"{ROOT}/{address}")
        for value in values:
            message.add_arg(value, message.ARG_TYPE_INT if isinstance(value, int) else message.ARG_TYPE_FLOAT)
        content: Any = message.build()  # its annotation asks for a bundle
        builder.add_content(content)

    ids = [number if face.id is None else face.id for number, face in faces]
    add("faces", ids)
    for name, (_, face) in zip(ids, faces, strict=True):
        add(f"face/{name}/pose", face.pose.tolist())
        if face.confidence is not None:
            add(f"face/{name}/confidence", [face.confidence])
        if face.mesh is None or face.mesh.problem is not None:
            continue
        add(f"face/{name}/matrix", face.mesh.matrix.ravel().tolist())
        (weights,) = expressions([face.mesh])
        for unit, weight in (weights or {}).items():
            add(f"face/{name}/expression/{unit}", [weight])
    return builder.build()
