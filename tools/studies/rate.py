"""Show whether the input pipeline limits training: images per second of each, and of both together.

python -m tools.studies.rate --dataset wild68 --data-dir wild68 --preset fast_dhm
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from tf_dhm.core.cli import run_script

import tensorflow as tf
import tyro

from pipelines.prepared import catalogue as datasets
from pipelines.prepared import records
from pipelines.runs.run import Options, machine, make_trainer
from tf_dhm.core.errors import InputError
from tf_dhm.training.presets import find_preset
from tf_dhm.training.trainer import Trainer

WARM_UP = 10
"""Steps before the clock starts: they trace the graphs, and empty what is made in advance."""


@dataclass(frozen=True)
class Config:
    """What to measure."""

    dataset: str
    """Which dataset: wild68, 300w_lp, ls3d_w or csv."""
    data_dir: Path
    """Its folder, as distributed or as prepare.py wrote it."""
    preset: str = "fast_dhm"
    """Network and recipe."""
    cache_dir: Path = Options.cache_dir
    """Where a dataset that is not prepared yet is kept in prepared form."""
    limit: int | None = None
    """Use no more than so many faces of it."""
    batch_size: int | None = None
    """Faces in a step; by default the preset's, as are the options below."""
    image_ops: Literal["opencv", "graph"] | None = None
    """What warps and colours faces."""
    map_source: Literal["layer", "py_function"] | None = None
    """What draws heat maps of disturbed shapes."""
    map_noise: float | None = None
    """Disturbance of the shapes; 0 draws no maps."""
    steps: int = 100
    """Steps that are timed, three times."""
    threads: int = 0
    """Threads of the computation; 0 for all cores."""


@dataclass(frozen=True)
class Rates:
    """Images per second: of the pipeline alone, of training steps on one batch, of both together."""

    pipeline: float
    training: float
    together: float


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
        pipeline=images / _seconds(stream(), lambda new: None, steps),
        # The loss is fetched, as the training loop does: a step has ended by then.
        training=images / _seconds(iter([batch] * (WARM_UP + steps)), lambda same: float(step(same)), steps),
        together=images / _seconds(stream(), lambda new: float(step(new)), steps),
    )


def _seconds(batches: Iterator[dict[str, Any]], use: Any, steps: int) -> float:
    for _ in range(WARM_UP):
        use(next(batches))
    began = time.perf_counter()
    for _ in range(steps):
        use(next(batches))
    return time.perf_counter() - began


def describe(rates: Rates) -> str:
    """The rates as text."""
    share = rates.together / rates.training
    return (
        f"input pipeline alone {rates.pipeline:9,.0f} images/s\n"
        f"training alone       {rates.training:9,.0f} images/s\n"
        f"both together        {rates.together:9,.0f} images/s, {share:.0%} of training alone"
    )


def main() -> None:
    config = tyro.cli(Config, description=__doc__)
    preset = find_preset(config.preset)
    chosen = {name: getattr(config, name) for name in ("batch_size", "image_ops", "map_source")}
    train = replace(preset.train, **{name: value for name, value in chosen.items() if value is not None})
    augment = (
        preset.augment if config.map_noise is None else replace(preset.augment, map_noise=config.map_noise)
    )
    if config.threads:
        tf.config.threading.set_intra_op_parallelism_threads(config.threads)
    size = preset.model.input_size
    store = records.StoreConfig(crop_side=max(records.StoreConfig.crop_side, round(size * 4 / 3)))
    folder = datasets.prepared_folder(config.dataset, config.data_dir, config.cache_dir, store, config.limit)
    faces = records.load(folder, "train")
    with tempfile.TemporaryDirectory() as runs:
        options = Options(
            preset=config.preset, runs_dir=Path(runs), model=preset.model, train=train, augment=augment
        )
        rates = measure(make_trainer(options, faces, faces[:1]), config.steps)
    print(
        f"{config.preset}, {size} x {size}, batch {train.batch_size}, images by {train.image_ops}, maps "
        f"{'of the mean shape' if not augment.map_noise else 'by ' + train.map_source}; {machine()}"
    )
    print(describe(rates))


if __name__ == "__main__":
    run_script(main)
