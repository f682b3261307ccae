"""Options of a search, and the file in its folder that keeps them."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Annotated, Any, Literal

from pipelines.datasets.catalogue import check_dataset
from pipelines.runs.options import DataOptions, Options
from tf_dhm.core import configuration
from tf_dhm.core.command_line import RARE
from tf_dhm.core.configuration import AtLeastOne, Count, NotNegative, Positive, Seed, check_fields
from tf_dhm.core.errors import InputError
from tf_dhm.core.renamed import current_name
from tf_dhm.networks.config import ModelConfig
from tf_dhm.training.presets import find_preset

CONFIG_FILE = "tune.json"
SPACE = ("cnn_multiplier", "rnn_multiplier", "recurrent_steps", "input_size", "last_channels", "hidden_units")
"""Network options that a trial chooses, by their names in results and on the command line."""
FREE_OPTIONS = (
    *("trials", "minutes", "time_again", "mark", "export", "epochs", "threads"),
    *("data_dir", "cache_dir", "output_dir"),
)
"""Options that a resumed search may change: none of them changes a trial."""
ONE_RUN = ("minutes", "time_again", "export", "epochs")
"""Options of `TuneConfig` for one run of a search; a resumed search starts from their defaults."""


@dataclass(frozen=True)
class TuneConfig:
    """Options of a search: values to try, data and limits."""

    data_dir: Path
    """Folder of the dataset, as distributed or as prepare.py wrote it."""
    dataset: str = "wild68"
    """Name of the dataset."""
    preset: str = "fast_dhm"
    """Network and recipe from which the trials differ."""
    output_dir: Path = Path("runs/tune")
    """Folder of the search; an unfinished search in it is resumed."""
    cache_dir: Annotated[Path, RARE] = DataOptions.cache_dir
    """Folder in which the dataset is kept in prepared form, unless it is prepared already."""
    tuner: Annotated[Literal["bayesian", "hyperband", "random"], RARE] = "bayesian"
    """Method that proposes trials. Hyperband trains most of them on a part of the images, and sets the number
    of trials itself."""
    trials: AtLeastOne = 40
    """Total number of trials."""
    images: Annotated[AtLeastOne, RARE] = 100_000
    """Training images of a trial, rounded up to whole passes over the faces."""
    minutes: NotNegative | None = None
    """Time in minutes after which no further trial is started; by default there is no limit."""
    max_bytes: Annotated[AtLeastOne | None, RARE] = None
    """Largest network, in bytes of its float32 weights; a larger one is not trained."""
    latency_weight: NotNegative = 1.0
    """Weight of the latency in the objective: NME (%) + weight x (time / MediaPipe's time)."""
    cnn_multiplier: Annotated[tuple[Positive, ...], RARE] = (0.5, 0.75, 1.0, 1.5, 2.0, 3.0)
    """Multipliers of the channels of the CNN to try."""
    rnn_multiplier: Annotated[tuple[Positive, ...], RARE] = (0.5, 1.0, 2.0)
    """Multipliers of the channels of the recurrent module to try."""
    recurrent_steps: Annotated[tuple[Count, ...], RARE] = (1, 2, 3, 4)
    """Numbers of steps of the recurrent module to try; 0 leaves it out."""
    input_size: Annotated[tuple[AtLeastOne, ...], RARE] = (64, 80, 96, 112)
    """Sides of the square crop to try, in pixels."""
    last_channels: Annotated[tuple[AtLeastOne, ...], RARE] = (96, 128, 160)
    """Channels of the last stage of the CNN to try, before the multiplier."""
    hidden_units: Annotated[tuple[Count, ...], RARE] = (0, 136, 272, 408)
    """Units of the hidden layer to try; 0 leaves it out."""
    limit: Annotated[AtLeastOne | None, RARE] = None
    """Largest number of faces of the dataset to use."""
    seed: Annotated[Seed, RARE] = 0
    """Seed of the tuner and of every training."""
    time_again: bool = False
    """When the search is over, time all networks again, so that the times of all trials are measured under
    the same conditions; nothing else should run."""
    mark: Annotated[tuple[str, ...], RARE] = ("fast_dhm", "fast_dhm_s", "fast_dhm_m", "fast_dhm_x2")
    """Models to mark in the figure, if they were validated on the same dataset."""
    export: Literal["none", "best", "pareto"] = "none"
    """Train these trials from scratch, for all epochs of the preset, and export them to
    OUTPUT_DIR/exported/TRIAL/export/PRESET. best: the one with the lowest
    objective, see --latency-weight; pareto: those that no other beats in both NME and time."""
    epochs: AtLeastOne | None = None
    """Epochs of that training; by default those of the preset."""
    threads: Annotated[Count, RARE] = 0
    """Threads of the computation; 0 for all cores."""

    def __post_init__(self) -> None:
        check_fields(self)
        check_dataset(self.dataset)
        object.__setattr__(self, "preset", current_name(self.preset))
        for name in SPACE:
            values = getattr(self, name)
            if not values or len(set(values)) < len(values):
                raise InputError(f"{name}: found {values}, expected one or more values, each once")
        # Values that no network can have are rejected here, not by each trial of a search that has begun.
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
    """The training options that all trials share."""
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
    """Reject a search of other options in the folder.

    Raises:
        InputError: names the options.
    """
    path = config.output_dir / CONFIG_FILE
    if not path.is_file():
        return
    before, now = json.loads(path.read_text()), json.loads(configuration.to_json(config))
    if found := configuration.differences(before, now, FREE_OPTIONS):
        free = ", ".join(name.replace("_", "-") for name in FREE_OPTIONS)
        raise InputError(
            f"{config.output_dir}: found a search with {found}; choose another --output-dir (a resumed "
            f"search may change these: {free})"
        )
