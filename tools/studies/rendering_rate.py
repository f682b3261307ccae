"""Measure how fast synthetic faces are rendered: processor time of one, images per second of all processes.

    python -m tools.studies.rendering_rate

Half a minute on two cores, which have nothing else to do.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from tf_dhm.core.cli import run_script

import cv2
import numpy as np

from pipelines.synthetic import series as synthetic
from pipelines.synthetic.config import RenderConfig
from pipelines.synthetic.renderer import FaceRenderer
from tf_dhm.core.command_line import parse_options
from tf_dhm.core.configuration import Count, check_fields
from tf_dhm.core.errors import InputError


@dataclass(frozen=True)
class Config:
    """Measure the renderer."""

    faces: int = 800
    """Faces rendered by all processes together; first, one process renders a quarter as many."""
    seed: Count = 1
    """Series of faces."""
    workers: int = 0
    """Processes that render; 0 for one on each core."""
    render: RenderConfig = field(default_factory=RenderConfig)

    def __post_init__(self) -> None:
        check_fields(self)
        if self.faces < 40 or self.workers < 0:
            raise InputError(
                f"faces, workers: found {self.faces}, {self.workers}, expected 40 or more and 0 or more"
            )


def processor_times(config: Config) -> list[float]:
    """Milliseconds of processor time of each of `config.faces // 4` faces in this process."""
    renderer = FaceRenderer(config.render)
    renderer.render(config.seed, 0)  # what is made once
    times = []
    for index in range(config.faces // 4):
        began = time.process_time()
        renderer.render(config.seed, index)
        times.append(1000 * (time.process_time() - began))
    return times


def images_per_second(config: Config, workers: int) -> float:
    """The rate of all processes together once they have begun."""
    begun = config.faces // 10
    started = 0.0
    for number, _ in enumerate(
        synthetic.read(config.faces, config.seed, config=config.render, workers=workers), 1
    ):
        if number == begun:
            started = time.perf_counter()
    return (config.faces - begun) / (time.perf_counter() - started)


def measure(config: Config) -> None:
    """Print both."""
    cv2.setNumThreads(1)
    size = config.render.size
    times = processor_times(config)
    print(
        f"{size} x {size}: {np.mean(times):.1f} ms of one core per image "
        f"(95th percentile {np.percentile(times, 95):.1f} ms, {len(times)} images)"
    )
    workers = config.workers or synthetic.available_cores()
    rate = images_per_second(config, workers)
    print(f"{rate:.1f} images/s, {workers} processes ({config.faces} images)")


if __name__ == "__main__":
    run_script(lambda: measure(parse_options(Config, description=__doc__)))
