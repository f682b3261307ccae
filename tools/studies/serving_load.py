"""Measure throughput and latency of a server, by concurrency and batch.

    python -m tools.studies.serving_load --server.address localhost:8500 --local savedmodels/fast_dhm_m \\
        --output-dir docs/tables
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from tf_dhm.core.cli import run_script

import numpy as np
import pandas as pd

from tf_dhm.core.command_line import parse_options
from tf_dhm.core.configuration import AtLeastOne, Positive, check_fields
from tf_dhm.core.errors import InputError
from tf_dhm.core.files import atomic_write
from tf_dhm.core.markdown import format_cell, markdown_table
from tf_dhm.core.progress import Progress
from tf_dhm.runtime.crops import cut_crops
from tf_dhm.runtime.images import read_photo
from tf_dhm.runtime.server import Client
from tf_dhm.runtime.store import find_savedmodel
from tf_dhm.runtime.transport import ServerConfig
from tools.studies.photo import PHOTO


@dataclass(frozen=True)
class LoadConfig:
    """Drive a TF Serving with photos, and report throughput and latency by concurrency and batch.

    With `--local` the same requests also run in this process, alone and one at a time; by them the
    latency at concurrency 1 is split into network, decoding and cropping, and model.
    """

    server: ServerConfig
    """Server of the model."""
    output_dir: Path
    """Folder for serving_load.csv and, with --local, serving_parts.csv."""
    photo: Path = PHOTO
    """JPEG or PNG that is sent."""
    box: tuple[float, float, float, float] = (180.0, 70.0, 270.0, 180.0)
    """Landmark box of the face on it."""
    signatures: tuple[Literal["align_jpeg", "serving_default"], ...] = ("align_jpeg", "serving_default")
    """Encoded photos, or crops that were cut here."""
    concurrency: tuple[AtLeastOne, ...] = (1, 4, 16, 64)
    """Numbers of concurrent requests."""
    batch: tuple[AtLeastOne, ...] = (1, 8, 32)
    """Photos in each request."""
    seconds: Positive = 5.0
    """Seconds of each measurement, after a warm-up of a fifth as long."""
    local: Path | None = None
    """The same model on this machine; with it the parts of the latency are measured."""

    def __post_init__(self) -> None:
        check_fields(self)
        if max(self.batch) > self.server.batch:
            raise InputError(
                f"batch: found {max(self.batch)}, expected at most server.batch {self.server.batch}"
            )


def make_requests(config: LoadConfig, size: int) -> dict[str, Callable[[int], dict[str, np.ndarray]]]:
    """Signature -> inputs of a request of `count` photos."""
    photo = config.photo.read_bytes()
    crop, _ = cut_crops(read_photo(photo).pixels, config.box, size)
    boxes = np.array([config.box], np.float32)
    return {
        "align_jpeg": lambda count: {
            "photos": np.array([photo] * count, object),
            "boxes": boxes.repeat(count, 0),
        },
        "serving_default": lambda count: {"crops": crop.repeat(count, 0)},
    }


def drive(call: Callable[[], object], concurrency: int, seconds: float) -> tuple[list[float], float]:
    """Call from `concurrency` threads for `seconds`, and longer until every thread has measured a call.

    Returns:
        the seconds of each call that began after the warm-up (a fifth of `seconds`), and the seconds
        from the start of the first of these calls to the end of the last.
    """
    begin = time.perf_counter() + seconds / 5
    stop = threading.Event()

    def work() -> list[tuple[float, float]]:
        calls: list[tuple[float, float]] = []
        while not (stop.is_set() and calls):
            start = time.perf_counter()
            call()
            if start >= begin:
                calls.append((start, time.perf_counter()))
        return calls

    with ThreadPoolExecutor(concurrency) as pool:
        results = [pool.submit(work) for _ in range(concurrency)]
        time.sleep(1.2 * seconds)
        stop.set()
        calls = [call for result in results for call in result.result()]
    return [end - start for start, end in calls], max(end for _, end in calls) - min(
        start for start, _ in calls
    )


def row(call: Callable[[], object], concurrency: int, batch: int, seconds: float) -> dict[str, Any]:
    latencies, length = drive(call, concurrency, seconds)
    p50, p95, p99 = 1000 * np.percentile(latencies, [50, 95, 99])
    requests = len(latencies)
    rates = {"requests/s": requests / length, "photos/s": requests * batch / length}
    return {**rates, "p50 ms": p50, "p95 ms": p95, "p99 ms": p99, "requests": requests}


def measure(config: LoadConfig) -> tuple[pd.DataFrame, pd.DataFrame | None]:
    """Load by concurrency and batch, and, with `local`, the parts of the latency."""
    rows = []
    with Client(config.server) as client:
        requests = make_requests(config, client.input_size)

        def served(signature: str, batch: int) -> Callable[[], object]:
            inputs = requests[signature](batch)
            part = slice(0, batch)
            return lambda: client.request_in_parts(signature, inputs, [part])

        settings = [
            (signature, concurrency, batch)
            for signature in config.signatures
            for concurrency in config.concurrency
            for batch in config.batch
        ]
        for signature, concurrency, batch in Progress(settings, unit=" settings"):
            found = row(served(signature, batch), concurrency, batch, config.seconds)
            rows.append({"signature": signature, "concurrency": concurrency, "batch": batch, **found})
        parts = None if config.local is None else split(config, served, requests)
    return pd.DataFrame(rows), parts


def split(
    config: LoadConfig,
    served: Callable[[str, int], Callable[[], object]],
    requests: dict[str, Callable[[int], dict[str, np.ndarray]]],
) -> pd.DataFrame:
    """The parts of the median latency of `align_jpeg` at concurrency 1."""
    import tensorflow as tf

    assert config.local is not None
    signatures = tf.saved_model.load(str(find_savedmodel(config.local))).signatures
    rows = []
    for batch in config.batch:

        def local(signature: str, batch: int = batch) -> Callable[[], object]:
            inputs = {name: tf.constant(value) for name, value in requests[signature](batch).items()}
            return lambda: signatures[signature](**inputs)

        calls = (served("align_jpeg", batch), local("align_jpeg"), local("serving_default"))
        whole, graph, model = (row(call, 1, batch, config.seconds)["p50 ms"] for call in calls)
        parts = {"network ms": whole - graph, "decode and crop ms": graph - model, "model ms": model}
        shares = {name.removesuffix(" ms") + " %": 100 * value / whole for name, value in parts.items()}
        rows.append({"batch": batch, "p50 ms": whole, **parts, **shares})
    return pd.DataFrame(rows)


def measure_load(config: LoadConfig) -> None:
    """Measure, write the tables to the output folder, and print them."""
    load, parts = measure(config)
    for name, table in (("serving_load", load), ("serving_parts", parts)):
        if table is not None:
            rows = table.to_dict("records")
            cells = [{str(column): format_cell(value) for column, value in row.items()} for row in rows]
            with atomic_write(config.output_dir / f"{name}.csv") as path:
                pd.DataFrame(cells).to_csv(path, index=False)
            print(markdown_table(cells))


def main() -> None:
    measure_load(parse_options(LoadConfig, description=__doc__))


if __name__ == "__main__":
    run_script(main)
