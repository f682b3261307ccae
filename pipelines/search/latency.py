"""Latency of the networks of a search, relative to MediaPipe's network."""

from __future__ import annotations

import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from filelock import FileLock

from pipelines.runs.checks import EXPORT_FOLDER
from pipelines.search.options import TuneConfig
from pipelines.search.trials import RESULT_FILE, read_table, trained, write_json, write_table
from tf_dhm.evaluation.benchmark import REFERENCE
from tf_dhm.evaluation.entries import model_size
from tf_dhm.evaluation.network_cases import tflite_case
from tf_dhm.evaluation.peers.face_landmark import mediapipe_file
from tf_dhm.evaluation.timing import Case, take_turns
from tf_dhm.export import tflite as tflite_export
from tf_dhm.export.description import read_description
from tf_dhm.face import metrics
from tf_dhm.runtime.store import find_savedmodel

LATENCY_ROUNDS, LATENCY_TURN_SECONDS = 20, 0.02
"""Rounds, and seconds of each turn of the trial's network and of the reference: 200 or more calls of each."""
MARKED_FILE = "marked.json"


def measure_latency(version_dir: Path, output_dir: Path) -> dict[str, float]:
    """Time a model's TFLite file on one thread, beside MediaPipe's network in the same pass.

    Args:
        version_dir: the exported model.
        output_dir: of the search; a lock in it keeps two workers of one machine from timing at once.

    Returns:
        latency_ratio, latency_ms, reference_ms: medians over 200 calls or more, and tflite_bytes.
    """

    def case(name: str, file: Path) -> Case:
        return tflite_case(name, file, "float32", batch=1, threads=1, runtime=None)

    with TemporaryDirectory() as folder, FileLock(output_dir / "latency.lock"):
        (contents,) = tflite_export.convert(version_dir, Path(folder), ("float32",), name="trial").values()
        network = case(REFERENCE, mediapipe_file())
        reference, own = take_turns(
            [(network, case("trial", contents.path))],
            LATENCY_ROUNDS,
            LATENCY_TURN_SECONDS,
            "timing",
        )
    return {
        "latency_ratio": own.ratio,
        "latency_ms": own.ms,
        "reference_ms": reference.ms,
        "tflite_bytes": contents.file_bytes,
    }


def time_again(config: TuneConfig) -> None:
    """Measure the latency of every trained trial again; its other results stay."""
    for row in trained(read_table(config.output_dir)).to_dict("records"):
        folder = config.output_dir / "trials" / row["trial"]
        version_dir = find_savedmodel(folder / EXPORT_FOLDER / config.preset)
        result = json.loads((folder / RESULT_FILE).read_text())
        write_json(folder / RESULT_FILE, result | measure_latency(version_dir, config.output_dir))
    write_table(config.output_dir)


def marked_models(config: TuneConfig) -> list[dict[str, Any]]:
    """Name, NME on `val`, latency and bytes of the models to mark, which are timed once.

    A model that was validated on another dataset has no place in the figure.
    """
    path = config.output_dir / MARKED_FILE
    before = {} if config.time_again or not path.is_file() else json.loads(path.read_text())
    found = {}
    for name in config.mark:
        description = read_description(find_savedmodel(name))
        if list(description.datasets) == [config.dataset]:
            found[name] = before.get(name) or {
                "nme": metrics.headline(description.val),
                "weight_bytes": model_size(find_savedmodel(name)).bytes,
                **measure_latency(find_savedmodel(name), config.output_dir),
            }
    write_json(path, found)
    return [{"name": name, **values} for name, values in found.items()]
