"""A test double for the network: a small server that speaks TF Serving's protocols over SavedModels.

Not TF Serving: it implements PredictionService and ModelService (gRPC) and their REST form from the
official protos, and runs the signatures in TensorFlow's C++ session, as TF Serving does. No batching
over requests, no polling for new versions.

    python -m tests.serving_double savedmodels --port 8500 --rest-port 8501
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import grpc
import numpy as np
import tensorflow as tf
from google.protobuf import json_format
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

Arrays = dict[str, np.ndarray]
CODES = {code.value[0]: code for code in grpc.StatusCode}
HTTP = {
    grpc.StatusCode.NOT_FOUND: 404,
    grpc.StatusCode.UNAVAILABLE: 503,
    grpc.StatusCode.FAILED_PRECONDITION: 412,
    grpc.StatusCode.RESOURCE_EXHAUSTED: 429,
    grpc.StatusCode.INTERNAL: 500,
}


class ServingError(Exception):
    """An answer that is an error."""

    def __init__(self, code: grpc.StatusCode, message: str) -> None:
        super().__init__(message)
        self.code = code


class Version:
    """One version of a model in a C++ session."""

    def __init__(self, folder: Path) -> None:
        self.session = tf.compat.v1.Session(graph=tf.Graph())
        with self.session.graph.as_default():
            meta = tf.compat.v1.saved_model.load(self.session, ["serve"], str(folder))
        hidden = "__saved_model_init_op"
        self.signatures = {name: value for name, value in meta.signature_def.items() if name != hidden}
        self.calls = {}
        for name, signature in self.signatures.items():
            fetches = {key: info.name for key, info in signature.outputs.items()}
            feeds = [info.name for info in signature.inputs.values()]
            self.calls[name] = self.session.make_callable(fetches, feeds)

    def predict(self, signature: str, inputs: Arrays) -> Arrays:
        name = signature or "serving_default"
        if name not in self.signatures:
            raise ServingError(grpc.StatusCode.INVALID_ARGUMENT, f'Serving signature key "{name}" not found.')
        expected = self.signatures[name].inputs
        if set(inputs) != set(expected):
            raise ServingError(
                grpc.StatusCode.INVALID_ARGUMENT,
                f"input keys {sorted(inputs)} do not match those of the signature {sorted(expected)}",
            )
        for key, info in expected.items():
            if tf.as_dtype(inputs[key].dtype) != tf.as_dtype(info.dtype):
                message = f"{key} has dtype {inputs[key].dtype}, expected {tf.as_dtype(info.dtype).name}"
                raise ServingError(grpc.StatusCode.INVALID_ARGUMENT, message)
        try:
            return self.calls[name](*(inputs[key] for key in expected))
        except ValueError as error:  # a shape that does not fit the placeholder
            raise ServingError(grpc.StatusCode.INVALID_ARGUMENT, str(error)) from error
        except tf.errors.OpError as error:
            raise ServingError(CODES[error.error_code], error.message) from error


class ServingDouble(
    prediction_service_pb2_grpc.PredictionServiceServicer, model_service_pb2_grpc.ModelServiceServicer
):
    """Serves the newest version, and any other that is asked for, of models.

    Args:
        models: name -> model folder.
        workers: threads of gRPC.
        max_bytes: of a gRPC request.

    Attributes:
        port, rest_port: once started.
        delay: seconds that each prediction takes longer.
        failures: how many of the next predictions fail as unavailable.
        requests: predictions that were asked for.
    """

    def __init__(self, models: dict[str, Path], workers: int = 16, max_bytes: int = -1) -> None:
        self.models = {
            name: {int(p.name): Version(p) for p in sorted(folder.iterdir()) if p.name.isdecimal()}
            for name, folder in models.items()
        }
        self.workers, self.max_bytes = workers, max_bytes
        self.delay, self.failures, self.requests = 0.0, 0, 0
        self.port = self.rest_port = 0
        self.lock = threading.Lock()

    def start(self, host: str = "127.0.0.1", port: int = 0, rest_port: int = 0) -> ServingDouble:
        """Listen on the ports, or on free ones; after `stop` on those it had."""
        options = [("grpc.max_receive_message_length", self.max_bytes), ("grpc.so_reuseport", 0)]
        self.server = grpc.server(ThreadPoolExecutor(self.workers), options=options)
        prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(self, self.server)
        model_service_pb2_grpc.add_ModelServiceServicer_to_server(self, self.server)
        self.port = self.server.add_insecure_port(f"{host}:{port or self.port}")
        self.server.start()
        self.rest = RestServer((host, rest_port or self.rest_port), self)
        self.rest_port = self.rest.server_address[1]
        threading.Thread(target=self.rest.serve_forever, daemon=True).start()
        return self

    def stop(self) -> None:
        """Drop all connections and pending requests, as a killed server does."""
        self.server.stop(None).wait()
        self.rest.shutdown()
        self.rest.drop()

    # What both protocols ask for

    def find(self, name: str, version: int | None) -> tuple[int, Version]:
        if name not in self.models:
            raise ServingError(grpc.StatusCode.NOT_FOUND, f"Servable not found for request: Latest({name})")
        number = max(self.models[name]) if version is None else version
        if number not in self.models[name]:
            raise ServingError(
                grpc.StatusCode.NOT_FOUND, f"Servable not found for request: Specific({name}, {number})"
            )
        return number, self.models[name][number]

    def predict(self, name: str, version: int | None, signature: str, inputs: Arrays) -> tuple[int, Arrays]:
        with self.lock:
            self.requests += 1
            self.failures -= (fails := self.failures > 0)
        if fails:
            raise ServingError(grpc.StatusCode.UNAVAILABLE, "The batch scheduling queue is full")
        time.sleep(self.delay)
        number, model = self.find(name, version)
        return number, model.predict(signature, inputs)

    def signature_map(self, name: str, version: int | None) -> Any:
        signatures = get_model_metadata_pb2.SignatureDefMap()
        for key, value in self.find(name, version)[1].signatures.items():
            signatures.signature_def[key].CopyFrom(value)
        return signatures

    def status(self, name: str, version: int | None) -> Any:
        self.find(name, version)
        response = get_model_status_pb2.GetModelStatusResponse()
        for number in self.models[name] if version is None else [version]:
            status = response.model_version_status.add(version=number)
            status.state = get_model_status_pb2.ModelVersionStatus.AVAILABLE
        return response

    # gRPC

    def Predict(self, request: Any, context: grpc.ServicerContext) -> Any:
        try:
            inputs = {name: tf.make_ndarray(proto) for name, proto in request.inputs.items()}
            spec = request.model_spec
            number, outputs = self.predict(spec.name, version_of(spec), spec.signature_name, inputs)
        except ServingError as error:
            context.abort(error.code, str(error))
        except (ValueError, TypeError) as error:  # a tensor whose bytes do not fit its shape
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
        response = predict_pb2.PredictResponse()
        response.model_spec.name = spec.name
        response.model_spec.version.value = number
        response.model_spec.signature_name = spec.signature_name
        for name, value in outputs.items():
            response.outputs[name].CopyFrom(tf.make_tensor_proto(value))
        return response

    def GetModelMetadata(self, request: Any, context: grpc.ServicerContext) -> Any:
        response = get_model_metadata_pb2.GetModelMetadataResponse()
        try:
            signatures = self.signature_map(request.model_spec.name, version_of(request.model_spec))
        except ServingError as error:
            context.abort(error.code, str(error))
        response.metadata["signature_def"].Pack(signatures)
        return response

    def GetModelStatus(self, request: Any, context: grpc.ServicerContext) -> Any:
        try:
            return self.status(request.model_spec.name, version_of(request.model_spec))
        except ServingError as error:
            context.abort(error.code, str(error))


def version_of(spec: Any) -> int | None:
    return spec.version.value if spec.HasField("version") else None


class RestServer(ThreadingHTTPServer):
    """The REST interface."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], double: ServingDouble) -> None:
        self.double = double
        self.connections: set[socket.socket] = set()
        super().__init__(address, RestHandler)

    def process_request(self, request: Any, client_address: Any) -> None:
        self.connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self.connections.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is none."""

    def drop(self) -> None:
        self.server_close()
        for connection in list(self.connections):
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue  # it is closed


class RestHandler(BaseHTTPRequestHandler):
    """/v1/models/NAME[/versions/VERSION][/metadata] and :predict with columns ("inputs")."""

    protocol_version = "HTTP/1.1"
    server: RestServer

    def do_GET(self) -> None:
        self.reply(lambda: self.get(self.path))

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.reply(lambda: self.predict(self.path, body))

    def get(self, path: str) -> Any:
        metadata = path.endswith("/metadata")
        name, version = split_path(path.removesuffix("/metadata"))
        if not metadata:
            return proto_to_json(self.server.double.status(name, version))
        signatures = proto_to_json(self.server.double.signature_map(name, version))
        return {"model_spec": {"name": name}, "metadata": {"signature_def": signatures}}

    def predict(self, path: str, body: bytes) -> Any:
        name, version = split_path(path.removesuffix(":predict"))
        request = json.loads(body)
        signature = request.get("signature_name", "serving_default")
        _, model = self.server.double.find(name, version)
        if signature not in model.signatures:
            raise ServingError(grpc.StatusCode.INVALID_ARGUMENT, f"no signature {signature}")
        expected = model.signatures[signature].inputs
        inputs = {
            key: from_json(value, tf.as_dtype(expected[key].dtype))
            for key, value in request["inputs"].items()
            if key in expected
        }
        _, outputs = self.server.double.predict(name, version, signature, inputs)
        return {"outputs": {key: value.tolist() for key, value in outputs.items()}}

    def reply(self, answer: Any) -> None:
        try:
            code, body = 200, answer()
        except ServingError as error:
            code, body = HTTP.get(error.code, 400), {"error": str(error)}
        except (ValueError, KeyError, TypeError) as error:
            code, body = 400, {"error": f"JSON: {error}"}
        content = json.dumps(body).encode()  # NaN as NaN, as TF Serving writes it
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing."""


def split_path(path: str) -> tuple[str, int | None]:
    prefix, _, rest = path.partition("/v1/models/")
    name, slash, version = rest.partition("/versions/")
    if prefix or "/" in name or (slash and not version.isdecimal()):
        raise ServingError(grpc.StatusCode.NOT_FOUND, f"Malformed request: {path}")
    return name, int(version) if slash else None


def proto_to_json(message: Any) -> Any:
    return json_format.MessageToDict(message, preserving_proto_field_name=True)


def from_json(value: Any, dtype: tf.DType) -> np.ndarray:
    if dtype == tf.string:
        return np.array([base64.b64decode(item["b64"]) for item in value], object)
    array = np.array(value)
    if dtype.is_integer and not np.issubdtype(array.dtype, np.integer):
        raise ValueError(f"found {array.dtype}, expected {dtype.name}")
    return array.astype(dtype.as_numpy_dtype)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="of model folders")
    parser.add_argument("--port", type=int, default=8500)
    parser.add_argument("--rest-port", type=int, default=8501)
    options = parser.parse_args()
    folders = {p.name: p for p in options.folder.iterdir() if p.is_dir()}
    double = ServingDouble(folders).start("127.0.0.1", options.port, options.rest_port)
    print(f"gRPC on {double.port}, REST on {double.rest_port}", flush=True)
    double.server.wait_for_termination()


if __name__ == "__main__":
    main()
