"""Options of a search, and the file in its folder that keeps them."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal

from pipelines.runs.options import DataOptions, Options
from pipelines.search.trials import SPACE
from tf_dhm.core import configuration
from tf_dhm.core.configuration import AtLeastOne, Count, NotNegative, Positive, Seed, check_fields
from tf_dhm.core.errors import InputError
from tf_dhm.networks.config import ModelConfig
from tf_dhm.training.presets import find_preset

CONFIG_FILE = "tune.json"
FREE_OPTIONS = (
    *("trials", "minutes", "time_again", "mark", "export", "epochs", "threads"),
    *("data_dir", "cache_dir", "output_dir"),
)
"""What may differ when a search goes on: none of them changes what a trial is."""
ONE_RUN = ("minutes", "time_again", "export", "epochs")
"""Options of `TuneConfig` that are meant for one run of a search, not for those that go on with it."""


@dataclass(frozen=True)
class TuneConfig:
    """What to search, on which data, and for how long."""

    data_dir: Path
    """Folder of the dataset, as distributed or as prepare.py wrote it."""
    dataset: str = "wild68"
    """Which dataset."""
    preset: str = "fast_dhm"
    """Network and recipe from which the trials differ."""
    output_dir: Path = Path("runs/tune")
    """Folder of the search; a search that lies there goes on."""
    cache_dir: Path = DataOptions.cache_dir
    """Where a dataset that is not prepared yet is kept in prepared form."""
    tuner: Literal["bayesian", "hyperband", "random"] = "bayesian"
    """What proposes trials. Hyperband gives most of them a part of the images, and counts its trials
    itself."""
    trials: AtLeastOne = 40
    """Trials in all."""
    images: AtLeastOne = 100_000
    """Training images of a trial, or so many more as make whole passes over the faces."""
    minutes: NotNegative | None = None
    """No trial begins after so many minutes; None: all of them."""
    max_bytes: AtLeastOne | None = None
    """Largest network, in bytes of its float32 weights; a larger one is not trained."""
    latency_weight: NotNegative = 1.0
    """What the tuner minimises, and what is best, is the NME in percent plus so much for a time of 1 x
    MediaPipe's."""
    cnn_multiplier: tuple[Positive, ...] = (0.5, 0.75, 1.0, 1.5, 2.0, 3.0)
    """Values to try, as in the options below."""
    rnn_multiplier: tuple[Positive, ...] = (0.5, 1.0, 2.0)
    recurrent_steps: tuple[Count, ...] = (1, 2, 3, 4)
    input_size: tuple[AtLeastOne, ...] = (64, 80, 96, 112)
    last_channels: tuple[AtLeastOne, ...] = (96, 128, 160)
    """Channels of the last stage of the CNN, before the multiplier."""
    hidden_units: tuple[Count, ...] = (0, 136, 272, 408)
    """Head: units of the hidden layer; 0 for none."""
    limit: AtLeastOne | None = None
    """Use no more than so many faces of the dataset."""
    seed: Seed = 0
    """Of the tuner and of every training."""
    time_again: bool = False
    """When the search is over, time all networks anew: with nothing else running, the figures of all
    trials are of one hour and one state of the machine."""
    mark: tuple[str, ...] = ("fast_dhm", "fast_dhm_tuned_x1", "fast_dhm_tuned", "fast_dhm_x2")
    """Models to mark in the figure, if they were validated on the same dataset."""
    export: Literal["none", "best", "pareto"] = "none"
    """Train these again, for all epochs of the preset, and export them to
    OUTPUT_DIR/exported/TRIAL/export/PRESET. best: the least sum, see --latency-weight; pareto: those that
    no other beats in both NME and time."""
    epochs: AtLeastOne | None = None
    """Passes of that training in place of the preset's."""
    threads: Count = 0
    """Threads of the computation; 0 for all cores."""

    def __post_init__(self) -> None:
        check_fields(self)
        for name in SPACE:
            values = getattr(self, name)
            if not values or len(set(values)) < len(values):
                raise InputError(f"{name}: found {values}, expected one or more values, each once")
        # What no network can have is refused here, and not by each trial of a search that has begun.
        for name in SPACE:
            for value in getattr(self, name):
                self.network(**{name: value})

    def network(self, last_channels: int | None = None, **others: Any) -> ModelConfig:
        """The network of the preset with these values of options in `SPACE` in place of its own."""
        base = find_preset(self.preset).model
        if last_channels is not None:
            others["stage_channels"] = (*base.stage_channels[:-1], last_channels)
        return replace(base, **others)


def base_options(config: TuneConfig) -> Options:
    """What the training runs of all trials share."""
    preset = find_preset(config.preset)
    return Options(
        preset=config.preset,
        data=DataOptions(
            dataset=(config.dataset,),
            data_dir=(config.data_dir,),
            cache_dir=config.cache_dir,
            limit=config.limit,
            test_faces=0,
        ),
        runs_dir=config.output_dir / "trials",
        threads=config.threads,
        quality_crops=0,
        model=preset.model,
        augment=preset.augment,
    )


def read_search(output_dir: Path) -> TuneConfig:
    """The options of the search in a folder, wherever that was moved to, without those in `ONE_RUN`.

    Raises:
        InputError: there is none.
    """
    file = output_dir / CONFIG_FILE
    if not file.is_file():
        raise InputError(
            f"{output_dir}: found no {CONFIG_FILE}, expected the folder of a search, as runs/tune"
        )
    once: dict[str, Any] = {
        field.name: field.default for field in fields(TuneConfig) if field.name in ONE_RUN
    }
    return replace(configuration.read_json(TuneConfig, file), output_dir=output_dir, **once)


def check_folder(config: TuneConfig) -> None:
    """Refuse to go on with a search of other options."""
    path = config.output_dir / CONFIG_FILE
    if not path.is_file():
        return
    before, now = json.loads(path.read_text()), json.loads(configuration.to_json(config))
    if found := configuration.differences(before, now, FREE_OPTIONS):
        free = ", ".join(name.replace("_", "-") for name in FREE_OPTIONS)
        raise InputError(
            f"{config.output_dir}: found a search with {found}; choose another --output-dir (where a search "
            f"goes on, these may change: {free})"
        )
