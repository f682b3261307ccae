"""Train a network of the DHM family and export it.

Without a dataset it renders faces, trains on them, and reports the result, in 10 minutes:

    python train.py
    python train.py --minutes 30
    python train.py --preset fast_dhm_s --dataset wild68 --data-dir wild68 --name my_run
    python train.py --resume runs/my_run
"""

from __future__ import annotations

import dataclasses
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tf_dhm.core.cli import run_script

import tyro

from pipelines.datasets.catalogue import SYNTHETIC
from pipelines.runs.options import (
    MOVABLE_OPTIONS,
    OPTIONS_FILE,
    DataOptions,
    Options,
    check_options,
    differences,
    read_options,
)
from tf_dhm.core.command_line import parse_options, without_help
from tf_dhm.core.errors import InputError
from tf_dhm.training.config import AugmentConfig
from tf_dhm.training.presets import FAST_AUGMENT, PRESETS, SYNTHETIC_AUGMENT, find_preset

TRIAL_MINUTES = 10.0
"""--minutes without --dataset, --epochs and --faces."""
TRIAL_FACES = 26_400
"""Largest number of faces that a run with --minutes renders, unless --faces is given."""
TRIAL_EPOCHS = 36
"""Epochs without --dataset and --minutes."""
FINE_TUNING_SHARE = 0.1
"""Learning rate with --init, in learning rates of the preset."""


@dataclass(frozen=True)
class Arguments(Options):
    """What to train, on what, and where to keep it."""

    resume: Path | None = None
    """Folder of a run to resume from its last checkpoint, for example runs/my_run. It keeps its options,
    except for --data-dir, --cache-dir, --data-service and --threads."""


@dataclass(frozen=True)
class Start:
    """The arguments on which the defaults of all others depend."""

    preset: str = Options.preset
    dataset: tuple[str, ...] = ()
    resume: Path | None = None
    init: str | None = None
    minutes: float = -1.0
    """A negative number stands for the default."""
    epochs: int = -1
    """A negative number stands for the default."""
    faces: int = -1
    """A negative number stands for the default."""


def parse(arguments: list[str]) -> tuple[Options, bool]:
    """Options from the command line over those of the preset, or of the run that is resumed.

    Returns:
        The options, and whether a run is resumed.
    """
    start, _ = tyro.cli(Start, args=without_help(arguments), return_unknown_args=True)
    default = default_options(start) if start.resume is None else read_run(start.resume)
    summaries = "\n".join(f"  {name}: {preset.summary}" for name, preset in PRESETS.items())
    parsed = parse_options(
        Arguments,
        arguments,
        Arguments(**_fields(default)),
        f"{__doc__}\nPresets: {', '.join(PRESETS)}.",
        f"What the presets are:\n{summaries}",
    )
    values = _fields(parsed)
    values.pop("resume")
    options = Options(**values)
    if start.resume is None:
        return options, False
    if changed := differences(options, default, MOVABLE_OPTIONS):
        movable = ", ".join(f"--{name.replace('_', '-')}" for name in MOVABLE_OPTIONS)
        raise InputError(
            f"options: found {changed}: a resumed run keeps the options in its {OPTIONS_FILE}, except for "
            f"{movable}"
        )
    return options, True


def default_options(start: Start) -> Options:
    """Options of a preset: a short run without a named dataset, stronger changes of rendered faces, small
    steps from trained weights."""
    preset = find_preset(start.preset)
    train, augment, data = preset.train, preset.augment, DataOptions()
    minutes = start.minutes
    if minutes < 0.0:
        chosen = bool(start.dataset) or start.epochs >= 0 or start.faces >= 0
        minutes = 0.0 if chosen else TRIAL_MINUTES
    if minutes and not start.dataset:
        data = dataclasses.replace(data, faces=TRIAL_FACES)
    elif not start.dataset:
        train = dataclasses.replace(train, epochs=min(train.epochs, TRIAL_EPOCHS))
    if start.dataset in ((), (SYNTHETIC,)) and augment in (AugmentConfig(), FAST_AUGMENT):
        augment = dataclasses.replace(SYNTHETIC_AUGMENT, map_noise=augment.map_noise)
    if start.init is not None:
        # The statistics of few faces, or of batches of one kind of face, would undo what the weights know.
        statistics = "fixed" if preset.model.family == "fast_dhm" else train.pooled_statistics
        train = dataclasses.replace(
            train,
            learning_rate=FINE_TUNING_SHARE * train.learning_rate,
            pooled_statistics=statistics,
        )
    return Options(
        preset=start.preset, minutes=minutes, data=data, model=preset.model, train=train, augment=augment
    )


def read_run(folder: Path) -> Options:
    """The options of the run in `folder`, wherever that was moved to."""
    file = folder / OPTIONS_FILE
    if not file.is_file():
        raise InputError(
            f"{folder}: found no {OPTIONS_FILE}, expected the folder of a run, for example runs/train"
        )
    location = folder if folder.name not in ("", "..") else folder.resolve()
    return dataclasses.replace(read_options(file), runs_dir=location.parent, name=location.name)


def _fields(options: Options) -> dict[str, Any]:
    return {field.name: getattr(options, field.name) for field in dataclasses.fields(options)}


def main() -> None:
    options, resume = parse(sys.argv[1:])
    check_options(options)
    # After the options, which are checked without the packages of training too.
    from pipelines.runs.checks import check_start

    check_start(options, resume)
    # After the checks, so that errors about options and missing files do not wait for TensorFlow.
    import tensorflow as tf

    from pipelines.runs.failures import describe_lost_worker
    from pipelines.runs.run import run

    if options.threads:  # before TensorFlow computes anything
        tf.config.threading.set_intra_op_parallelism_threads(options.threads)
    try:
        run(options, resume, shlex.join(["python", "train.py", *sys.argv[1:]]))
    except KeyboardInterrupt:
        if (options.run_dir / OPTIONS_FILE).exists():
            again = f"python train.py --resume {options.run_dir}"
            print(f"{again} continues from the last checkpoint", file=sys.stderr)
        raise
    except tf.errors.OpError as error:
        shared = options.distribute == "multi_worker" or bool(options.data_service)
        failure = describe_lost_worker(error) if shared else None
        if failure is None:
            raise
        raise InputError(
            f"{options.run_dir}: {failure}; start all of them again to continue from the last checkpoint"
        ) from error


if __name__ == "__main__":
    run_script(main)
