"""What is checked before a run starts: its folder, its datasets and the models that it starts from.

`train.py` checks it before TensorFlow is loaded, so this module does not load it.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

from pipelines.datasets.catalogue import check_data_dir
from pipelines.runs.options import (
    MOVABLE_OPTIONS,
    OPTIONS_FILE,
    Options,
    check_options,
    differences,
    read_options,
)
from tf_dhm.core import configuration
from tf_dhm.core.errors import InputError
from tf_dhm.export.description import CARD_FILE, Description, read_description
from tf_dhm.networks.config import ModelConfig
from tf_dhm.runtime.store import find_savedmodel

EXPORT_FOLDER = "export"
TEACHER_FILE = "teacher.npy"
FREE_OPTIONS = ("recurrent_steps",)
"""Options of a network that do not change its weights (except whether there is a step at all)."""


def check_start(options: Options, resume: bool) -> bool:
    """Check that a run can start or be resumed.

    Returns:
        Whether it is resumed: with `resume`, or by several workers that began it.

    Raises:
        InputError: no run can have these options, a run of that name exists or is finished, or a dataset or
            a model is missing.
    """
    check_options(options)
    if options.distribute == "multi_worker":
        resume = resume or was_begun(options)
    run_dir, version_dir = options.run_dir, exported_version(options)
    if not resume and run_dir.exists() and (not run_dir.is_dir() or begun_files(run_dir)):
        if (run_dir / OPTIONS_FILE).exists():
            raise InputError(f"{run_dir}: found an earlier run; choose another --name, or --resume {run_dir}")
        raise InputError(f"{run_dir}: found files that are no training run; choose another --name")
    if resume and (version_dir.parent / CARD_FILE).exists():
        raise InputError(
            f"{run_dir}: found the exported model {version_dir}; the run is finished. "
            f"To train it further, start a new run with --init {version_dir.parent}"
        )
    for name, folder in options.data.folders():
        check_data_dir(name, folder)
    if not resume:
        initial_description(options.init, options.model)
        for model in options.teacher:
            find_savedmodel(model)
    return resume


def begun_files(run_dir: Path) -> list[Path]:
    """The files of an earlier run. One that was stopped before its first step may have left TEACHER_FILE."""
    return [path for path in run_dir.iterdir() if path.name != TEACHER_FILE]


def exported_version(options: Options) -> Path:
    """The version folder to which a run of these options exports its model."""
    return options.run_dir / EXPORT_FOLDER / options.preset / "1"


def was_begun(options: Options) -> bool:
    """Whether there is a run of these options to resume.

    Raises:
        InputError: it has other options, except for `MOVABLE_OPTIONS` and the folder of runs.
    """
    file = options.run_dir / OPTIONS_FILE
    if not file.exists():
        return False
    if found := differences(read_options(file), options, (*MOVABLE_OPTIONS, "runs_dir")):
        raise InputError(f"{file}: found an earlier run with {found}; choose another name, or move it away")
    return True


def finished(options: Options) -> Path | None:
    """The model that a run of these options exported; None if it is not finished.

    Raises:
        InputError: as `was_begun`.
    """
    version_dir = exported_version(options)
    return version_dir if was_begun(options) and (version_dir.parent / CARD_FILE).exists() else None


def initial_description(init: str | None, model: ModelConfig) -> Description | None:
    """The description of the model from which training starts, if any.

    Raises:
        InputError: no exported model, or one of another network than `model`.
    """
    if init is None:
        return None
    description = read_description(Path(init))
    found, expected = dataclasses.asdict(description.model), dataclasses.asdict(model)
    if differing := configuration.differences(found, expected, FREE_OPTIONS):
        raise InputError(f"init {init}: found a network with {differing} as the chosen preset has")
    return description
