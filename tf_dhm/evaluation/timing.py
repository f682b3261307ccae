"""Times of calls, each beside a reference in the same moments.

On a machine that does other work, absolute times wander. So every case takes its turns right after a
turn of its reference, round after round, and the ratio of the two is taken turn by turn: other work
then slows both alike.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from tf_dhm.core.progress import Progress
from tf_dhm.runtime.settings import TrackingConfig

Stage = Literal["model", "cut", "crop", "photo", "photo_one_face", "video_frame"]
Device = Literal["cpu", "gpu"]
Seconds = NDArray[np.float64]
Timer = Callable[[int], Seconds]
"""A number of calls -> the seconds of each."""

VIDEO_FRAMES = TrackingConfig().detect_every * (TrackingConfig().glances + 1)
"""Frames in one call of the stage video_frame: from one full detection of the tracker to the next."""
INSIDE: dict[Stage, str] = {
    "model": "input copied in, network, landmarks copied out",
    "cut": "crop cut from the decoded photo; no network",
    "crop": "crop cut from the decoded photo, network, landmarks in photo pixels",
    "photo": "all faces of a decoded photo: detection, crops, both passes, pose (`Aligner.align`)",
    "photo_one_face": "the same for the surest face alone (`Aligner(max_faces=1).align`)",
    "video_frame": f"a frame of a video with one moving face, the mean of {VIDEO_FRAMES} frames of which one "
    f"is searched for all faces and {TrackingConfig().glances} for large ones (`Tracker.update`)",
}
WARM_UP_CALLS = 3
MIN_CALLS, MAX_CALLS = 3, 1000
"""Bounds of the calls in one turn."""
PERCENTILES = (10, 50, 90)


@dataclass(frozen=True)
class Subject:
    """What a time is the time of.

    Attributes:
        model: name.
        runtime: package and version.
        precision: saved_model, a kind of TFLite file, or "as it is" for systems of others.
        device, threads: what it runs on.
        stage: key of INSIDE.
        batch: faces, or frames, in a call.
        input_size: side of the crops in pixels.
        file_bytes: of the model on disk.
    """

    model: str
    runtime: str
    precision: str
    device: Device
    threads: int
    stage: Stage
    batch: int
    input_size: int
    file_bytes: int


@dataclass(frozen=True)
class Case(Subject):
    """One thing to time, by `timer`."""

    timer: Timer = field(repr=False)


@dataclass(frozen=True)
class Measurement(Subject):
    """Times of one case.

    Attributes:
        inside: what is inside the timing.
        calls: how many were timed.
        ms_10, ms, ms_90: percentiles 10, 50 and 90 of a call in milliseconds.
        ms_per_face: ms / batch.
        reference: what the ratios are against.
        ratio_10, ratio, ratio_90: the same percentiles, over the rounds, of the median time per face
            divided by the reference's in the turn before.
    """

    inside: str
    calls: int
    ms_10: float
    ms: float
    ms_90: float
    ms_per_face: float
    reference: str
    ratio_10: float
    ratio: float
    ratio_90: float


def take_turns(
    pairs: Sequence[tuple[Case, Case]], rounds: int, turn_seconds: float, title: str
) -> list[Measurement]:
    """Time cases alternately, each after a turn of its reference.

    Args:
        pairs: (reference, case); a reference may serve several cases, and a case of its own is its own
            reference.
        rounds: turns of every case.
        turn_seconds: length of a turn.
        title: of the progress bar.

    Returns:
        every reference at its first place, then the cases in their order.
    """
    references = {id(reference): reference for reference, _ in pairs}
    cases = {id(case): case for _, case in pairs if id(case) not in references}
    every = {**references, **cases}
    counts = {key: calls_in_turn(case.timer, turn_seconds) for key, case in every.items()}
    seconds: dict[int, list[Seconds]] = {key: [] for key in every}
    ratios: dict[int, list[float]] = {key: [] for key in every}
    reference_of = {id(case): reference for reference, case in pairs}
    for _ in Progress(range(rounds), title, unit=" rounds"):
        for reference, case in pairs:
            base = reference.timer(counts[id(reference)])
            seconds[id(reference)].append(base)
            if case is reference:
                continue
            own = case.timer(counts[id(case)])
            seconds[id(case)].append(own)
            share = np.median(own) / case.batch / (np.median(base) / reference.batch)
            ratios[id(case)].append(float(share))
    return [
        summarize(case, np.concatenate(seconds[key]), reference_of.get(key, case), ratios[key] or [1.0])
        for key, case in every.items()
    ]


def local_timer(call: Callable[[], object]) -> Timer:
    """Time a function of this process."""
    return lambda count: time_calls(call, count)


def calls_in_turn(timer: Timer, turn_seconds: float) -> int:
    """How many calls fill a turn; also warms up."""
    timer(WARM_UP_CALLS)
    return int(np.clip(turn_seconds / timer(MIN_CALLS).min(), MIN_CALLS, MAX_CALLS))


def time_calls(call: Callable[[], object], count: int) -> Seconds:
    """Seconds of each of `count` calls; one more before them fetches its data into the caches."""
    call()
    seconds = np.empty(count)
    for index in range(count):
        begin = time.perf_counter_ns()
        call()
        seconds[index] = time.perf_counter_ns() - begin
    return seconds * 1e-9


def summarize(case: Case, seconds: Seconds, reference: Case, ratios: list[float]) -> Measurement:
    """Percentiles of the calls of a case, and of its ratios to the reference."""
    low, middle, high = (float(value) for value in np.percentile(seconds * 1000.0, PERCENTILES))
    ratio_low, ratio, ratio_high = (float(value) for value in np.percentile(ratios, PERCENTILES))
    return Measurement(
        **{subject.name: getattr(case, subject.name) for subject in fields(Subject)},
        inside=INSIDE[case.stage],
        calls=len(seconds),
        ms_10=low,
        ms=middle,
        ms_90=high,
        ms_per_face=middle / case.batch,
        reference=f"{reference.model}, {reference.stage}",
        ratio_10=ratio_low,
        ratio=ratio,
        ratio_90=ratio_high,
    )
