"""A keras-tuner search for the trade-off between accuracy and speed.

Its two objectives are the NME on `val` and the time of one face, measured with TFLite on one core beside
MediaPipe's network in the same pass.
"""

from __future__ import annotations

import os
import sys
import warnings
from dataclasses import replace

import keras_tuner

from pipelines.runs import run as training_run
from pipelines.runs.checks import finished
from pipelines.runs.options import OPTIONS_FILE, Options, read_options
from pipelines.search.latency import marked_models, time_again
from pipelines.search.options import CONFIG_FILE, TuneConfig, check_folder
from pipelines.search.trials import chosen_trials, describe, draw_figure, read_table, trained
from pipelines.search.tuner import Search, TimeIsUp, passes
from tf_dhm.core import configuration
from tf_dhm.core.errors import InputError
from tf_dhm.core.files import atomic_write
from tf_dhm.export.description import read_description
from tf_dhm.runtime.store import find_savedmodel
from tf_dhm.training.presets import find_preset

FIGURE_FILE = "tradeoff.png"


def tune(config: TuneConfig, command: str) -> str:
    """Search, or resume a search; returns the table of the trials as text.

    Raises:
        InputError: another search lies in the folder, the dataset cannot be read, or no trial was
            trained.
    """
    if not config.data_dir.exists():  # otherwise each trial would fail
        raise InputError(f"data-dir: found no {config.data_dir}, expected the folder of {config.dataset}")
    for name in config.mark:  # checked now, not hours later
        read_description(find_savedmodel(name))
    check_folder(config)
    epochs = passes(config)
    with atomic_write(config.output_dir / CONFIG_FILE) as temporary:
        temporary.write_text(configuration.to_json(config))
    search = Search(config, command, epochs)
    try:
        with warnings.catch_warnings():  # keras-tuner's, of a network without objectives
            warnings.filterwarnings("ignore", "All-NaN", RuntimeWarning)
            search.search(verbose=0)
        shared = "KERASTUNER_ORACLE_IP" in os.environ  # others may still be at work
        if search.total is not None and search.done < search.total and not shared:
            print(f"the tuner found {search.done} networks to try, and no other among those to choose from")
    except TimeIsUp:
        print(f"{config.minutes:g} minutes are over; the same command resumes the search")
    except KeyboardInterrupt:
        print("the same command resumes the search", file=sys.stderr)
        raise
    except keras_tuner.errors.FatalError as error:
        raise (error.__cause__ or error) from None
    finally:
        search.progress.close()
    trained(read_table(config.output_dir))  # fails before anything is timed
    if config.time_again:
        time_again(config)
    table = read_table(config.output_dir)
    draw_figure(table, marked_models(config), config.output_dir / FIGURE_FILE)
    if config.export != "none":
        train_to_the_end(config, command, chosen_trials(table, config.export, config.latency_weight), search)
    return describe(table)


def train_to_the_end(config: TuneConfig, command: str, trials: list[str], search: Search) -> None:
    """Train the networks of trials from scratch, with the recipe of their preset, and export them.

    Raises:
        InputError: one was exported before, after another number of epochs.
    """
    preset = find_preset(config.preset)
    epochs = preset.train.epochs if config.epochs is None else config.epochs
    for name in trials:
        trial_file = config.output_dir / "trials" / name / OPTIONS_FILE
        trial = read_options(trial_file)
        options = replace(
            trial,
            data=replace(trial.data, data_dir=(config.data_dir,), cache_dir=config.cache_dir),
            threads=config.threads,
            runs_dir=config.output_dir / "exported",
            quality_crops=Options.quality_crops,
            init=None,
            train=replace(preset.train, epochs=epochs, seed=config.seed),
        )
        version_dir = finished(options)
        if version_dir is not None:
            print(f"trial {name} was exported before, to {version_dir}")
            continue
        version_dir = training_run.run_to_end(options, command, search.faces(options))
        print(f"trial {name} is exported to {version_dir}")
