"""Train a network of the DHM family and export it.

Without a dataset it renders faces, trains on them for a short while, and shows what came of it.

python train.py
python train.py --preset fast_dhm --dataset wild68 --data-dir wild68 --name my_run
python train.py --resume runs/my_run

Behind --resume RUN_FOLDER may stand where the run's files and services are now, and --threads.
"""

from __future__ import annotations

import dataclasses
import shlex
import sys
from pathlib import Path

from tf_dhm.core.cli import run_script

import tensorflow as tf
import tyro

from pipelines.prepared.catalogue import SYNTHETIC
from pipelines.runs.run import OPTIONS_FILE, PLACES, Options, differences, run
from tf_dhm.core import configuration
from tf_dhm.core.errors import InputError
from tf_dhm.training.config import AugmentConfig
from tf_dhm.training.presets import PRESETS, SYNTHETIC_AUGMENT, find_preset

TRIAL_EPOCHS = 36
"""Where no --dataset is named: 288,000 faces seen of the 8,000 rendered, minutes on two cores."""


def parse(arguments: list[str]) -> tuple[Options, bool]:
    """Options from the command line over those of the preset, or of the run that is resumed."""
    if any(argument.partition("=")[0] == "--resume" for argument in arguments):
        name, _, value = arguments[0].partition("=")
        folders, others = ([value], arguments[1:]) if value else (arguments[1:2], arguments[2:])
        if name != "--resume" or not folders or folders[0].startswith("-"):
            raise InputError(
                f"options: found {shlex.join(arguments)}, expected --resume RUN_FOLDER before all others"
            )
        begun = read_run(Path(folders[0]))
        options = tyro.cli(Options, args=others, default=begun, description=__doc__)
        if changed := differences(options, begun, PLACES):
            places = ", ".join(f"--{place.replace('_', '-')}" for place in PLACES)
            raise InputError(
                f"options: found {changed}: a resumed run keeps the options in its "
                f"{OPTIONS_FILE}, but for {places}"
            )
        return options, True
    preset = given(arguments, "--preset") or "fast_dhm"
    dataset = given(arguments, "--dataset")
    found = find_preset(preset)
    train, augment = found.train, found.augment
    if dataset is None:
        train = dataclasses.replace(train, epochs=min(train.epochs, TRIAL_EPOCHS))
    if dataset in (None, SYNTHETIC) and augment == AugmentConfig():
        augment = SYNTHETIC_AUGMENT
    default = Options(preset=preset, model=found.model, train=train, augment=augment)
    epilog = "\n".join(f"  {name}: {entry.summary}" for name, entry in PRESETS.items())
    options = tyro.cli(Options, args=arguments, default=default, description=f"{__doc__}\npresets:\n{epilog}")
    return options, False


def given(arguments: list[str], option: str) -> str | None:
    """The value of an option on a command line, as `--option value` or `--option=value`; None without.

    >>> given(["--epochs", "3", "--preset=tiny"], "--preset")
    'tiny'
    """
    found = None
    for i, argument in enumerate(arguments):
        if argument == option and i + 1 < len(arguments):
            found = arguments[i + 1]
        elif argument.startswith(f"{option}="):
            found = argument.partition("=")[2]
    return found


def read_run(folder: Path) -> Options:
    """The options of the run in `folder`, wherever that was moved to."""
    file = folder / OPTIONS_FILE
    if not file.is_file():
        raise InputError(f"{folder}: found no {OPTIONS_FILE}, expected the folder of a run, as runs/train")
    place = folder if folder.name not in ("", "..") else folder.resolve()
    return dataclasses.replace(configuration.read_json(Options, file), runs_dir=place.parent, name=place.name)


def main() -> None:
    options, resume = parse(sys.argv[1:])
    if options.threads:  # before TensorFlow computes anything
        tf.config.threading.set_intra_op_parallelism_threads(options.threads)
    try:
        run(options, resume, shlex.join(["python", "train.py", *sys.argv[1:]]))
    except KeyboardInterrupt:
        if (options.run_dir / OPTIONS_FILE).exists():
            again = f"python train.py --resume {options.run_dir}"
            print(f"{again} goes on from the last checkpoint", file=sys.stderr)
        raise
    except tf.errors.OpError as error:
        if options.distribute != "multi_worker" and not options.data_service:
            raise
        raise InputError(
            f"{options.run_dir}: found that a worker or a data service does not answer any more "
            f"({type(error).__name__}: {error.message.splitlines()[0]}); start all of them again to go on "
            "from the last checkpoint"
        ) from error


if __name__ == "__main__":
    run_script(main)
