"""Show whether the input pipeline limits training: images per second of each, and of both together.

python -m tools.studies.rate --dataset wild68 --data-dir wild68 --preset fast_dhm
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypeVar

from tf_dhm.core.cli import run_script

import numpy as np
import tensorflow as tf

from pipelines.prepared import datasets, records
from pipelines.prepared.config import StoreConfig
from pipelines.runs.description import machine
from pipelines.runs.options import DataOptions
from pipelines.runs.run import make_trainer
from tf_dhm.core.command_line import parse_options
from tf_dhm.core.configuration import AtLeastOne, Count, NotNegative, Share, check_fields
from tf_dhm.core.errors import InputError
from tf_dhm.training.config import AugmentConfig, TrainConfig
from tf_dhm.training.presets import find_preset
from tf_dhm.training.trainer import Trainer

MapSource = Literal["py_function", "layer"]
T = TypeVar("T", TrainConfig, AugmentConfig)

WARM_UP = 10
"""Steps before the clock starts: they trace the graphs and use up the batches made in advance."""


@dataclass(frozen=True)
class Config:
    """Options of the measurement."""

    dataset: str
    """Name of the dataset: wild68, 300w_lp, ls3d_w or csv."""
    data_dir: Path
    """Folder of the dataset, as distributed or as prepare.py wrote it."""
    preset: str = "fast_dhm"
    """Network and recipe."""
    split: Literal["train", "val"] = "train"
    """Split of the dataset to use; val is small and soon in memory, and its rates are the same."""
    cache_dir: Path = DataOptions.cache_dir
    """Folder in which a dataset is kept in prepared form, unless it is prepared already."""
    limit: AtLeastOne | None = None
    """Use at most this many faces of the dataset."""
    batch_size: AtLeastOne | None = None
    """Faces in a step; by default the preset's, as are the options below."""
    image_ops: Literal["opencv", "graph"] | None = None
    """Implementation that warps and colours faces."""
    map_sources: tuple[MapSource, ...] = ("layer", "py_function")
    """Implementations that draw the heat maps; several are timed alternately."""
    map_noise: NotNegative | None = None
    """Disturbance of the initial shapes; at 0 those of second passes alone differ from the mean face."""
    second_pass: Share | None = None
    """Share of faces shown as a second pass sees them."""
    steps: AtLeastOne = 100
    """Number of timed steps; they are timed three times in each round."""
    rounds: AtLeastOne = 3
    """Rounds over all map sources; the medians are printed."""
    threads: Count = 0
    """Threads of the computation; 0 for all cores."""

    def __post_init__(self) -> None:
        check_fields(self)


@dataclass(frozen=True)
class Rate:
    """The speed of a part of training.

    Attributes:
        images: per second.
        core_ms: milliseconds of one core per image, on all cores together; other programs on the machine
            change it less than the images per second.
    """

    images: float
    core_ms: float


@dataclass(frozen=True)
class Rates:
    """Rates of the pipeline alone, of training steps on one batch, and of both together."""

    pipeline: Rate
    training: Rate
    together: Rate


def measure(trainer: Trainer, steps: int) -> Rates:
    """Time `steps` batches without training, training without new batches, and training as it is."""
    if steps < 1:
        raise InputError(f"steps: found {steps}, expected 1 or more")
    step = trainer.train_step

    def stream() -> Iterator[dict[str, Any]]:
        return iter(trainer.batches(0, WARM_UP + steps))

    batch = next(stream())
    images = trainer.config.batch_size * steps
    return Rates(
        pipeline=_rate(stream(), lambda new: None, images, steps),
        # The loss is fetched, as the training loop does: a step has ended by then.
        training=_rate(iter([batch] * (WARM_UP + steps)), lambda same: float(step(same)), images, steps),
        together=_rate(stream(), lambda new: float(step(new)), images, steps),
    )


def _rate(batches: Iterator[dict[str, Any]], use: Any, images: int, steps: int) -> Rate:
    for _ in range(WARM_UP):
        use(next(batches))
    began, cores_began = time.perf_counter(), time.process_time()
    for _ in range(steps):
        use(next(batches))
    seconds, core_seconds = time.perf_counter() - began, time.process_time() - cores_began
    return Rate(images / seconds, 1000.0 * core_seconds / images)


def median(rounds: list[Rates]) -> Rates:
    """The median of each rate."""

    def middle(part: str) -> Rate:
        rates = [getattr(rates, part) for rates in rounds]
        return Rate(
            *(statistics.median(getattr(rate, name) for rate in rates) for name in ("images", "core_ms"))
        )

    return Rates(middle("pipeline"), middle("training"), middle("together"))


def describe(rates: Rates) -> str:
    """The rates as text."""
    lines = []
    for name, rate in (
        ("input pipeline alone", rates.pipeline),
        ("training alone", rates.training),
        ("both together", rates.together),
    ):
        lines.append(
            f"{name:20} {rate.images:9,.0f} images/s, {rate.images / rates.training.images:5.2f} x training "
            f"alone; {rate.core_ms:6.3f} core-ms an image"
        )
    return "\n".join(lines)


def main() -> None:
    config = parse_options(Config, description=__doc__)
    if config.rounds < 1:
        raise InputError(f"rounds: found {config.rounds}, expected 1 or more")
    preset = find_preset(config.preset)
    train = override(preset.train, batch_size=config.batch_size, image_ops=config.image_ops)
    augment = override(preset.augment, map_noise=config.map_noise, second_pass=config.second_pass)
    if config.threads:
        tf.config.threading.set_intra_op_parallelism_threads(config.threads)
    size = preset.model.input_size
    store = StoreConfig(crop_side=max(StoreConfig.crop_side, round(size * 4 / 3)))
    folder = datasets.prepared_folder(config.dataset, config.data_dir, config.cache_dir, store, config.limit)
    faces = records.load(folder, config.split)
    mixture = datasets.Mixture(faces, faces[:1], np.zeros(len(faces), np.int64))
    rounds: dict[MapSource, list[Rates]] = {source: [] for source in config.map_sources}
    with tempfile.TemporaryDirectory() as runs:
        trainers = {}
        for source in rounds:
            recipe = replace(train, map_source=source)
            trainers[source] = make_trainer(preset.model, recipe, augment, Path(runs) / source, mixture)
        for _ in range(config.rounds):
            for source, trainer in trainers.items():
                rounds[source].append(measure(trainer, config.steps))
    print(
        f"{config.preset}, {size} x {size}, batch {train.batch_size}, images by {train.image_ops}, "
        f"map_noise {augment.map_noise}, second_pass {augment.second_pass}; {machine()}; medians of "
        f"{config.rounds} rounds of {config.steps} steps"
    )
    for source, rates in rounds.items():
        print(f"heat maps by {source}\n{describe(median(rates))}")


def override(config: T, **values: Any) -> T:
    """`config` with the given values, except those that are None."""
    return replace(config, **{name: value for name, value in values.items() if value is not None})


if __name__ == "__main__":
    run_script(main)
