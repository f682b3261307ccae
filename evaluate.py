"""Measure exported models on a labelled dataset: tables, CED plots, and pictures.

Without options it measures all models of the project on the same rendered faces every time.

    python evaluate.py
    python evaluate.py --models savedmodels/fast_dhm savedmodels/fast_dhm_x2 --dataset aflw2000_3d \\
        --data-dir AFLW2000-3D --labels original reannotated.npz --output-dir runs/evaluation
    python evaluate.py --peers mediapipe dlib 3ddfa_v2=3DDFA_V2/weights/mb05_120x120.onnx my_adapter.json
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from tf_dhm.core.cli import run_script

from pipelines.datasets.catalogue import SYNTHETIC, check_data_dir
from pipelines.datasets.samples import Split
from pipelines.synthetic.config import TEST_FACES
from tf_dhm.core.command_line import RARE, parse_options
from tf_dhm.core.configuration import AtLeastOne, Count, NotNegative, check_fields
from tf_dhm.core.errors import InputError
from tf_dhm.core.words import counted
from tf_dhm.runtime.settings import Passes
from tf_dhm.runtime.store import find_savedmodel, model_name


@dataclass(frozen=True)
class Config:
    """The models and the data to measure them on."""

    models: tuple[str, ...] = ()
    """Names of models, or model folders (runs/<run>/export/<preset>); by default all in --models-dir."""
    peers: tuple[str, ...] = ()
    """Other systems, measured by the same protocol: mediapipe, dlib, 3ddfa_v2=FILE.onnx, or the JSON file
    of an adapter for any TFLite or ONNX file or SavedModel (see tf_dhm/evaluation/peers/adapter.py)."""
    models_dir: Annotated[Path, RARE] = Path("savedmodels")
    """Folder whose models are measured if --models names none."""
    data_dir: Path | None = None
    """Folder of the dataset, as distributed or as prepare.py wrote it; by default synthetic faces are
    rendered, once."""
    output_dir: Path = Path("runs/evaluation")
    """Folder for metrics.json, per_image.csv, table.md and the pictures; those of an earlier evaluation are
    replaced."""
    dataset: str | None = None
    """Name of the dataset in --data-dir: by default aflw2000_3d, or another one that docs/training.md
    lists."""
    faces: AtLeastOne | None = None
    """Number of synthetic faces to render and measure on without --data-dir, by default 1,000."""
    cache_dir: Annotated[Path, RARE] = Path("data/prepared")
    """Folder in which rendered faces are cached."""
    threads: Annotated[Count, RARE] = 0
    """Processes that render; 0 for one per core."""
    labels: tuple[str, ...] = ("original",)
    """Label sets: "original", or a file of other labels of the same images."""
    split: Annotated[Split, RARE] = "test"
    """Split of the dataset to measure on: "val" for the faces that a training held out."""
    passes: tuple[Passes, ...] = (1,)
    """Numbers of runs of the model on each face; each gives a row for each model. From the second run on, the
    crop is cut by the landmarks so far. "default" is what Aligner does with the faces that it detects: two
    runs, and a third one for faces whose first two differ."""
    mirror: Annotated[bool, RARE] = False
    """Also measure the mean of what each model finds in a crop and in its mirror image, which takes twice the
    time."""
    boxes: tuple[Literal["true", "detected"], ...] = ("true", "detected")
    """Boxes that crops are cut from: those of the original landmarks, as in published tables, and those that
    the face detector finds in the photo alone. Each kind gives a row for each model."""
    box_error: Annotated[tuple[NotNegative, NotNegative] | None, RARE] = None
    """Also measure with true boxes shifted and scaled by normal errors: standard deviations in sides of the
    box, and of the logarithm of its size."""
    adapt_folds: Count = 0
    """Add a cross-fitted row for each model: its output layer is fitted to this annotation on all but one of
    this many parts of the faces and tested on that part, in turn; 0 for none."""

    def __post_init__(self) -> None:
        check_fields(self)

    @property
    def dataset_name(self) -> str:
        """The dataset to measure on."""
        return self.dataset or (SYNTHETIC if self.data_dir is None else "aflw2000_3d")


def check(config: Config) -> None:
    """InputError for options that cannot be followed."""
    dataset = config.dataset_name
    check_data_dir(dataset, config.data_dir)
    if config.data_dir is not None and config.faces is not None:
        raise InputError(
            f"faces: found {config.faces} with --data-dir, expected none: it is the number of faces to render"
        )
    if config.data_dir is None and config.split != "test":
        raise InputError(f"split: found {config.split}, expected test: rendered faces are all for testing")
    for labels in config.labels:
        if labels != "original" and dataset != "aflw2000_3d":
            raise InputError(f"labels: found {labels}, expected original, the only labels of {dataset}")
        if labels != "original" and not Path(labels).exists():
            raise InputError(f"labels: found no {labels}, expected original, or a file or folder of labels")
    if config.output_dir.exists() and not config.output_dir.is_dir():
        raise InputError(f"{config.output_dir}: found a file, expected a folder to write to")
    if "default" in config.passes and "detected" not in config.boxes:
        raise InputError(f"passes: found default with the boxes {', '.join(config.boxes)}, expected detected")
    if config.adapt_folds == 1:
        raise InputError(f"adapt-folds: found {config.adapt_folds}, expected 0, or 2 or more")
    if config.adapt_folds and ("true" not in config.boxes or 1 not in config.passes):
        raise InputError(
            "adapt-folds: found no true boxes or no single pass, expected --boxes true --passes 1"
        )


def find_models(folder: Path) -> tuple[str, ...]:
    """The model folders in `folder`, by name; InputError if there are none."""
    folders = sorted(folder.iterdir()) if folder.is_dir() else []
    models = tuple(str(model) for model in folders if any(model.glob("[0-9]*/saved_model.pb")))
    if not models:
        found = "no model" if folder.is_dir() else "no such folder"
        raise InputError(f"{folder}: found {found}, expected models as export.py promotes them, or --models")
    return models


def main() -> None:
    config = parse_options(Config, description=__doc__)
    check(config)
    models = config.models or find_models(config.models_dir)
    for model in models:
        find_savedmodel(model)
    # After the options, so that --help and errors about options do not wait for TensorFlow.
    from pipelines.prepared.datasets import evaluation_folder
    from pipelines.prepared.splits import read_split
    from tf_dhm.evaluation.boxes import chosen_boxes
    from tf_dhm.evaluation.entries import label_set_names, load_entries, load_peers
    from tf_dhm.evaluation.evaluate import evaluate
    from tf_dhm.evaluation.published import PUBLISHED_DATASET
    from tf_dhm.evaluation.report import METRICS_FILE, write_report

    names = label_set_names(config.labels)
    entries = load_entries(models, config.passes, config.mirror) + load_peers(config.peers)
    dataset, data_dir = config.dataset_name, config.data_dir
    if data_dir is None:
        data_dir = evaluation_folder(config.cache_dir, config.faces or TEST_FACES, config.threads)
    label_sets = {
        name: read_split(dataset, data_dir, labels, config.split)
        for name, labels in zip(names, config.labels, strict=True)
    }
    result = evaluate(entries, label_sets, chosen_boxes(config.boxes, config.box_error))
    if config.adapt_folds:
        from pipelines.adaptation.crossfit import add_cross_fitted  # here, because it loads Keras

        single = [entry for entry in entries if entry.is_plain]
        fitted = [(entry.name, entry.folder) for entry in single if entry.folder is not None]
        result = add_cross_fitted(result, fitted, config.adapt_folds)
    replaced = (config.output_dir / METRICS_FILE).exists()
    print(write_report(result, dataset, config.output_dir))
    table = "table.md, with the published rows," if dataset == PUBLISHED_DATASET else "table.md,"
    written = f"{table} {METRICS_FILE}, CED plots, pictures and the error of each face"
    print(f"{written} are in {config.output_dir}")
    if replaced:
        print("those of an earlier evaluation were replaced; to keep both, choose another --output-dir")
    for folder in dict.fromkeys(entry.folder for entry in entries if entry.folder and entry.has_points):
        name = model_name(folder)
        print(f"{name}: only the 68 landmarks were measured; the error of its other points is on its card")
    if len(result.rejected):
        count = counted(len(result.rejected), "face")
        print(f"{count} rejected; reasons in {config.output_dir / 'rejected.csv'}")


if __name__ == "__main__":
    run_script(main)
