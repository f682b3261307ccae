"""A training run from options to an exported model: data, trainer, export."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import platform
import shlex
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import psutil
import tensorflow as tf
import tyro

from pipelines import batches, datasets
from pipelines.records import FaceArrays, StoreConfig
from tf_dhm import config as configuration
from tf_dhm import export
from tf_dhm.config import AugmentConfig, ModelConfig, TrainConfig
from tf_dhm.errors import InputError
from tf_dhm.files import atomic_write
from tf_dhm.training import Trainer, Validation, Weights

OPTIONS_FILE = "options.json"
COMMAND_FILE = "command.txt"
EXPORT_FOLDER = "export"
FACES_FILE = "faces.json"
INITIAL_FILE = "initialized_from.json"
FREE_OPTIONS = ("recurrent_steps",)
"""Options of a network that its weights do not depend on (but for whether there is a step at all)."""


@dataclass(frozen=True)
class Options:
    """What to train, on what, and where to keep it."""

    preset: str = "fast_dhm"
    """Network and recipe to begin with; every option below can be changed."""
    dataset: str | None = None
    """Which dataset: wild68, 300w_lp, ls3d_w or csv."""
    data_dir: Path | None = None
    """Its folder, as distributed or as prepare.py wrote it."""
    limit: int | None = None
    """Use no more than so many faces of it."""
    cache_dir: Path = Path("data/prepared")
    """Where a dataset that is not prepared yet is kept in prepared form."""
    runs_dir: Path = Path("runs")
    """Runs go to <runs_dir>/<name>."""
    name: str = "train"
    """Name of the run."""
    init: str | None = None
    """SavedModel whose weights training begins with."""
    checkpoint_minutes: float = 5.0
    """Time between checkpoints; there is one at the end of each epoch too."""
    threads: int = 0
    """Threads of the computation; 0 for all cores."""
    model: Annotated[ModelConfig, tyro.conf.arg(name="")] = field(default_factory=ModelConfig)
    train: Annotated[TrainConfig, tyro.conf.arg(name="")] = field(default_factory=TrainConfig)
    augment: Annotated[AugmentConfig, tyro.conf.arg(name="")] = field(default_factory=AugmentConfig)

    @property
    def run_dir(self) -> Path:
        return self.runs_dir / self.name


def run(options: Options, resume: bool, command: str) -> Path:
    """Train as `options` say and export the best weights.

    Args:
        options: of the run; saved beside it.
        resume: go on with the run from its last checkpoint.
        command: the command line, for the model card.

    Returns:
        The version folder of the exported model.

    Raises:
        InputError: no dataset, a run of that name exists, or anything its parts refuse.
    """
    if options.dataset is None or options.data_dir is None:
        raise InputError(
            "dataset: found none; give --dataset and --data-dir, for example "
            "--dataset wild68 --data-dir PATH (known datasets: " + ", ".join(datasets.DATASETS) + ")"
        )
    if options.threads:
        tf.config.threading.set_intra_op_parallelism_threads(options.threads)
    run_dir = options.run_dir
    export_dir = run_dir / EXPORT_FOLDER / options.preset
    version_dir = export_dir / "1"
    if not resume and run_dir.exists() and (not run_dir.is_dir() or any(run_dir.iterdir())):
        raise InputError(f"{run_dir}: found an earlier run; choose another --name, or --resume {run_dir}")
    if resume and (export_dir / export.CARD_FILE).exists():
        raise InputError(f"{run_dir}: found the exported model {version_dir}; the run is finished")
    initial, weights = (None, None) if resume else read_initial(options)

    size = options.model.input_size
    store = StoreConfig(crop_side=max(StoreConfig.crop_side, round(size * 4 / 3)))
    folder = datasets.prepared_folder(
        options.dataset, options.data_dir, options.cache_dir, store, options.limit
    )
    faces, held_out = datasets.load_splits(folder)
    trainer = make_trainer(options, faces, held_out)
    if resume:
        check_faces(run_dir / FACES_FILE, faces, held_out)
        print(f"resuming {run_dir} at step {trainer.resume()} of {trainer.total_steps}")
        if (run_dir / INITIAL_FILE).exists():
            initial = configuration.read_json(export.Description, run_dir / INITIAL_FILE)
    else:
        if weights is not None:
            trainer.initialize(weights)
        # A run that is stopped before it has got anywhere can be resumed too.
        trainer.save()
        texts = {
            COMMAND_FILE: command + "\n",
            FACES_FILE: json.dumps(count_faces(faces, held_out), indent=2) + "\n",
            OPTIONS_FILE: configuration.to_json(options),
        }
        if initial is not None:
            texts = {INITIAL_FILE: configuration.to_json(initial), **texts}
        for name, text in texts.items():
            with atomic_write(run_dir / name) as path:
                path.write_text(text)
    val = trainer.fit(options.checkpoint_minutes)

    description = export.Description(
        preset=options.preset,
        model=options.model,
        options=without_folders(json.loads((run_dir / OPTIONS_FILE).read_text())),
        command=portable_command((run_dir / COMMAND_FILE).read_text().strip()),
        datasets={options.dataset: f"{len(faces):,} faces; {datasets.find_dataset(options.dataset).note}"},
        faces_seen=trainer.total_steps * options.train.batch_size,
        hours=float(trainer.seconds) / 3600.0,
        machine=machine(),
        val=val,
        initialized_from=None if initial is None else dataclasses.asdict(initial),
    )
    if not version_dir.exists():  # a run that was killed before it wrote the card has it
        export.save_model(trainer.best_weights(), options.model, description, version_dir)
    with atomic_write(export_dir / export.CARD_FILE) as path:
        path.write_text(export.model_card(options.preset, version_dir, description, {}, version_dir.name))
    headline = val["nme_mean_of_bins"] if val["nme_mean_of_bins"] is not None else val["nme_mean"]
    print(f"NME on val {headline:.3f} % (mean of bins where poses are known)")
    print(f"exported to {version_dir}; history, checkpoints and TensorBoard logs in {run_dir}")
    return version_dir


def read_initial(options: Options) -> tuple[export.Description | None, Weights | None]:
    """The description and the weights of the model that training is to begin with, if any.

    Raises:
        InputError: no exported model, or one of another network than `options` ask for.
    """
    if options.init is None:
        return None, None
    description = export.read_description(Path(options.init))
    expected = dataclasses.asdict(options.model)
    differing = [
        f"{name} {value}, expected {expected[name]}"
        for name, value in dataclasses.asdict(description.model).items()
        if value != expected[name] and name not in FREE_OPTIONS
    ]
    if differing:
        raise InputError(
            f"init {options.init}: found a network with {'; '.join(differing)} as the chosen preset has"
        )
    return description, export.read_weights(Path(options.init))


def portable_command(command: str) -> str:
    """A command line with absolute paths cut to their last part: a model card is for others' machines."""
    parts = [Path(part).name if Path(part).is_absolute() else part for part in shlex.split(command)]
    return shlex.join(parts)


def without_folders(options: dict[str, Any]) -> dict[str, Any]:
    """Options as JSON with the paths of this machine cut to their last part."""
    paths = {"data_dir", "cache_dir", "runs_dir", "init"}
    return {
        key: Path(value).name if key in paths and value is not None else value
        for key, value in options.items()
    }


def count_faces(faces: FaceArrays, held_out: FaceArrays) -> dict[str, Any]:
    """What tells the faces of a run from others: their numbers, and a hash of their names in order."""
    names = "\n".join([*faces.name.tolist(), *held_out.name.tolist()])
    digest = hashlib.sha256(names.encode()).hexdigest()
    return {"train": len(faces), "val": len(held_out), "names": digest}


def check_faces(path: Path, faces: FaceArrays, held_out: FaceArrays) -> None:
    """Refuse to go on with other faces: their order would be another one."""
    began, found = json.loads(path.read_text()), count_faces(faces, held_out)
    if found != began:
        raise InputError(
            f"data-dir: found {found['train']} faces to train and {found['val']} to validate with, expected "
            f"the {began['train']} and {began['val']} that the run began with, in the same order"
        )


def make_trainer(options: Options, faces: FaceArrays, held_out: FaceArrays) -> Trainer:
    """The trainer of a run over faces in memory."""
    size = options.model.input_size
    order = batches.make_order(faces, options.train)
    crops, landmarks = batches.plain_crops(held_out, size)

    def source(first_step: int, end_step: int) -> tf.data.Dataset:
        return batches.training_batches(
            faces, order, size, options.train, options.augment, first_step, end_step
        )

    validation = Validation(crops, landmarks, held_out.pose[:, 1])
    return Trainer(
        options.model,
        options.train,
        order.steps,
        source,
        validation,
        options.run_dir,
        lambda step: faces.name[order.batch(step)].tolist(),
    )


def machine() -> str:
    """The computing device, for model cards."""
    gpus = tf.config.list_physical_devices("GPU")
    if gpus:
        details: dict[str, Any] = tf.config.experimental.get_device_details(gpus[0])
        return f"{len(gpus)} x {details.get('device_name', 'GPU')}"
    threads = tf.config.threading.get_intra_op_parallelism_threads() or psutil.cpu_count()
    return f"{processor_name()}, {threads} threads"


def processor_name() -> str:
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
