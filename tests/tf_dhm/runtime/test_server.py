"""The client against a test double of TF Serving, over gRPC and REST, in good times and bad."""

from __future__ import annotations

import base64
import json
import subprocess
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.faces import TINY_MODEL
from tests.serving_data import ASTRONAUT, bad_boxes, bad_photos, encode, noise_photo, random_boxes
from tests.serving_double import ServingDouble
from tests.tiny_models import write_tiny_model
from tf_dhm.commands.align import align_inputs
from tf_dhm.commands.options import AlignConfig
from tf_dhm.core.errors import InputError
from tf_dhm.runtime import server
from tf_dhm.runtime.aligner import Aligner
from tf_dhm.runtime.saved_model import SavedModelPredictor
from tf_dhm.runtime.server import Client
from tf_dhm.runtime.transport import RestTransport, ServerConfig, ServerError

SIZE = TINY_MODEL.input_size
PHOTOS = [encode(noise_photo(i, 60 + i, 50), kind) for i, kind in enumerate(["JPEG", "PNG"] * 4)]
BOXES = random_boxes(np.random.default_rng(0), 60, 50, len(PHOTOS))


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A model in two versions, and one that does not say how sure it is."""
    folder = tmp_path_factory.mktemp("models")
    write_tiny_model(folder / "tiny", version=1, quality=True)
    write_tiny_model(folder / "tiny", version=2, quality=True)
    return {"tiny": folder / "tiny", "plain": write_tiny_model(folder / "plain")}


@pytest.fixture(scope="module")
def local(models: dict[str, Path]) -> SavedModelPredictor:
    """The newest version in this process."""
    return SavedModelPredictor(models["tiny"])


@pytest.fixture(scope="module")
def oldest(models: dict[str, Path]) -> SavedModelPredictor:
    return SavedModelPredictor(models["tiny"] / "1")


@pytest.fixture(scope="module")
def started(models: dict[str, Path]) -> Iterator[ServingDouble]:
    double = ServingDouble(models).start()
    yield double
    double.stop()


@pytest.fixture
def double(started: ServingDouble) -> ServingDouble:
    started.delay, started.failures, started.requests = 0.0, 0, 0
    return started


@pytest.fixture(params=["gRPC", "REST"])
def protocol(request: pytest.FixtureRequest) -> str:
    return request.param


def connect(double: ServingDouble, protocol: str = "gRPC", **options: Any) -> Client:
    address = f"http://127.0.0.1:{double.rest_port}" if protocol == "REST" else f"127.0.0.1:{double.port}"
    return Client(ServerConfig(address, **{"model": "tiny", "timeout": 20.0, **options}))


def make_crops(count: int) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (count, SIZE, SIZE, 3)).astype(np.uint8)


# What is answered


def test_photos_are_aligned_as_by_python(
    double: ServingDouble, protocol: str, local: SavedModelPredictor
) -> None:
    aligner = Aligner(local)
    with connect(double, protocol, batch=3) as client:
        answer = client.align(PHOTOS, BOXES)
    assert double.requests == 3
    assert answer.confidence is not None
    assert answer.visibility is not None
    for index, photo in enumerate(PHOTOS):
        (face,) = aligner.align(photo, BOXES[index : index + 1])
        np.testing.assert_allclose(answer.landmarks[index], face.landmarks, atol=0.1)
        np.testing.assert_allclose(answer.pose[index], face.pose, atol=0.1)
        assert 0.0 < answer.confidence[index] < 1.0
    assert len({tuple(row) for row in answer.landmarks[:, 0].tolist()}) == len(PHOTOS)


def test_crops_are_predicted_as_in_the_process(
    double: ServingDouble, protocol: str, local: SavedModelPredictor
) -> None:
    crops = make_crops(5)
    with connect(double, protocol, batch=2) as client:
        assert (client.name, client.input_size, client.can_refine) == ("tiny", SIZE, True)
        found, expected = client.predict(crops), local.predict(crops)
        again = client.predict(crops, found.landmarks).landmarks
    assert double.requests == 6
    np.testing.assert_allclose(found.landmarks, expected.landmarks, atol=1e-3)
    assert found.visibility is not None
    assert found.confidence is not None
    assert expected.visibility is not None
    assert expected.confidence is not None
    np.testing.assert_allclose(found.visibility, expected.visibility, atol=1e-4)
    np.testing.assert_allclose(found.confidence, expected.confidence, atol=1e-4)
    np.testing.assert_allclose(again, local.predict(crops, expected.landmarks).landmarks, atol=0.01)


@pytest.mark.parametrize("passes", [1, 2])
def test_a_client_stands_in_for_a_model(
    double: ServingDouble, local: SavedModelPredictor, passes: int
) -> None:
    with connect(double) as client:
        (served,) = Aligner(client, passes).align(PHOTOS[0], BOXES[:1])
    (expected,) = Aligner(local, passes).align(PHOTOS[0], BOXES[:1])
    np.testing.assert_allclose(served.landmarks, expected.landmarks, atol=0.05)
    np.testing.assert_allclose(served.pose, expected.pose, atol=0.1)


def test_files_are_aligned_by_a_server(
    double: ServingDouble, models: dict[str, Path], protocol: str, tmp_path: Path
) -> None:
    prefix, port = ("http://", double.rest_port) if protocol == "REST" else ("", double.port)
    common: dict[str, Any] = {"inputs": (str(ASTRONAUT),), "passes": 2}
    served = AlignConfig(
        **common, json=tmp_path / "served.jsonl", model="tiny", server=f"{prefix}127.0.0.1:{port}"
    )
    local = AlignConfig(
        **common, json=tmp_path / "local.jsonl", model=str(models["tiny"]), backend="saved_model"
    )
    assert align_inputs(served) == align_inputs(local) == 0
    faces = [json.loads((tmp_path / f"{name}.jsonl").read_text())["faces"] for name in ("served", "local")]
    assert len(faces[0]) == len(faces[1]) == 1
    np.testing.assert_allclose(faces[0][0]["landmarks"], faces[1][0]["landmarks"], atol=0.1)
    assert faces[0][0]["confidence"] == pytest.approx(faces[1][0]["confidence"], abs=1e-3)


def test_versions(
    double: ServingDouble, protocol: str, local: SavedModelPredictor, oldest: SavedModelPredictor
) -> None:
    crops = make_crops(1)
    with connect(double, protocol) as newest, connect(double, protocol, version=1) as first:
        assert newest.versions() == {1: "AVAILABLE", 2: "AVAILABLE"}
        assert first.versions() == {1: "AVAILABLE"}
        for client, model in ((newest, local), (first, oldest)):
            expected = model.predict(crops).landmarks
            np.testing.assert_allclose(client.predict(crops).landmarks, expected, atol=1e-3)


def test_a_model_that_does_not_say_how_sure_it_is(double: ServingDouble, protocol: str) -> None:
    with connect(double, protocol, model="plain") as client:
        answer = client.align([PHOTOS[0], b"none"], BOXES[:2])
        assert client.predict(make_crops(1)).confidence is None
    assert answer.confidence is None
    assert answer.visibility is None
    assert np.isfinite(answer.landmarks[0]).all()
    assert np.isnan(answer.landmarks[1]).all()


def test_nothing_is_asked_for_nothing(double: ServingDouble, protocol: str) -> None:
    with connect(double, protocol) as client:
        answer = client.align([], [])
        assert client.predict(make_crops(0)).landmarks.shape == (0, 68, 3)
    assert answer.landmarks.shape == (0, 68, 3)
    assert answer.pose.shape == (0, 3)
    assert answer.confidence is not None
    assert answer.confidence.shape == (0,)
    assert double.requests == 0


def test_bad_photos_and_boxes_among_good_ones(double: ServingDouble, protocol: str) -> None:
    bad = list(bad_photos().values())
    boxes = [*([[5, 5, 30, 30]] * len(bad)), *bad_boxes(60, 50).values(), *BOXES]
    photos = [*bad, *([PHOTOS[0]] * len(bad_boxes(60, 50))), *PHOTOS]
    # JSON has no infinity; base 64 has all bytes.
    keep = np.isfinite(boxes).all(1) if protocol == "REST" else np.full(len(boxes), True)
    photos = [photo for photo, kept in zip(photos, keep, strict=True) if kept]
    with connect(double, protocol) as client:
        answer = client.align(photos, np.array(boxes, np.float32)[keep])
        alone = client.align(PHOTOS, BOXES)
    assert answer.confidence is not None
    assert np.isnan(answer.landmarks[: -len(PHOTOS)]).all()
    assert np.isnan(answer.pose[: -len(PHOTOS)]).all()
    assert (answer.confidence[: -len(PHOTOS)] == 0).all()
    np.testing.assert_allclose(answer.landmarks[-len(PHOTOS) :], alone.landmarks, atol=1e-3)


# What is rejected


@pytest.mark.parametrize("boxes", [[1, 2, 3, 4], [[1, 2, 3]] * 8, [[1, 2, 3, 4]]])
def test_boxes_of_wrong_shape_are_not_sent(double: ServingDouble, boxes: Any) -> None:
    with (
        connect(double) as client,
        pytest.raises(InputError, match=r"boxes: found shape .*, expected \(8, 4\)"),
    ):
        client.align(PHOTOS, boxes)
    assert double.requests == 0


def test_crops_of_wrong_shape_or_dtype_are_not_sent(double: ServingDouble, protocol: str) -> None:
    with connect(double, protocol) as client:
        with pytest.raises(InputError, match=r"crops: found uint8 of shape \(1, 9, 9, 3\)"):
            client.predict(np.zeros((1, 9, 9, 3), np.uint8))
        with pytest.raises(InputError, match=r"crops: found float32"):
            client.predict(make_crops(1).astype(np.float32))
        with pytest.raises(InputError, match=r"initial_landmarks: found \(2, 68, 3\)"):
            client.predict(make_crops(1), np.zeros((2, 68, 3)))
    assert double.requests == 0


def test_what_the_server_rejects(double: ServingDouble, protocol: str) -> None:
    with connect(double, protocol) as client:
        for inputs in (
            {"crops": np.zeros((1, 9, 9, 3), np.uint8)},
            {"crops": np.full((1, SIZE, SIZE, 3), 0.5, np.float32)},
            {"pictures": make_crops(1)},
        ):
            with pytest.raises(
                InputError, match=r"server .*, model tiny: rejected \((INVALID_ARGUMENT|400)\): ."
            ):
                client.transport.predict("serving_default", inputs, 5.0)
        boxes = np.ones((2, 5), np.float32)
        with pytest.raises(InputError, match="rejected"):
            client.transport.predict(
                "align_jpeg", {"photos": np.array(PHOTOS[:2], object), "boxes": boxes}, 5.0
            )
        # And it continues.
        assert client.predict(make_crops(1)).landmarks.shape == (1, 68, 3)


def test_a_model_that_is_not_served(double: ServingDouble, protocol: str) -> None:
    with (
        connect(double, protocol, model="none") as client,
        pytest.raises(InputError, match=r"model none: rejected \((NOT_FOUND|404)\): Servable not found"),
    ):
        client.align(PHOTOS, BOXES)


def test_messages_too_large_for_client_or_server(models: dict[str, Path]) -> None:
    double = ServingDouble({"tiny": models["tiny"]}, max_bytes=20_000).start()
    try:
        large = encode(noise_photo(0, 400, 300), "PNG")
        assert len(large) > 20_000
        with connect(double) as client:
            with pytest.raises(InputError, match=r"rejected \(RESOURCE_EXHAUSTED\): .*larger than max"):
                client.align([large], BOXES[:1])
            assert client.align(PHOTOS[:1], BOXES[:1]).landmarks.shape == (1, 68, 3)
        with connect(double, max_bytes=15_000) as client, pytest.raises(InputError, match="photo 1: found"):
            client.align([PHOTOS[0], large], BOXES[:2])
    finally:
        double.stop()


def test_requests_are_split_by_bytes(double: ServingDouble) -> None:
    with connect(double, max_bytes=2 * max(map(len, PHOTOS))) as client:
        parts = list(client.split(PHOTOS))
        found = client.align(PHOTOS, BOXES).landmarks
    assert 4 <= len(parts) < len(PHOTOS)
    assert [index for part in parts for index in range(part.start, part.stop)] == list(range(len(PHOTOS)))
    with connect(double) as client:
        np.testing.assert_allclose(found, client.align(PHOTOS, BOXES).landmarks, atol=1e-3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"address": "localhost"}, "expected HOST:PORT"),
        ({"address": ":8500"}, "expected HOST:PORT"),
        ({"address": "a:b"}, "expected HOST:PORT"),
        ({"address": "a:1", "timeout": 0.0}, "timeout: found 0.0"),
        ({"address": "a:1", "batch": 0}, "batch: found 0"),
    ],
)
def test_options_that_are_none(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        ServerConfig(**options)


# Bad times


def test_a_slow_server(double: ServingDouble, protocol: str) -> None:
    with connect(double, protocol) as patient:
        assert patient.input_size == SIZE
        double.delay = 4.0
        with connect(double, protocol, timeout=0.4) as client:
            began = time.monotonic()
            with pytest.raises(ServerError, match=r"found no answer within 0\.4 s"):
                client.predict(make_crops(1))
            assert time.monotonic() - began < 3.5
        double.delay = 0.2
        assert patient.predict(make_crops(1)).landmarks.shape == (1, 68, 3)


def test_an_overloaded_server_is_asked_again(double: ServingDouble, protocol: str) -> None:
    with connect(double, protocol) as client:
        double.failures = 3
        assert client.predict(make_crops(1)).landmarks.shape == (1, 68, 3)
    assert double.requests == 4


def test_no_server(double: ServingDouble, protocol: str) -> None:
    prefix = "http://" if protocol == "REST" else ""
    with Client(ServerConfig(f"{prefix}127.0.0.1:9", "tiny", timeout=0.5)) as client:
        began = time.monotonic()
        with pytest.raises(ServerError, match=r"server .*127.0.0.1:9: found no server within 0.5 s"):
            client.predict(make_crops(1))
        assert time.monotonic() - began < 5.0


def test_a_long_wait_for_a_server_is_announced_once(
    double: ServingDouble, protocol: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "ANNOUNCED_AFTER", 15.0)
    with connect(double, protocol) as client:
        double.failures = 2
        client.predict(make_crops(1))
    assert not caplog.messages
    monkeypatch.setattr(server, "ANNOUNCED_AFTER", 0.2)
    prefix = "http://" if protocol == "REST" else ""
    address = f"{prefix}127.0.0.1:9"
    with Client(ServerConfig(address, "tiny", timeout=1.5)) as client, pytest.raises(ServerError):
        client.predict(make_crops(1))
    assert caplog.messages == [f"server {address}: found no server so far, trying for 1.5 s"]


def test_rest_to_the_port_of_grpc(double: ServingDouble) -> None:
    config = ServerConfig(f"http://127.0.0.1:{double.port}", "tiny", timeout=0.5)
    with Client(config) as client, pytest.raises(ServerError, match=r"not HTTP.*8501.*gRPC.*8500"):
        client.predict(make_crops(1))


@pytest.mark.parametrize("protocol", ["gRPC", pytest.param("REST", marks=pytest.mark.slow)])
def test_a_killed_server_that_comes_back(
    models: dict[str, Path], local: SavedModelPredictor, protocol: str
) -> None:
    double = ServingDouble({"tiny": models["tiny"]}).start()
    expected = local.predict(make_crops(1)).landmarks
    stop = threading.Event()
    back = threading.Event()

    def keep_asking(client: Client) -> None:
        answered_since = 0
        while not (stop.is_set() or answered_since == 2):
            np.testing.assert_allclose(client.predict(make_crops(1)).landmarks, expected, atol=1e-3)
            answered_since += back.is_set()

    try:
        with connect(double, protocol) as client, ThreadPoolExecutor(4) as pool:
            client.predict(make_crops(1))
            double.delay = 0.2  # so that requests are under way when it is killed
            callers = [pool.submit(keep_asking, client) for _ in range(4)]
            for _ in range(2):
                time.sleep(0.5)
                double.stop()
                time.sleep(0.5)
                double.start()
            back.set()
            for caller in callers:
                caller.result(timeout=60.0)
    finally:
        stop.set()
        double.stop()


def test_the_health_check_of_the_compose_file(double: ServingDouble) -> None:
    text = (Path(__file__).parents[3] / "serving" / "compose.yaml").read_text()
    lines = text[text.index("exec 3<>") : text.index("      interval:")].split("\n")
    check = " ".join(line.strip() for line in lines).replace("8501", str(double.rest_port))
    for model, healthy in (("tiny", True), ("none", False)):
        command = ["bash", "-c", check.replace("fast_dhm", model)]
        done = subprocess.run(command, check=False, capture_output=True, timeout=20.0)
        assert (done.returncode == 0) == healthy


# Under load


def check_many(client: Client, requests: int) -> None:
    """Send requests from 64 threads; each answer must be that of its own photo and box."""
    photos = [encode(noise_photo(seed)) for seed in range(50)]
    rng = np.random.default_rng(0)
    boxes = random_boxes(rng, 60, 50, len(photos))
    expected = client.align(photos, boxes)
    assert len(np.unique(expected.landmarks[:, 0, 0].round(1))) > 45

    def ask(index: int) -> int:
        picks = np.random.default_rng(index).integers(0, len(photos), 1 + index % 2)
        answer = client.align([photos[pick] for pick in picks], boxes[picks])
        np.testing.assert_allclose(answer.landmarks, expected.landmarks[picks], atol=0.01)
        return index

    with ThreadPoolExecutor(64) as pool:
        assert list(pool.map(ask, range(requests))) == list(range(requests))


def test_answers_go_to_who_asked(double: ServingDouble, protocol: str) -> None:
    with connect(double, protocol, timeout=60.0) as client:
        check_many(client, 200)


@pytest.mark.slow
def test_ten_thousand_requests(double: ServingDouble) -> None:
    with connect(double, timeout=120.0) as client:
        check_many(client, 10_000)
    assert double.requests >= 10_000


def test_rest_answers_of_a_broken_photo_are_json(double: ServingDouble) -> None:
    """Other languages reject the token NaN."""

    def reject(token: str) -> float:
        raise AssertionError(f"found {token} in the answer")

    with connect(double, "REST") as client:
        assert isinstance(client.transport, RestTransport)
        photos = [{"b64": base64.b64encode(photo).decode()} for photo in (PHOTOS[0], b"no photo")]
        body: Any = {
            "signature_name": "align_jpeg",
            "inputs": {"photos": photos, "boxes": BOXES[:2].tolist()},
        }
        response = client.transport.session.post(f"{client.transport.url}:predict", json=body)
    outputs = json.loads(response.text, parse_constant=reject)["outputs"]
    good, broken = outputs["confidence"]
    assert good > 0
    assert broken == 0


class Answering:
    """A transport that answers with fixed outputs."""

    def __init__(self, client: Client, outputs: dict[str, NDArray[np.float32]]) -> None:
        self.config, self.name, self.outputs = client.config, "server", outputs
        self.signatures, self.close = client.transport.signatures, client.transport.close

    def predict(
        self, signature: str, inputs: dict[str, Any], timeout: float
    ) -> dict[str, NDArray[np.float32]]:
        return self.outputs


@pytest.mark.parametrize("broken", [np.nan, 0.0])
def test_both_forms_of_no_face(double: ServingDouble, broken: float) -> None:
    generator = np.random.default_rng(0)
    outputs = {
        "landmarks": generator.uniform(1, 30, (2, 68, 3)).astype(np.float32),
        "pose": np.ones((2, 3), np.float32),
        "visibility": np.ones((2, 68), np.float32),
        "confidence": np.ones(2, np.float32),
    }
    for name, output in outputs.items():
        output[1] = 0.0 if name == "confidence" else broken
    with connect(double, "REST") as client:
        assert "refine" in client.signatures  # read before the transport is replaced
        client.transport = Answering(client, outputs)  # type: ignore[assignment]
        answer = client.align(PHOTOS[:2], BOXES[:2])
        assert answer.confidence is not None
        assert answer.confidence.tolist() == [1, 0]
        np.testing.assert_array_equal(answer.landmarks[0], outputs["landmarks"][0])
        assert np.isnan(answer.landmarks[1]).all()
        assert np.isnan(answer.pose[1]).all()
        # Aligned crop by crop the face has finite numbers, a pose and no confidence.
        photo = np.zeros((60, 60, 3), np.uint8)
        sure, none = Aligner(client, passes=1).align(photo, [[5, 5, 50, 50], [5, 5, 50, 50]])
        assert (sure.confidence, none.confidence) == (1.0, 0.0)
        assert np.isfinite(none.landmarks).all()
        assert np.isfinite(none.pose).all()
