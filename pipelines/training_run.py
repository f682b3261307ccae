"""A training run from options to an exported model: data, trainer, export."""

from __future__ import annotations

import dataclasses
import json
import platform
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
from tf_dhm.training import Trainer, Validation

OPTIONS_FILE = "options.json"
COMMAND_FILE = "command.txt"
EXPORT_FOLDER = "export"


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
    if not resume:
        if run_dir.exists() and any(run_dir.iterdir()):
            raise InputError(f"{run_dir}: found an earlier run; choose another --name, or --resume {run_dir}")
    elif export_dir.exists():
        raise InputError(f"{export_dir}: found an exported model; the run is finished")
    initial = None if options.init is None else export.read_description(Path(options.init))
    weights = None if options.init is None else export.read_weights(Path(options.init))

    size = options.model.input_size
    store = StoreConfig(crop_side=max(StoreConfig.crop_side, round(size * 4 / 3)))
    folder = datasets.prepared_folder(
        options.dataset, options.data_dir, options.cache_dir, store, options.limit
    )
    faces, held_out = datasets.load_splits(folder)
    trainer = make_trainer(options, faces, held_out)
    if weights is not None and not resume:
        trainer.initialize(weights)
    if resume:
        print(f"resuming {run_dir} at step {trainer.resume()} of {trainer.total_steps}")
    else:
        run_dir.mkdir(parents=True, exist_ok=True)
        for name, text in ((COMMAND_FILE, command + "\n"), (OPTIONS_FILE, configuration.to_json(options))):
            with atomic_write(run_dir / name) as path:
                path.write_text(text)
        # A run that is stopped before its first checkpoint can be resumed too.
        trainer.save()
    val = trainer.fit(options.checkpoint_minutes)

    description = export.Description(
        preset=options.preset,
        model=options.model,
        options=json.loads(configuration.to_json(options)),
        command=(run_dir / COMMAND_FILE).read_text().strip(),
        datasets={options.dataset: f"{len(faces):,} faces; {datasets.find_dataset(options.dataset).note}"},
        faces_seen=trainer.total_steps * options.train.batch_size,
        hours=float(trainer.seconds) / 3600.0,
        machine=machine(),
        val=val,
        initialized_from=None if initial is None else dataclasses.asdict(initial),
    )
    version_dir = export_dir / "1"
    export.save_model(trainer.average.get_weights(), options.model, description, version_dir)
    with atomic_write(export_dir / export.CARD_FILE) as path:
        path.write_text(export.model_card(options.preset, version_dir, description, {}))
    headline = val["nme_mean_of_bins"] if val["nme_mean_of_bins"] is not None else val["nme_mean"]
    print(f"NME on val {headline:.3f} % (mean of bins where poses are known)")
    print(f"exported to {version_dir}; history, checkpoints and TensorBoard logs in {run_dir}")
    return version_dir


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
    return Trainer(options.model, options.train, order.steps, source, validation, options.run_dir)


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
