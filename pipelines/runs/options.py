"""Options of a training run, and the file beside the run that keeps them."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import tyro

from pipelines.datasets.catalogue import SYNTHETIC, check_dataset
from pipelines.input import data_service
from pipelines.synthetic.config import TEST_FACES, SyntheticConfig
from tf_dhm.core import configuration
from tf_dhm.core.command_line import RARE, Group
from tf_dhm.core.configuration import AtLeastOne, Count, NotNegative, Positive, check_fields
from tf_dhm.core.errors import InputError
from tf_dhm.core.files import check_name
from tf_dhm.core.renamed import current_name
from tf_dhm.networks.config import ModelConfig
from tf_dhm.runtime.store import DEFAULT_MODEL
from tf_dhm.training.config import AugmentConfig, Distribution, TrainConfig

OPTIONS_FILE = "options.json"
MOVABLE_OPTIONS = ("data_dir", "cache_dir", "data_service", "threads")
"""Options that a resumed run may change: the locations of its files and services, and its threads."""


@dataclass(frozen=True)
class DataOptions:
    """Datasets of faces to train and validate with."""

    dataset: tuple[str, ...] = (SYNTHETIC,)
    """One or several datasets: synthetic (rendered here), wild68, 300w_lp, or others that docs/training.md
    lists."""
    data_dir: tuple[Path, ...] = ()
    """Folder of each dataset in the same order, as distributed or as prepare.py wrote it. Not needed for
    synthetic."""
    dataset_weights: Annotated[tuple[Positive, ...], RARE] = ()
    """Share of each dataset in the faces seen, in any unit, for example 2 1. By default each face of all
    datasets is seen equally often."""
    faces: AtLeastOne = SyntheticConfig.count
    """Number of synthetic faces to render; every eleventh is held out for validation."""
    faces_seed: Annotated[Count, RARE] = SyntheticConfig.seed
    """Series of synthetic faces; another number gives other faces."""
    test_faces: Annotated[Count, RARE] = TEST_FACES
    """Number of synthetic faces on which a model trained on synthetic faces is measured; 0 for none."""
    limit: Annotated[AtLeastOne | None, RARE] = None
    """Largest number of faces of each dataset to use."""
    cache_dir: Annotated[Path, RARE] = Path("data/prepared")
    """Directory in which datasets are kept in prepared form."""

    def __post_init__(self) -> None:
        check_fields(self)

    def folders(self) -> list[tuple[str, Path | None]]:
        """The datasets and their folders, None for those to render.

        Raises:
            InputError: an unknown dataset, or the number of folders or weights does not fit.
        """
        names = self.dataset
        for name in names:
            check_dataset(name)
        if not names:
            raise InputError("dataset: found none, expected one or more names")
        if self.dataset_weights and len(self.dataset_weights) != len(names):
            raise InputError(
                f"dataset_weights: found {len(self.dataset_weights)}, expected one for each of the "
                f"{len(names)} datasets {' '.join(names)}"
            )
        if len(self.data_dir) > len(names):
            raise InputError(
                f"data-dir: found {len(self.data_dir)} folders, expected at most one for each of the "
                f"{len(names)} datasets {' '.join(names)}"
            )
        if len(self.data_dir) == len(names):
            return list(zip(names, self.data_dir, strict=True))
        given = iter(self.data_dir)
        folders = [None if name == SYNTHETIC else next(given, None) for name in names]
        for name, folder in zip(names, folders, strict=True):
            if folder is None and name != SYNTHETIC:
                raise InputError(f"data-dir: found none for {name}, expected its folder")
        if left := list(given):
            raise InputError(
                f"data-dir: found {left[0]} too, expected a folder for each of {' '.join(names)}, or for all "
                f"but {SYNTHETIC}"
            )
        return list(zip(names, folders, strict=True))


@dataclass(frozen=True)
class Options:
    """Options of a training run: network, data and output."""

    preset: str = DEFAULT_MODEL
    """Network and recipe to start from; every option below can be changed."""
    runs_dir: Annotated[Path, RARE] = Path("runs")
    """Folder of the runs; this run is kept in RUNS_DIR/NAME."""
    name: str = "train"
    """Name of the run."""
    init: str | None = None
    """SavedModel whose weights training starts from. With --epochs 0 they are kept, and only visibility and
    confidence are fitted."""
    teacher: Annotated[tuple[str, ...], RARE] = ()
    """SavedModels whose predictions the network learns beside the labels (--teacher-share): the mean of the
    landmarks that all of them predict for each face and its mirror image."""
    minutes: NotNegative = 0.0
    """Minutes for the whole run without set-up, or 0 for no limit. Rates measured in its first seconds decide
    the number of passes and, without another dataset, of rendered faces; --epochs, --faces and --test-faces
    are then upper limits. By default 10 without --dataset, --epochs and --faces."""
    quality_crops: Annotated[Count, RARE] = 40_000
    """Number of crops to which visibility and confidence are fitted after the training, at most 2 per face;
    0 fits neither."""
    checkpoint_minutes: Annotated[NotNegative, RARE] = 5.0
    """Minutes between checkpoints; one is also written at the end of each epoch."""
    threads: Annotated[Count, RARE] = 0
    """Threads of the computation, and processes that render; 0 for all cores."""
    distribute: Annotated[Distribution, RARE] = "none"
    """Devices to train on: one (none), all GPUs of this machine (mirrored), or those of the machines that
    TF_CONFIG names (multi_worker); see docs/distributed.md."""
    data_service: Annotated[tuple[str, ...], RARE] = ()
    """Services of pipelines.input.data_service that make the batches, as grpc://HOST:PORT; needs --image-ops
    graph and --map-source layer."""
    data: Annotated[DataOptions, tyro.conf.arg(name=""), Group("data", brief=False)] = field(
        default_factory=DataOptions
    )
    model: Annotated[ModelConfig, tyro.conf.arg(name=""), Group("network")] = field(
        default_factory=ModelConfig
    )
    train: Annotated[TrainConfig, tyro.conf.arg(name=""), Group("training")] = field(
        default_factory=TrainConfig
    )
    augment: Annotated[AugmentConfig, tyro.conf.arg(name=""), Group("augmentation")] = field(
        default_factory=AugmentConfig
    )

    def __post_init__(self) -> None:
        check_fields(self)
        object.__setattr__(self, "preset", current_name(self.preset))

    @property
    def run_dir(self) -> Path:
        return self.runs_dir / self.name


def check_options(options: Options) -> None:
    """Reject options that no run can have.

    Raises:
        InputError: names the option.
    """
    check_name("name", options.name)
    options.data.folders()
    data_service.check_options(options.data_service, options.train)
    if not options.train.epochs and options.init is None:
        raise InputError("epochs: found 0, expected more than 0, or the --init that is to be kept")
    if options.minutes and (options.data_service or options.distribute == "multi_worker"):
        raise InputError(
            f"minutes: found {options.minutes:g}, expected 0 with --distribute multi_worker or with "
            "--data-service, whose processes must agree on the passes: give --epochs"
        )
    if options.minutes and not options.train.epochs:
        raise InputError(f"minutes: found {options.minutes:g}, expected 0 with --epochs 0")


def read_options(file: Path) -> Options:
    """Options as a run keeps them, those of earlier versions of this project too.

    Raises:
        InputError: no such file, or other contents; names the file and the option.
    """
    if not file.is_file():
        raise InputError(f"{file}: found no such file, expected the options of a run as JSON")
    try:
        values = json.loads(file.read_text())
    except ValueError as error:  # neither text nor JSON
        raise InputError(f"{file}: found {error}, expected JSON") from error
    if isinstance(values, dict) and "data" not in values:
        values = _nest_data(values)
    return configuration.from_dict(Options, values, str(file))


def _nest_data(values: dict[str, Any]) -> dict[str, Any]:
    """Options written before those of the data were a group, with several datasets in one text."""
    old_names = {"dataset_weights": "weights"}
    data: dict[str, Any] = {}
    others = dict(values)
    for option in dataclasses.fields(DataOptions):
        if (old := old_names.get(option.name, option.name)) in others:
            data[option.name] = others.pop(old)
    if isinstance(dataset := data.get("dataset"), str):
        data["dataset"] = dataset.split(",")
    folders = data.pop("data_dir", None)
    if folders is not None:
        several = len(data.get("dataset", ())) > 1
        data["data_dir"] = str(folders).split(",") if several else [folders]
    return {**others, "data": data}


def differences(found: Options, expected: Options, except_for: tuple[str, ...]) -> str:
    """`configuration.differences` of options by their names on the command line."""

    def flat(options: Options) -> dict[str, Any]:
        values = dataclasses.asdict(options)
        groups = [name for name, value in values.items() if isinstance(value, dict)]
        merged = {name: value for name, value in values.items() if name not in groups}
        for group in groups:
            merged |= values[group]
        return merged

    return configuration.differences(flat(found), flat(expected), except_for)
