"""How requests travel to TF Serving: gRPC or REST, and what can go wrong on the way."""

from __future__ import annotations

import base64
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tf_dhm.core.configuration import AtLeastOne, Count, Positive, check_fields
from tf_dhm.core.errors import InputError
from tf_dhm.core.extras import packages_of
from tf_dhm.runtime.store import DEFAULT_MODEL

with packages_of("serving", __name__):
    import grpc
    import requests

Arrays = dict[str, np.ndarray]

FIRST_WAIT, LONGEST_WAIT = 0.05, 1.0
"""Seconds before a request that met no server is sent again: at first, and at most."""


NOT_HTTP_HINT = (
    "; the answer is not HTTP: REST is on port 8501 by default; for gRPC, on port 8500, give HOST:8500 "
    "without http://"
)
"""Added to the error of a REST request that met another protocol."""


class ServerError(InputError):
    """No server is there, or it does not answer in time."""


class UnavailableError(Exception):
    """A request was not served for now, and may be sent again."""


@dataclass(frozen=True)
class ServerConfig:
    """The address of a served model, and the limits of requests.

    Attributes:
        address: HOST:PORT of gRPC, or http://HOST:PORT or https://HOST:PORT of REST.
        model: the name it is served under.
        version: of the model; None: what the server takes for the newest.
        timeout: seconds for a request, repeated attempts counted in.
        batch: most photos or crops in a request.
        max_bytes: most bytes of photos in a request.
        certificate: file of the authority that signed the server's certificate; with it gRPC is
            encrypted, and REST trusts it in place of the system's authorities.
    """

    address: str
    model: str = DEFAULT_MODEL
    version: Count | None = None
    timeout: Positive = 10.0
    batch: AtLeastOne = 32
    max_bytes: AtLeastOne = 16 * 2**20
    certificate: Path | None = None

    def __post_init__(self) -> None:
        check_fields(self)
        host, colon, port = self.address.rpartition("://")[2].rpartition(":")
        if not (host and colon and port.isdecimal()) and not self.is_rest:
            raise InputError(f"server {self.address!r}: expected HOST:PORT, or a URL for REST")

    @property
    def is_rest(self) -> bool:
        return self.address.startswith(("http://", "https://"))


class Transport(ABC):
    """How requests travel. Each method raises UnavailableError if another attempt may succeed."""

    def __init__(self, config: ServerConfig) -> None:
        self.config = config
        self.name = f"server {config.address}"

    @abstractmethod
    def predict(self, signature: str, inputs: Arrays, timeout: float) -> Arrays:
        """Run a signature of the model."""

    @abstractmethod
    def signatures(self, timeout: float) -> dict[str, Any]:
        """The model's signatures, as JSON of the proto SignatureDefMap."""

    @abstractmethod
    def versions(self, timeout: float) -> dict[int, str]:
        """State of each version of the model that the server knows, as AVAILABLE."""

    @abstractmethod
    def close(self) -> None:
        """Close connections."""

    def silent(self) -> ServerError:
        return ServerError(f"{self.name}: found no answer within {self.config.timeout:g} s")

    def rejection(self, code: str, message: str) -> InputError:
        return InputError(f"{self.name}, model {self.config.model}: rejected ({code}): {message}")


class GrpcTransport(Transport):
    """gRPC, as TF Serving offers it on port 8500."""

    def __init__(self, config: ServerConfig) -> None:
        super().__init__(config)
        # Imported here: they load TensorFlow, which REST does without.
        from tensorflow_serving.apis import model_service_pb2_grpc, prediction_service_pb2_grpc

        options = [
            ("grpc.max_send_message_length", -1),  # `max_bytes` bounds requests
            ("grpc.max_receive_message_length", -1),
            ("grpc.lb_policy_name", "round_robin"),  # over all addresses that the name stands for
            # A server that comes back is found again soon.
            ("grpc.initial_reconnect_backoff_ms", round(1000 * FIRST_WAIT)),
            ("grpc.min_reconnect_backoff_ms", round(1000 * FIRST_WAIT)),
            ("grpc.max_reconnect_backoff_ms", round(1000 * LONGEST_WAIT)),
        ]
        if config.certificate is None:
            self.channel = grpc.insecure_channel(config.address, options)
        else:
            credentials = grpc.ssl_channel_credentials(config.certificate.read_bytes())
            self.channel = grpc.secure_channel(config.address, credentials, options)
        self.prediction = prediction_service_pb2_grpc.PredictionServiceStub(self.channel)
        self.service = model_service_pb2_grpc.ModelServiceStub(self.channel)

    def predict(self, signature: str, inputs: Arrays, timeout: float) -> Arrays:
        import tensorflow as tf
        from tensorflow_serving.apis import predict_pb2

        request = predict_pb2.PredictRequest()
        self.specify(request)
        request.model_spec.signature_name = signature
        for name, value in inputs.items():
            request.inputs[name].CopyFrom(tf.make_tensor_proto(value))
        response = self.call(self.prediction.Predict, request, timeout)
        return {name: tf.make_ndarray(proto) for name, proto in response.outputs.items()}

    def signatures(self, timeout: float) -> dict[str, Any]:
        from google.protobuf import json_format
        from tensorflow_serving.apis import get_model_metadata_pb2

        request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
        self.specify(request)
        response = self.call(self.prediction.GetModelMetadata, request, timeout)
        signatures = get_model_metadata_pb2.SignatureDefMap()
        response.metadata["signature_def"].Unpack(signatures)
        return json_format.MessageToDict(signatures, preserving_proto_field_name=True)

    def versions(self, timeout: float) -> dict[int, str]:
        from tensorflow_serving.apis import get_model_status_pb2

        request = get_model_status_pb2.GetModelStatusRequest()
        self.specify(request)
        states = get_model_status_pb2.ModelVersionStatus.State
        response = self.call(self.service.GetModelStatus, request, timeout)
        return {status.version: states.Name(status.state) for status in response.model_version_status}

    def specify(self, request: Any) -> None:
        request.model_spec.name = self.config.model
        if self.config.version is not None:
            request.model_spec.version.value = self.config.version

    def call(self, method: Any, request: Any, timeout: float) -> Any:
        try:
            return method(request, timeout=timeout)
        except grpc.RpcError as error:
            code, details = error.code(), error.details()
            # A server that is stopped cancels what it is working on.
            if code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED):
                raise UnavailableError(details) from error
            if code == grpc.StatusCode.DEADLINE_EXCEEDED:
                raise self.silent() from error
            raise self.rejection(code.name, details) from error

    def close(self) -> None:
        self.channel.close()


class RestTransport(Transport):
    """REST, as TF Serving offers it on port 8501."""

    def __init__(self, config: ServerConfig) -> None:
        super().__init__(config)
        version = "" if config.version is None else f"/versions/{config.version}"
        self.url = f"{config.address.rstrip('/')}/v1/models/{config.model}{version}"
        self.session = requests.Session()
        # A connection for each of many threads.
        self.session.mount(config.address, requests.adapters.HTTPAdapter(pool_maxsize=64))
        if config.certificate is not None:
            self.session.verify = str(config.certificate)

    def predict(self, signature: str, inputs: Arrays, timeout: float) -> Arrays:
        columns = {name: to_json(value) for name, value in inputs.items()}
        body = {"signature_name": signature, "inputs": columns}
        outputs = self.call("POST", f"{self.url}:predict", timeout, json=body)["outputs"]
        return {name: np.asarray(value, np.float32) for name, value in outputs.items()}

    def signatures(self, timeout: float) -> dict[str, Any]:
        return self.call("GET", f"{self.url}/metadata", timeout)["metadata"]["signature_def"]

    def versions(self, timeout: float) -> dict[int, str]:
        statuses = self.call("GET", self.url, timeout)["model_version_status"]
        return {int(status["version"]): status["state"] for status in statuses}

    def call(self, method: str, url: str, timeout: float, **options: Any) -> Any:
        try:
            response = self.session.request(method, url, timeout=timeout, **options)
        except requests.exceptions.InvalidJSONError as error:
            raise InputError(f"{self.name}: NaN and infinite numbers cannot be sent over REST") from error
        except (requests.ConnectionError, requests.exceptions.ChunkedEncodingError) as error:
            hint = NOT_HTTP_HINT if "BadStatusLine" in str(error) else ""
            raise UnavailableError(f"{error}{hint}") from error
        except requests.Timeout as error:
            raise self.silent() from error
        if response.status_code == requests.codes.service_unavailable:
            raise UnavailableError(response.text)
        if response.status_code == requests.codes.gateway_timeout:
            raise self.silent()
        try:
            answer = response.json()
        except requests.JSONDecodeError as error:
            raise self.rejection(str(response.status_code), response.text[:200]) from error
        if not response.ok:
            raise self.rejection(str(response.status_code), answer.get("error", ""))
        return answer

    def close(self) -> None:
        self.session.close()


def to_json(value: np.ndarray) -> Any:
    """An array as the REST interface takes it: bytes in base 64."""
    if value.dtype == object:
        return [{"b64": base64.b64encode(item).decode()} for item in value]
    return value.tolist()
