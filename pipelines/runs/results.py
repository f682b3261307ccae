"""The model card of a run, with the results on the synthetic test faces."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pipelines.datasets.catalogue import SYNTHETIC
from pipelines.prepared import datasets, records
from pipelines.runs.options import Options
from tf_dhm.core.files import atomic_write
from tf_dhm.evaluation.entries import load_entries
from tf_dhm.evaluation.evaluate import evaluate, summarize
from tf_dhm.evaluation.report import write_report
from tf_dhm.export.card import model_card
from tf_dhm.export.description import CARD_FILE, read_description
from tf_dhm.face.metrics import headline
from tf_dhm.networks.quality import GOOD_NME

EVALUATION_FOLDER = "evaluation"


def write_card(options: Options, version_dir: Path) -> None:
    """Measure an exported model on the synthetic test faces, if it was trained on such, and write its card.

    Args:
        options: of the run.
        version_dir: the model.
    """
    rows: dict[str, Any] = {}
    report = options.run_dir / EVALUATION_FOLDER
    test_faces = options.data.test_faces
    if (folder := test_folder(options)) is not None:
        rows = {"synthetic test faces": measure(version_dir, folder, report)}
    description = read_description(version_dir)
    with atomic_write(version_dir.parent / CARD_FILE) as path:
        path.write_text(model_card(options.preset, version_dir, description, rows, version_dir.name))
    mean = (
        "all faces, as a yaw bin has none" if description.val["nme_mean_of_bins"] is None else "the yaw bins"
    )
    nme = headline(description.val)
    print(f"NME on val {nme:.3f} % (mean of {mean})")
    if nme > GOOD_NME:  # the confidence is the probability of an error up to this
        print(f"note: above {GOOD_NME:g} %, align.py counts few faces as found; train for longer")
    if rows:
        print(f"results on {test_faces:,} synthetic test faces: {report / 'table.md'}")
        print(f"CED plots: {report / 'ced.png'}, {report / 'ced_by_yaw.png'}")
        print(f"sample pictures: {report / 'best_and_worst.png'}")
    print(f"exported to {version_dir}; history, checkpoints and TensorBoard logs in {options.run_dir}")
    print(f"to use it in align.py: python export.py --model {version_dir.parent} --tflite float16")


def test_folder(options: Options) -> Path | None:
    """The rendered test faces of a run, prepared; None for a run that is not measured on such."""
    data = options.data
    if SYNTHETIC not in data.dataset or not data.test_faces:
        return None
    return datasets.evaluation_folder(data.cache_dir, data.test_faces, options.threads)


def measure(version_dir: Path, folder: Path, report: Path) -> dict[str, Any]:
    """The metrics of an exported model on the synthetic test faces in a folder; writes a report."""
    entries = load_entries([version_dir])
    result = evaluate(entries, {"original": records.read_samples(folder, "test")})
    print(write_report(result, SYNTHETIC, report))
    (by_labels,) = summarize(result.table).values()
    return by_labels["original"]
