"""Reader of synthetic faces, which worker processes render: nothing has to be downloaded."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict
from functools import lru_cache, partial
from pathlib import Path
from queue import SimpleQueue

import cv2

from pipelines.datasets.samples import FaceSample, Series, Split
from pipelines.synthetic.config import TEST_SEED, RenderConfig, SyntheticConfig
from pipelines.synthetic.renderer import FaceRenderer, RenderedFace
from tf_dhm.core.errors import InputError

FACES_PER_WORKER = 25
"""A worker process takes about as long to start as this many faces take to render."""
AHEAD_PER_WORKER = 64
"""Faces that each worker may be ahead, so that it has work while a shard is written."""
RENDERER_VERSION = "3c32d480190c3629"
"""Stored with every set of rendered faces; sets of another version are rendered again, not mixed.

Choose a new value whenever a rendered pixel or label changes. The value is a digest of the first
renderer, so that sets rendered before it became a constant stay valid.
"""


def training_series(count: int, seed: int, size: int) -> SyntheticConfig:
    """Faces to train and validate with, in images of `size` pixels."""
    return SyntheticConfig(count, seed, render=RenderConfig(size=size))


def evaluation_series(count: int) -> SyntheticConfig:
    """The first `count` test faces."""
    return SyntheticConfig(count, TEST_SEED, split="test", val_every=0)


def make_series(config: SyntheticConfig, workers: int = 0) -> Series:
    """The faces of a series, which can be read from any index on.

    Args:
        config: the series.
        workers: processes that render; 0 for one per core.
    """

    def from_face(start: int) -> Iterator[FaceSample]:
        return read(
            config.count - start,
            config.seed,
            start=start,
            val_every=config.val_every,
            split=config.split,
            config=config.render,
            workers=workers,
        )

    return Series(config.count, {**asdict(config), "renderer": RENDERER_VERSION}, from_face)


def read(
    count: int,
    seed: int = 0,
    *,
    start: int = 0,
    val_every: int = 0,
    split: Split = "train",
    config: RenderConfig | None = None,
    workers: int = 1,
) -> Iterator[FaceSample]:
    """Yield rendered faces `start` ... `start + count - 1` of the series `seed`.

    A face depends only on (seed, index, config): ranges can be read anywhere and in parallel, and
    an interrupted range can be continued at its next index.

    Args:
        count: number of faces.
        seed: seed of the series; series of different seeds share no face.
        start: index of the first face.
        val_every: if positive, every face whose index it divides belongs to "val".
        split: split of all other faces.
        config: what to render.
        workers: processes that render, fewer for few faces; 0 for one per core.

    Raises:
        InputError: a number is negative, or a worker process died.
    """
    for name, value in (("count", count), ("seed", seed), ("start", start), ("workers", workers)):
        if value < 0:
            raise InputError(f"synthetic faces: found {name} {value}, expected 0 or more")
    if val_every < 0:
        raise InputError(f"synthetic faces: found val_every {val_every}, expected 0 or more")
    config = config or RenderConfig()
    splits: dict[bool, Split] = {True: "val", False: split}
    tasks = (
        (config, seed, index, splits[val_every > 0 and index % val_every == 0])
        for index in range(start, start + count)
    )
    workers = min(workers or available_cores(), count // FACES_PER_WORKER)
    if workers < 2:
        for task in tasks:
            yield render_sample(*task)
    else:
        yield from _render_in_processes(tasks, workers)


Task = tuple[RenderConfig, int, int, Split]
"""Arguments of `render_sample`."""


def _render_in_processes(tasks: Iterable[Task], workers: int) -> Iterator[FaceSample]:
    """The samples of tasks, in their order."""
    processes = [_start_worker() for _ in range(workers)]
    idle: SimpleQueue[subprocess.Popen[bytes]] = SimpleQueue()
    for process in processes:
        idle.put(process)

    def render(task: Task) -> FaceSample:
        process = idle.get()
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            pickle.dump(task, process.stdin)
            process.stdin.flush()
            return pickle.load(process.stdout)
        except (EOFError, OSError, pickle.UnpicklingError) as error:
            raise InputError(
                f"synthetic faces: found that a process that renders ended with code {process.wait()}, "
                f"expected memory for {workers} of them (0.2 GB each); start the program again to resume"
            ) from error
        finally:
            idle.put(process)

    # One thread per process, which only waits for it.
    pool = ThreadPoolExecutor(workers)
    waiting: deque[Future[FaceSample]] = deque()
    try:
        for task in tasks:
            waiting.append(pool.submit(render, task))
            if len(waiting) >= workers * AHEAD_PER_WORKER:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
        for process in processes:
            process.communicate()  # closing its input ends it


def _start_worker() -> subprocess.Popen[bytes]:
    places = [str(Path(__file__).resolve().parents[2]), os.environ.get("PYTHONPATH", "")]
    return subprocess.Popen(
        [sys.executable, "-m", "pipelines.synthetic.worker"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, places))},
    )


def render_sample(config: RenderConfig, seed: int, index: int, split: Split) -> FaceSample:
    """Face `index` of the series `seed`, rendered."""
    return to_sample(_renderer(config).render(seed, index), seed, index, split)


@lru_cache(maxsize=1)
def _renderer(config: RenderConfig) -> FaceRenderer:
    return FaceRenderer(config)


def available_cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def to_sample(face: RenderedFace, seed: int, index: int, split: Split = "train") -> FaceSample:
    """A rendered face as a sample; the image is kept as PNG."""
    ok, encoded = cv2.imencode(".png", face.image[..., ::-1], [int(cv2.IMWRITE_PNG_COMPRESSION), 1])
    if not ok:
        raise InputError(f"synthetic/{seed}/{index}: found an image that cannot be stored as PNG")
    name = f"synthetic/{seed}/{index}"
    return FaceSample(
        name=name,
        read_image=partial(bytes, encoded.tobytes()),
        landmarks=face.landmarks,
        split=split,
        group=name,
        visibility=face.visibility,
        pose=face.pose,
    )
