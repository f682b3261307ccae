"""Write the tables of errors in README.md, docs/accuracy.md, docs/peers.md and model cards.

    cp runs/evaluation/metrics.json docs/accuracy.json
    python -m tools.studies.accuracy_tables

docs/peers.json is the metrics.json of the command in docs/peers.md.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tf_dhm.core.cli import run_script

from tf_dhm.core.command_line import parse_options
from tf_dhm.core.configuration import check_fields
from tf_dhm.core.errors import InputError
from tf_dhm.core.markdown import fill_in, markdown_table
from tf_dhm.evaluation.boxes import DETECTED, row_name
from tf_dhm.evaluation.published import read_published
from tf_dhm.export.description import CARD_FILE, read_description
from tf_dhm.face import metrics
from tf_dhm.runtime.tflite import find_tflite
from tools.studies.speed_tables import read_benchmark

MARK, PEERS_MARK = "accuracy", "peers"
ORIGINAL = "original"
"""Label set, as rows of evaluate.py name it."""
FREE_DATA = {"synthetic"}
"""Datasets whose models may be used for any purpose."""
Results = dict[str, dict[str, dict[str, Any]]]
"""Model -> label set -> metric -> number."""
Rows = list[dict[str, object]]


@dataclass(frozen=True)
class ShortPeer:
    """A system of others in the short table.

    Attributes:
        name: in the table.
        evaluated: its name in the file of errors of peers, or in `published.csv`.
        timed: its name in the file of times; None if it is not timed.
        licence: of its weights.
    """

    name: str
    evaluated: str
    timed: str | None
    licence: str


SHORT_PEERS = (
    ShortPeer("3DDFA_V2 mb05", "3DDFA_V2 mb05 (ONNX Runtime)", "mb05_120x120", "MIT"),
    ShortPeer(
        "MediaPipe face mesh", "MediaPipe face_landmark (2 passes)", "mediapipe face_landmark", "Apache-2.0"
    ),
    ShortPeer("dlib", "dlib ERT", None, "research"),
)


@dataclass(frozen=True)
class TablesConfig:
    """The files of errors and times, and the documents with the tables."""

    metrics: Path = Path("docs/accuracy.json")
    """File metrics.json that evaluate.py wrote."""
    peers: Path = Path("docs/peers.json")
    """File metrics.json that evaluate.py --peers wrote, on the same images."""
    benchmark: Path = Path("docs/benchmark.json")
    """JSON file that benchmark.py wrote."""
    readme: Path = Path("README.md")
    """Document with the place of the short table: one row per model, mean of the yaw bins."""
    document: Path = Path("docs/accuracy.md")
    """Document with the place of the table of every row."""
    peers_document: Path = Path("docs/peers.md")
    """Document with the place of the table of peers."""
    models_dir: Path = Path("savedmodels")
    """Folder of the models, in whose cards is the place of a table of the model's rows."""
    models: tuple[str, ...] = (
        "fast_dhm_s",
        "fast_dhm_m",
        "fast_dhm_l",
        "fast_dhm",
        "fast_dhm_x2",
        "fast_dhm_synthetic",
    )
    """Rows of the short table, and models whose cards are filled in."""

    def __post_init__(self) -> None:
        check_fields(self)


def read_metrics(path: Path) -> Results:
    """The content of a metrics.json; InputError if evaluate.py did not write the file."""
    if not path.is_file():
        raise InputError(f"metrics: found no {path}, expected a metrics.json of evaluate.py")
    results = json.loads(path.read_text())
    if not isinstance(results, dict) or not all(isinstance(row, dict) for row in results.values()):
        raise InputError(f"{path}: found {type(results).__name__}, expected models with their label sets")
    return results


def every_row(results: Results) -> Rows:
    """One row for each model and label set, as `evaluate.py` names them."""
    rows: Rows = []
    for name, by_labels in results.items():
        for labels, row in by_labels.items():
            bins = {f"{title.replace('_', '–')}°": row[f"nme_{title}"] for title in metrics.YAW_BINS}
            rows.append(
                {
                    "model": name,
                    "labels": labels,
                    **{title: f"{value:.2f}" for title, value in bins.items()},
                    "mean of bins": f"**{metrics.headline(row):.2f}**",
                    "mean of images": f"{row['nme_mean']:.2f}",
                    "above 6 %": f"{row['failure_rate_6']:.1%}",
                    "missed": row["missed"],
                    "pose error": None if row["pose_mae"] is None else f"{row['pose_mae']:.2f}°",
                }
            )
    return rows


def short_rows(results: Results, models: tuple[str, ...], times: dict[str, float]) -> Rows:
    """The short table: one row for each of `models`; `times` is what `network_times` returns."""
    rows: Rows = []
    for model in models:
        if model not in results:
            raise InputError(f"models: found no {model} in the metrics, expected one of {', '.join(results)}")
        free = set(read_description(Path(model)).datasets) <= FREE_DATA
        rows.append(
            {
                "model": f"`{model}`",
                "file": f"{find_tflite(model).stat().st_size / 1e6:.2f} MB",
                "network": ratio(times.get(model)),
                "true boxes": both_label_sets(results[model]),
                **in_detected_boxes(results, f"{model} (default passes)"),
                "weights": "any use" if free else "research",
            }
        )
    return rows


def in_detected_boxes(results: Results, name: str) -> dict[str, object]:
    """The cells of the short table with detected boxes and original labels; none if `results` has none."""
    row = results.get(row_name(name, DETECTED), {}).get(ORIGINAL)
    if row is None:
        return {"detected boxes": None, "beyond 60°": None}
    return {"detected boxes": f"{metrics.headline(row):.2f}", "beyond 60°": f"{row['nme_60_90']:.2f}"}


def short_peer_rows(peers: Results, benchmark: list[dict[str, Any]]) -> Rows:
    """The rows of SHORT_PEERS in the short table."""
    published = {row["system"]: row for row in read_published().to_dict("records")}
    times = network_times(benchmark)
    bytes_ = {row["model"]: row["file_bytes"] for row in benchmark}
    rows: Rows = []
    for peer in SHORT_PEERS:
        printed = published[peer.evaluated]
        if peer.evaluated in peers:
            errors = both_label_sets(peers[peer.evaluated])
        else:
            errors = f"{printed['nme_half']} / {printed['nme_half_reannotated']}"
        size = bytes_.get(peer.timed) or float(printed["size"].removesuffix(" bytes").replace(",", ""))
        rows.append(
            {
                "model": peer.name,
                "file": f"{size / 1e6:.2f} MB",
                "network": ratio(times.get(peer.timed or "")),
                "true boxes": errors,
                **in_detected_boxes(peers, peer.evaluated),
                "weights": peer.licence,
            }
        )
    return rows


def network_times(benchmark: list[dict[str, Any]]) -> dict[str, float]:
    """System -> time of its network for one face on one thread, as a ratio to MediaPipe's."""
    single = {"stage": "model", "threads": 1, "batch": 1, "device": "cpu"}
    return {row["model"]: row["ratio"] for row in benchmark if single.items() <= row.items()}


def ratio(time: float | None) -> str | None:
    return None if time is None else f"× {time:.2f}"


def both_label_sets(row: dict[str, dict[str, Any]]) -> str:
    """The means of the bins of a model: original labels / others."""
    others = [f"{metrics.headline(found):.2f}" for labels, found in row.items() if labels != ORIGINAL]
    return " / ".join([f"{metrics.headline(row[ORIGINAL]):.2f}", *others])


def write_tables(config: TablesConfig) -> None:
    """Fill in the tables of the documents and of the model cards."""
    results, peers = read_metrics(config.metrics), read_metrics(config.peers)
    benchmark = read_benchmark(config.benchmark)["results"]
    short = short_rows(results, config.models, network_times(benchmark)) + short_peer_rows(peers, benchmark)
    fill_in(config.readme, MARK, markdown_table(short).rstrip())
    rows = every_row(results)
    fill_in(config.document, MARK, markdown_table(rows).rstrip())
    of_peers = every_row({name: row for name, row in peers.items() if name not in results})
    fill_in(config.peers_document, PEERS_MARK, markdown_table(of_peers).rstrip())
    for model in config.models:
        own = [row for row in rows if str(row["model"]).split(" (")[0] == model]
        fill_in(config.models_dir / model / CARD_FILE, MARK, markdown_table(own).rstrip())
    documents = f"{config.readme}, {config.document}, {config.peers_document}"
    print(f"written: {documents} and {len(config.models)} model cards, {len(rows)} rows")


def main() -> None:
    write_tables(parse_options(TablesConfig, description=__doc__))


if __name__ == "__main__":
    run_script(main)
