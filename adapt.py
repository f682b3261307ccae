"""Adapt a model to another annotation: fit its output layer to labelled faces in closed form.

    python adapt.py --dataset csv --data-dir faces.csv --name my_labels
    python adapt.py --model fast_dhm_m --dataset synthetic --faces 200 --name rendered

It needs 20 faces or more, and takes points of any number and meaning. After a minute or two it prints the
error on held-out faces before and after, and writes a model folder, runs/NAME, for align.py, evaluate.py and
TF Serving.
"""

from __future__ import annotations

import shlex
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal

from tf_dhm.core.cli import run_script

from pipelines.adaptation.kinds import BoxKind, Kind
from pipelines.datasets.catalogue import SYNTHETIC, check_data_dir
from pipelines.prepared.config import REJECTED_FILE
from pipelines.runs.options import DataOptions, Options
from tf_dhm.core.command_line import RARE, parse_options
from tf_dhm.core.configuration import Count, Positive, check_fields
from tf_dhm.core.errors import InputError
from tf_dhm.core.files import check_name
from tf_dhm.core.words import counted
from tf_dhm.face.geometry import NUM_LANDMARKS
from tf_dhm.networks.config import ModelConfig
from tf_dhm.runtime.store import DEFAULT_MODEL, find_savedmodel
from tf_dhm.training.presets import find_preset


@dataclass(frozen=True)
class Config:
    """What to adapt, to which faces."""

    name: str
    """Name of the adapted model; it is written to <runs-dir>/<name>."""
    model: str = DEFAULT_MODEL
    """Model to adapt: a Fast DHM of this project, by name or folder. It is not changed."""
    dataset: str = "csv"
    """Dataset of the labelled faces: csv or pts (any number of points), or another dataset of 68 points."""
    data_dir: Path | None = None
    """Folder or CSV file of the dataset; optional for synthetic."""
    faces: Count = 1000
    """Largest number of faces to fit to, spread evenly over the dataset; 0 for all."""
    split: Annotated[Literal["train", "val", "test"] | None, RARE] = None
    """Split of the dataset to take faces from; by default all of them (of a prepared one: train)."""
    manual: bool = False
    """Fit to the points that people marked, for a dataset that has them beside its landmarks."""
    kind: Kind | None = None
    """What the points become: the 68 landmarks of the model, or an output `points` beside them. By default
    landmarks, if there are 68 points that lie near those of the model."""
    boxes: BoxKind | None = None
    """Boxes that crops are cut from: that of the labelled points (labels), or the face detector's (detected).
    By default labels for 68 landmarks, and detected for other points."""
    mirror_map: Annotated[tuple[Count, ...], RARE] = ()
    """For other points than the 68 landmarks: the number, from 0, of the mirror image of each point, for
    example 1 0 2 4 3 for the eyes, the nose and the corners of the mouth. By default it is learned."""
    mirror: bool = True
    """For other points than the 68 landmarks: also use mirrored copies of the faces."""
    finetune: Count = 0
    """Passes of gradient training over the dataset after the fit, starting from the adapted model; the result
    is in <runs-dir>/<name>_finetuned/export. Only for the 68 landmarks."""
    finetune_rate: Annotated[Positive, RARE] = 5e-4
    """Learning rate of that training at its start."""
    runs_dir: Annotated[Path, RARE] = Path("runs")
    """Folder of the result."""
    cache_dir: Annotated[Path, RARE] = Path("data/prepared")
    """Folder in which the fine-tuning keeps the dataset in prepared form."""

    def __post_init__(self) -> None:
        check_fields(self)


def check(config: Config) -> None:
    """InputError for options that cannot be followed."""
    check_name("name", config.name)
    folders = [config.runs_dir / config.name]
    if config.finetune:
        folders.append(finetuned_dir(config))
    for folder in folders:
        # A command that ended with an error may have left its list of rejected faces.
        if folder.is_file() or any(path.name != REJECTED_FILE for path in folder.glob("*")):
            raise InputError(f"{folder}: found an earlier result; choose another --name")
    if config.finetune and config.manual:
        raise InputError(
            "finetune: found it with --manual, expected one of them: training takes the landmarks"
        )
    if config.mirror_map and not config.mirror:
        raise InputError("mirror-map: found it with --no-mirror, expected one of them")
    check_data_dir(config.dataset, config.data_dir)


def finetuned_dir(config: Config) -> Path:
    """Folder of the run that trains the adapted model on."""
    return config.runs_dir / f"{config.name}_finetuned"


def finetune_options(config: Config, version_dir: Path, preset: str, model: ModelConfig) -> Options:
    """Options of the run that trains the adapted model on, with the recipe of its preset."""
    found = find_preset(preset)
    return Options(
        preset=preset,
        data=DataOptions(
            dataset=(config.dataset,),
            data_dir=() if config.data_dir is None else (config.data_dir,),
            faces=config.faces if config.dataset == SYNTHETIC else DataOptions.faces,
            limit=None if config.dataset == SYNTHETIC else config.faces or None,
            cache_dir=config.cache_dir,
        ),
        runs_dir=config.runs_dir,
        name=finetuned_dir(config).name,
        init=str(version_dir),
        model=model,
        train=replace(found.train, epochs=config.finetune, learning_rate=config.finetune_rate),
        augment=found.augment,
    )


def print_rejected(rejected: list[tuple[str, str]], file: Path) -> None:
    """Print the number of rejected faces, the (name, reason) of the first, and the file of all."""
    count = counted(len(rejected), "face")
    print(f"{count} rejected, the first: {': '.join(rejected[0])}; all are listed in {file}", file=sys.stderr)


def example(kind: Kind, model_dir: Path) -> str:
    """A command that shows what an adapted model finds."""
    command = f"python align.py photo.jpg --model {shlex.quote(str(model_dir))}"
    if kind == "landmarks":
        return command
    return f"{command} --json faces.jsonl, which writes the new points of each face as `points`"


def main() -> None:
    config = parse_options(Config, description=__doc__)
    check(config)
    source = find_savedmodel(config.model)
    # After the options, so that --help and errors about options do not wait for pandas.
    from pipelines.adaptation.annotations import (
        annotation_note,
        check_faces,
        check_kind,
        check_pairs,
        read_annotations,
        write_rejected,
    )

    faces, rejected = read_annotations(
        config.dataset, config.data_dir, config.faces, split=config.split, manual=config.manual
    )
    folder = config.runs_dir / config.name
    (folder / REJECTED_FILE).unlink(missing_ok=True)
    unread = [(item.name, item.reason) for item in rejected]
    if unread:
        print_rejected(unread, write_rejected(unread, folder))
    check_faces(faces)
    check_kind(config.kind, len(faces[0].points), finetune=config.finetune > 0)
    if config.mirror_map:
        check_pairs(config.mirror_map, len(faces[0].points))
    # After the labels, so that errors in them do not wait for TensorFlow.
    from pipelines.adaptation.adapt import adapt, export, look_at, summary
    from pipelines.adaptation.views import OutputFeatures
    from pipelines.runs.run import run

    command = shlex.join(["python", "adapt.py", *sys.argv[1:]])
    model = OutputFeatures(config.model)
    boxes = config.boxes or ("labels" if len(faces[0].points) == NUM_LANDMARKS else "detected")
    seen = look_at(model, faces, boxes)
    if seen.rejected:
        print_rejected(seen.rejected, write_rejected([*unread, *seen.rejected], folder))
    adapted = adapt(
        model, seen, kind=config.kind, mirror=config.mirror_map or ("learn" if config.mirror else "none")
    )
    print(summary(adapted))
    check_kind(adapted.kind, len(faces[0].points), finetune=config.finetune > 0)
    note = annotation_note(config.dataset, boxes == "detected")
    version_dir = export(model, source, adapted, config.dataset, note, folder, command)
    print(f"adapted model: {folder} (card: README.md); try it: {example(adapted.kind, folder)}")
    if config.finetune:
        options = finetune_options(config, version_dir, model.description.preset, model.description.model)
        print(f"fine-tuned: {run(options, False, command)}")


if __name__ == "__main__":
    run_script(main)
