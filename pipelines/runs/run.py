"""A training run from options to an exported model: data, trainer, export."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shlex
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import psutil
import tensorflow as tf
import tyro
from numpy.typing import NDArray

from pipelines.input import batches, data_service, heat_maps
from pipelines.prepared import catalogue as datasets
from pipelines.prepared import records
from pipelines.prepared.records import FaceArrays, StoreConfig
from pipelines.runs import quality_crops
from pipelines.synthetic import series as synthetic
from tf_dhm.core import configuration
from tf_dhm.core.configuration import AtLeastOne, Count, NotNegative, Positive, check_fields
from tf_dhm.core.errors import InputError
from tf_dhm.core.files import atomic_write
from tf_dhm.core.machine import processor_name
from tf_dhm.evaluation.entries import load_entries
from tf_dhm.evaluation.evaluate import evaluate, summarize
from tf_dhm.evaluation.report import write_report
from tf_dhm.export.card import CARD_FILE, model_card
from tf_dhm.export.description import Description, read_description
from tf_dhm.export.saved_model import read_weights, save_model
from tf_dhm.face import metrics
from tf_dhm.networks.config import ModelConfig
from tf_dhm.networks.models import build_model, precision_policy
from tf_dhm.networks.quality import QualityHead
from tf_dhm.training.config import AugmentConfig, TrainConfig
from tf_dhm.training.distribution import Distribution, Strategy, find_strategy
from tf_dhm.training.trainer import Trainer, Weights
from tf_dhm.training.validation import Validation

OPTIONS_FILE = "options.json"
COMMAND_FILE = "command.txt"
EXPORT_FOLDER = "export"
EVALUATION_FOLDER = "evaluation"
FACES_FILE = "faces.json"
INITIAL_FILE = "initialized_from.json"
PLACES = ("data_dir", "cache_dir", "data_service", "threads")
"""Options that may differ where a run goes on: where its files and services are, and how many compute."""
FREE_OPTIONS = ("recurrent_steps",)
"""Options of a network that its weights do not depend on (but for whether there is a step at all)."""


@dataclass(frozen=True)
class Options:
    """What to train, on what, and where to keep it."""

    preset: str = "fast_dhm"
    """Network and recipe to begin with; every option below can be changed."""
    dataset: str = datasets.SYNTHETIC
    """Which dataset: synthetic (rendered here), wild68, 300w_lp, ls3d_w or csv; or several, as
    wild68,synthetic."""
    data_dir: Path | None = None
    """Its folder, as distributed or as prepare.py wrote it; none for synthetic. Of several datasets
    the folders are given in their order, as PATH,PATH; that of synthetic may be left out."""
    weights: tuple[Positive, ...] = ()
    """Share of each of several datasets in the faces seen, in any unit, as 2 1; by default each face
    of all is seen as often."""
    faces: AtLeastOne = synthetic.SyntheticConfig.count
    """How many synthetic faces are rendered; every eleventh is held out for validation."""
    faces_seed: Count = synthetic.SyntheticConfig.seed
    """Series of synthetic faces; another number gives other faces."""
    test_faces: Count = synthetic.TEST_FACES
    """Synthetic faces on which a model trained on such faces is measured in the end; 0 for none."""
    limit: AtLeastOne | None = None
    """Use no more than so many faces of each dataset."""
    cache_dir: Path = Path("data/prepared")
    """Where a dataset that is not prepared yet, or is rendered, is kept in prepared form."""
    runs_dir: Path = Path("runs")
    """Runs go to <runs_dir>/<name>."""
    name: str = "train"
    """Name of the run."""
    init: str | None = None
    """SavedModel whose weights training begins with; with --epochs 0 they are kept, and visibility and
    confidence alone are fitted."""
    quality_crops: Count = 40_000
    """Crops to which visibility and confidence are fitted behind the training, 2 for a face at most;
    0 for neither."""
    checkpoint_minutes: NotNegative = 5.0
    """Time between checkpoints; there is one at the end of each epoch too."""
    threads: Count = 0
    """Threads of the computation, and processes that render; 0 for all cores."""
    distribute: Distribution = "none"
    """Train on one device, on all GPUs of this machine (mirrored), or on those of the machines that
    TF_CONFIG names (multi_worker); see docs/distributed.md."""
    data_service: tuple[str, ...] = ()
    """Services of pipelines.input.data_service that make the batches, as grpc://HOST:PORT; with --image-ops
    graph and --map-source layer."""
    model: Annotated[ModelConfig, tyro.conf.arg(name="")] = field(default_factory=ModelConfig)
    train: Annotated[TrainConfig, tyro.conf.arg(name="")] = field(default_factory=TrainConfig)
    augment: Annotated[AugmentConfig, tyro.conf.arg(name="")] = field(default_factory=AugmentConfig)

    def __post_init__(self) -> None:
        check_fields(self)

    @property
    def run_dir(self) -> Path:
        return self.runs_dir / self.name

    def named_datasets(self) -> list[tuple[str, Path | None]]:
        """The datasets and their folders, None where faces are rendered.

        Raises:
            InputError: an unknown dataset, or other numbers of folders or weights than of datasets.
        """
        names = self.dataset.split(",")
        for name in names:
            datasets.find_dataset(name)
        if self.weights and len(self.weights) != len(names):
            raise InputError(
                f"weights: found {len(self.weights)}, expected one for each of the {len(names)} datasets "
                f"{self.dataset}"
            )
        folders: list[Path | None] = []
        if self.data_dir is not None:
            several = len(names) > 1
            folders += map(Path, str(self.data_dir).split(",")) if several else [self.data_dir]
        if len(folders) < len(names):
            given = iter(folders)
            folders = [None if name == datasets.SYNTHETIC else next(given, None) for name in names]
            for name, folder in zip(names, folders, strict=True):
                if folder is None and name != datasets.SYNTHETIC:
                    raise InputError(f"data-dir: found none for {name}, expected its folder")
            if left := list(given):
                raise InputError(f"data-dir: found {left[0]} too, expected one folder for each dataset")
        elif len(folders) > len(names):
            raise InputError(
                f"data-dir: found {len(folders)} folders, expected one for each of the {len(names)} datasets"
            )
        return list(zip(names, folders, strict=True))


def run(options: Options, resume: bool, command: str, mixture: datasets.Mixture | None = None) -> Path:
    """Train as `options` say and export the best weights.

    Args:
        options: of the run; saved beside it.
        resume: go on with the run from its last checkpoint.
        command: the command line, for the model card.
        mixture: the faces in `prepared_folders(options)`, where they are in memory already.

    With several workers every one of them calls this, with the same options. What the chief began and
    did not finish all go on with, whether they are told to resume or not: a worker that was killed is
    started by the same command.

    Returns:
        The version folder of the exported model.

    Raises:
        InputError: no folder of a dataset, a run of that name exists, or anything its parts refuse.
    """
    named = options.named_datasets()
    data_service.check_options(options.data_service, options.train)
    if not options.train.epochs and options.init is None:
        raise InputError("epochs: found 0, expected more than 0, or the --init that is to be kept")
    run_dir = options.run_dir
    export_dir = run_dir / EXPORT_FOLDER / options.preset
    version_dir = export_dir / "1"
    if options.distribute == "multi_worker":
        resume = resume or was_begun(options)
    if not resume and run_dir.exists() and (not run_dir.is_dir() or any(run_dir.iterdir())):
        raise InputError(f"{run_dir}: found an earlier run; choose another --name, or --resume {run_dir}")
    if resume and (export_dir / CARD_FILE).exists():
        raise InputError(f"{run_dir}: found the exported model {version_dir}; the run is finished")
    if not resume:
        heat_maps.check_options(
            options.model.heatmap_input, options.train, options.augment, bool(options.data_service)
        )
    # Until all workers are here, none writes what another one looks at above.
    strategy = find_strategy(options.distribute)
    initial, weights = (None, None) if resume else read_initial(options)

    if not strategy.chief:
        strategy.wait_for_all()  # the chief prepares what all read
    folders = prepared_folders(options)
    if mixture is None:
        mixture = datasets.load_mixture(folders)
    service = None
    if options.data_service:
        images = mixture.train.images
        folder = data_service.write_images(images, options.cache_dir)
        service = data_service.DataService(options.data_service, folder, images.shape)
    if strategy.chief:
        strategy.wait_for_all()
    faces, held_out = mixture.train, mixture.val
    counts = np.bincount(mixture.sources, minlength=len(folders)).tolist()
    for (name, _), folder, count in zip(named, folders, counts, strict=True):
        print(f"{name}: {count:,} faces to train with, from {folder}")
    trainer = make_trainer(options, faces, held_out, mixture.sources, strategy, service)
    if resume:
        check_faces(run_dir / FACES_FILE, faces, held_out)
        print(f"resuming {run_dir} at step {trainer.resume()} of {trainer.total_steps}")
        if (run_dir / INITIAL_FILE).exists():
            initial = configuration.read_json(Description, run_dir / INITIAL_FILE)
    else:
        if weights is not None:
            trainer.initialize(weights)
        if strategy.chief:
            begin_run(options, command, trainer, count_faces(faces, held_out), initial)
    val = trainer.fit(options.checkpoint_minutes) if options.train.epochs else trainer.best_metrics()
    if strategy.chief:
        finish_run(options, trainer, faces, held_out, counts, val, initial)
    strategy.wait_for_all()
    return version_dir


def begin_run(
    options: Options,
    command: str,
    trainer: Trainer,
    faces: dict[str, Any],
    initial: Description | None,
) -> None:
    """Write the first checkpoint, and what tells how the run was begun (`faces` as `count_faces`)."""
    # A run that is stopped before it has got anywhere can be resumed too.
    trainer.save()
    texts = {
        COMMAND_FILE: command + "\n",
        FACES_FILE: json.dumps(faces, indent=2) + "\n",
        OPTIONS_FILE: configuration.to_json(options),
    }
    if initial is not None:
        texts = {INITIAL_FILE: configuration.to_json(initial), **texts}
    for name, text in texts.items():
        with atomic_write(options.run_dir / name) as path:
            path.write_text(text)


def finish_run(
    options: Options,
    trainer: Trainer,
    faces: FaceArrays,
    held_out: FaceArrays,
    counts: list[int],
    val: dict[str, Any],
    initial: Description | None,
) -> None:
    """Export the best weights, measure them and write the model card.

    Args:
        options: of the run.
        trainer: at the end of the training.
        faces: it was trained with, `counts` of each dataset.
        held_out: it was validated with.
        counts: see faces.
        val: the metrics of the best weights on them.
        initial: the model that training began with.
    """
    export_dir = options.run_dir / EXPORT_FOLDER / options.preset
    version_dir = export_dir / "1"
    if not version_dir.exists():  # a run that was killed before it wrote the card has it
        head, quality = fit_head(trainer.best_weights(), options, faces, held_out)
        save_model(
            trainer.best_weights(),
            options.model,
            describe_run(options, trainer, counts, val, initial, quality),
            version_dir,
            head,
        )
    description = read_description(version_dir)
    rows: dict[str, Any] = {}
    if datasets.SYNTHETIC in options.dataset.split(",") and options.test_faces:
        rows = {"synthetic test faces": measure(version_dir, options)}
    with atomic_write(export_dir / CARD_FILE) as path:
        path.write_text(model_card(options.preset, version_dir, description, rows, version_dir.name))
    print(f"NME on val {metrics.headline(val):.3f} % (mean of bins where poses are known)")
    if rows:
        report = options.run_dir / EVALUATION_FOLDER
        print(f"results on {options.test_faces:,} synthetic test faces: {report / 'table.md'}")
        print(f"CED plots: {report / 'ced.png'}, {report / 'ced_by_yaw.png'}")
        print(f"sample pictures: {report / 'best_and_worst.png'}")
    print(f"exported to {version_dir}; history, checkpoints and TensorBoard logs in {options.run_dir}")


def was_begun(options: Options) -> bool:
    """Whether there is a run of these options to go on with.

    Raises:
        InputError: it has other options, but for those in `PLACES` and the folder of runs.
    """
    file = options.run_dir / OPTIONS_FILE
    if not file.exists():
        return False
    if found := differences(configuration.read_json(Options, file), options, (*PLACES, "runs_dir")):
        raise InputError(f"{file}: found an earlier run with {found}; choose another name, or move it away")
    return True


def differences(found: Options, expected: Options, but: tuple[str, ...]) -> str:
    """`config.differences` of options, which are named as on the command line."""

    def flat(options: Options) -> dict[str, Any]:
        values = dataclasses.asdict(options)
        groups = [value for value in values.values() if isinstance(value, dict)]
        return {name: value for group in [values, *groups] for name, value in group.items()}

    return configuration.differences(flat(found), flat(expected), (*but, "model", "train", "augment"))


def finished(options: Options) -> Path | None:
    """The model that a run of these options exported; None where it is not finished.

    Raises:
        InputError: as `was_begun`.
    """
    version_dir = options.run_dir / EXPORT_FOLDER / options.preset / "1"
    begun = was_begun(options)
    return version_dir if begun and (version_dir.parent / CARD_FILE).exists() else None


def run_to_end(options: Options, command: str, mixture: datasets.Mixture | None = None) -> Path:
    """`run`, or go on with a run that was stopped; nothing is done again where it is finished.

    Raises:
        InputError: as `run`, or there is a run of other options.
    """
    if (version_dir := finished(options)) is not None:
        return version_dir
    resume = was_begun(options)
    if not resume and options.run_dir.exists():
        shutil.rmtree(options.run_dir)  # stopped before its first checkpoint
    tf.keras.backend.clear_session()  # of the runs before it in this process
    return run(options, resume, command, mixture)


def prepared_folders(options: Options) -> list[Path]:
    """The datasets of a run in prepared form, prepared or rendered if they are not yet."""
    side = max(StoreConfig.crop_side, round(options.model.input_size * 4 / 3))
    series = synthetic.training_series(options.faces, options.faces_seed, side)
    store = StoreConfig(crop_side=side)
    return [
        datasets.prepared_folder(
            name, data_dir, options.cache_dir, store, options.limit, series, options.threads
        )
        for name, data_dir in options.named_datasets()
    ]


def fit_head(
    weights: Weights, options: Options, faces: FaceArrays, held_out: FaceArrays
) -> tuple[QualityHead | None, dict[str, Any] | None]:
    """Visibility and confidence for trained weights, and their measures; nothing where none are wanted."""
    if not options.quality_crops:
        return None, None
    with precision_policy("float32"):
        network = build_model(options.model)
    network.set_weights(weights)
    return quality_crops.fit_quality(
        network, options.model.input_size, faces, held_out, options.quality_crops
    )


def describe_run(
    options: Options,
    trainer: Trainer,
    counts: list[int],
    val: dict[str, Any],
    initial: Description | None,
    quality: dict[str, Any] | None,
) -> Description:
    """What the exported model says of itself."""
    return Description(
        preset=options.preset,
        model=options.model,
        options=without_folders(json.loads((options.run_dir / OPTIONS_FILE).read_text())),
        command=portable_command((options.run_dir / COMMAND_FILE).read_text().strip()),
        datasets=describe_datasets(options.dataset.split(","), counts, options.weights),
        faces_seen=trainer.total_steps * options.train.batch_size,
        hours=float(trainer.seconds) / 3600.0,
        machine=machine(),
        val=val,
        initialized_from=None if initial is None else dataclasses.asdict(initial),
        quality=quality,
    )


def measure(version_dir: Path, options: Options) -> dict[str, Any]:
    """Measure the exported model on the synthetic test faces, write the report and return the metrics."""
    folder = datasets.evaluation_folder(options.cache_dir, options.test_faces, options.threads)
    entries = load_entries([version_dir])
    result = evaluate(entries, {"original": records.read_samples(folder, "test")})
    output_dir = options.run_dir / EVALUATION_FOLDER
    print(write_report(result, datasets.SYNTHETIC, output_dir))
    (by_labels,) = summarize(result.table).values()
    return by_labels["original"]


def describe_datasets(names: list[str], counts: list[int], weights: tuple[float, ...]) -> dict[str, str]:
    """What a model card says of each dataset: how many faces of it, their share, and its note."""
    lines: dict[str, str] = {}
    for name in dict.fromkeys(names):
        rows = [row for row, other in enumerate(names) if other == name]
        share = ""
        if weights and len(names) > 1:
            share = f", {sum(weights[row] for row in rows) / sum(weights):.1%} of the faces seen"
        total = sum(counts[row] for row in rows)
        lines[name] = f"{total:,} faces{share}; {datasets.find_dataset(name).note}"
    return lines


def read_initial(options: Options) -> tuple[Description | None, Weights | None]:
    """The description and the weights of the model that training is to begin with, if any.

    Raises:
        InputError: no exported model, or one of another network than `options` ask for.
    """
    if options.init is None:
        return None, None
    description = read_description(Path(options.init))
    found, expected = dataclasses.asdict(description.model), dataclasses.asdict(options.model)
    if differing := configuration.differences(found, expected, FREE_OPTIONS):
        raise InputError(f"init {options.init}: found a network with {differing} as the chosen preset has")
    return description, read_weights(Path(options.init))


def portable_command(command: str) -> str:
    """A command line with absolute paths cut to their last part: a model card is for others' machines."""
    parts = [last_part(part) if Path(part).is_absolute() else part for part in shlex.split(command)]
    return shlex.join(parts)


def last_part(paths: str) -> str:
    """The name at the end of a path, or of each of several with commas between them.

    >>> last_part("/data/wild68,/data/synthetic")
    'wild68,synthetic'
    """
    return ",".join(Path(path).name for path in paths.split(","))


def without_folders(options: dict[str, Any]) -> dict[str, Any]:
    """Options as JSON with the paths of this machine cut to their last part."""
    paths = {"data_dir", "cache_dir", "runs_dir", "init"}
    return {
        key: last_part(value) if key in paths and value is not None else value
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


def make_trainer(
    options: Options,
    faces: FaceArrays,
    held_out: FaceArrays,
    sources: NDArray[np.int64] | None = None,
    strategy: Strategy | None = None,
    service: data_service.DataService | None = None,
) -> Trainer:
    """The trainer of a run over faces in memory.

    Args:
        options: of the run.
        faces: to train with.
        held_out: to validate with.
        sources: (len(faces),) which dataset each is of; needed where `options` weight them.
        strategy: to train on, by default one.
        service: what makes the batches, by default this process.
    """
    strategy = Strategy() if strategy is None else strategy
    size = options.model.input_size
    if options.weights and sources is not None:
        order = batches.make_order(faces, options.train, sources.tolist(), options.weights)
    else:
        order = batches.make_order(faces, options.train)
    crops, landmarks = batches.plain_crops(held_out, size)

    def source(first_step: int, end_step: int, rows: slice = batches.ALL) -> tf.data.Dataset:
        return batches.training_batches(
            faces,
            order,
            size,
            options.train,
            options.augment,
            first_step,
            end_step,
            rows,
            service,
            options.model.heatmap_input,
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
        strategy,
        lambda first_step, end_step: source(first_step, end_step, strategy.rows),
    )


def machine() -> str:
    """The computing device, for model cards."""
    gpus = tf.config.list_physical_devices("GPU")
    if gpus:
        details: dict[str, Any] = tf.config.experimental.get_device_details(gpus[0])
        return f"{len(gpus)} x {details.get('device_name', 'GPU')}"
    threads = tf.config.threading.get_intra_op_parallelism_threads() or psutil.cpu_count()
    return f"{processor_name()}, {threads} threads"
