"""A time budget for a run: the rates of its first seconds decide on the faces to render and the passes."""

from __future__ import annotations

import contextlib
import dataclasses
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pipelines.datasets.catalogue import SYNTHETIC
from pipelines.prepared import records
from pipelines.prepared.config import StoreConfig
from pipelines.runs import faces
from pipelines.runs.options import Options
from pipelines.runs.quality_crops import CROPS_PER_FACE
from pipelines.synthetic import series
from pipelines.synthetic.config import VAL_EVERY, SyntheticConfig
from tf_dhm.training.config import CALIBRATION_STEPS, TrainConfig
from tf_dhm.training.trainer import Trainer

Clock = Callable[[], float]
"""Seconds from any fixed moment."""

PROBE_SECONDS = 4.0
"""Time for which each rate is measured."""
PROBE_STEPS = 2
"""Steps before that and at least: the first ones build the graph and fill the queues."""
RESERVE = 0.1
"""Share of the budget that is kept for what goes slower than measured."""
RENDERING_SHARE = 0.3
"""Largest share of the time left in which the training faces are rendered."""
OTHER_WORK = 1500
"""Time of export, evaluation and the starts of trainers, in faces rendered meanwhile: on a slow machine it
takes most of what rendering leaves, and few passes over many faces find no face on a photo."""
TESTING_SHARE = 0.06
"""Largest share of the time left in which the test faces are rendered."""
FACES_STEP = 1100
"""Numbers of faces are multiples of it, so that runs on one machine share their rendered faces."""
FEWEST_FACES = (275, 550)
"""Numbers of faces below it. A series of 275 has 250 faces to train and 25 to validate with."""
FEWEST_TEST_FACES = 60
QUALITY_RATE = 0.5
"""Crops per second to which visibility and confidence are fitted, over training images per second."""
EXPORT_STARTS = 2.0
"""Time of export and evaluation over that in which a trainer is built and takes its first steps."""
MOST_PROBE_STEPS = 1000
WARMUP_SHARE = 0.1
"""Largest share of the epochs in which the learning rate rises."""
EPOCH_FACES = 10_000
"""Faces seen between two validations: with few faces, one after each pass takes longer than the training."""
LONGER = 3
"""The choice for a budget this many times as long is reported too."""


class Budget:
    """The time that a run may take, counted from the creation of this object.

    >>> seconds = iter([0.0, 30.0])
    >>> Budget(1.0, lambda: next(seconds)).seconds_left()
    24.0
    """

    def __init__(self, minutes: float, clock: Clock = time.monotonic) -> None:
        self.minutes, self.clock = minutes, clock
        self._began = clock()

    def seconds_spent(self) -> float:
        return self.clock() - self._began

    def seconds_left(self, times: float = 1.0) -> float:
        """Seconds to plan with, of a budget that is `times` as long; not below 0."""
        return max(0.0, times * 60.0 * self.minutes * (1.0 - RESERVE) - self.seconds_spent())


@dataclass(frozen=True)
class TrainingTimes:
    """Measured times of a training, in seconds.

    Attributes:
        start: to build a trainer and take its first steps.
        step: for a step.
        epoch_end: for calibration and validation at the end of an epoch.
    """

    start: float
    step: float
    epoch_end: float


def choose_faces(options: Options, budget: Budget, rate: float) -> Options:
    """Options with the numbers of faces to render within a budget; the given numbers are the largest.

    Args:
        options: of a run for which `chooses_faces` holds.
        budget: the time of the run.
        rate: faces rendered per second.
    """
    data = options.data
    count, tests = affordable_faces(options, rate * budget.seconds_left())
    print(
        f"minutes: {rate:.1f} faces/s, so {count:,} faces are rendered to train and validate with, and "
        f"{tests:,} to test with",
        flush=True,
    )
    return dataclasses.replace(options, data=dataclasses.replace(data, faces=count, test_faces=tests))


def chooses_faces(options: Options) -> bool:
    """Whether a budget decides on the faces of a run: on those of no other dataset than rendered ones."""
    data = options.data
    return data.dataset == (SYNTHETIC,) and not data.data_dir and data.limit is None


def affordable_faces(options: Options, could_render: float) -> tuple[int, int]:
    """The faces to train and to test with, if `could_render` faces can be rendered in the time left."""
    data = options.data

    def to_render(count: int) -> int:
        return faces.faces_to_render(dataclasses.replace(data, faces=count), options.model.input_size)

    def to_test(count: int) -> int:
        return faces.test_faces_to_render(dataclasses.replace(data, test_faces=count))

    multiples = range(FACES_STEP, data.faces, FACES_STEP)
    numbers = [*(n for n in FEWEST_FACES if n < data.faces), *multiples, data.faces]
    test_numbers = [data.test_faces]
    while test_numbers[0] // 2 >= FEWEST_TEST_FACES:
        test_numbers.insert(0, test_numbers[0] // 2)
    return (
        largest_within(numbers, to_render, RENDERING_SHARE * max(0.0, could_render - OTHER_WORK)),
        largest_within(test_numbers, to_test, TESTING_SHARE * could_render),
    )


def largest_within(numbers: Sequence[int], cost: Callable[[int], float], limit: float) -> int:
    """The largest of rising numbers whose cost is at most `limit`; the first if none is.

    >>> largest_within([1, 2, 4], lambda number: 10 * number, 25), largest_within([1, 2], float, 0)
    (2, 1)
    """
    return next((number for number in reversed(numbers) if cost(number) <= limit), numbers[0])


def choose_passes(
    options: Options,
    wanted: Options,
    budget: Budget,
    train_faces: int,
    times: TrainingTimes,
    rate: float | None,
) -> Options:
    """Options with the passes for which a budget leaves time; the given number is the largest.

    Args:
        options: of the run, whose faces are chosen and prepared.
        wanted: its options before that, with the largest numbers.
        budget: the time of the run.
        train_faces: number of faces to train with.
        times: measured.
        rate: faces rendered per second; None if the budget did not decide on the faces.
    """
    train = options.train
    left = budget.seconds_left()
    steps = affordable_steps(options, left, train_faces, times)
    longer = describe_longer(wanted, budget, train_faces, times, rate)
    training = steps * times.step
    others = max(0.0, left - training)
    print(
        f"minutes: {budget.minutes:g}, of which {budget.seconds_spent() / 60.0:.1f} are spent, "
        f"{training / 60.0:.1f} are for {describe(train, steps, train_faces)} at "
        f"{train.batch_size / times.step:.0f} images/s, {others / 60.0:.1f} for validation, "
        f"export and evaluation, and {RESERVE * budget.minutes:.1f} in reserve; --minutes "
        f"{LONGER * budget.minutes:g} would allow {longer}",
        flush=True,
    )
    if steps < train.epochs * (train_faces // train.batch_size) and steps * train.batch_size < train_faces:
        print(
            f"warning: {budget.minutes:g} minutes are too short: only {describe(train, steps, train_faces)} "
            "are planned, so the model will be almost untrained; give a longer --minutes",
            file=sys.stderr,
            flush=True,
        )
    epochs = max(1, steps * train.batch_size // max(EPOCH_FACES, train_faces))
    chosen = dataclasses.replace(
        train,
        epochs=epochs,
        epoch_faces=steps // epochs * train.batch_size,
        warmup_epochs=min(train.warmup_epochs, WARMUP_SHARE * epochs),
    )
    return dataclasses.replace(options, train=chosen)


def affordable_steps(options: Options, seconds: float, train_faces: int, times: TrainingTimes) -> int:
    """The training steps for which `seconds` suffice beside what follows the training; at least 1."""
    batch = options.train.batch_size
    crops = min(options.quality_crops, CROPS_PER_FACE * train_faces)
    quality = crops * times.step / batch / QUALITY_RATE
    training = seconds - (1.0 + EXPORT_STARTS) * times.start - quality
    steps = int(training / (times.step + times.epoch_end * batch / EPOCH_FACES))
    return max(1, min(steps, options.train.epochs * (train_faces // batch)))


def describe(train: TrainConfig, steps: int, train_faces: int) -> str:
    """The passes of a number of steps over a number of faces."""
    return f"{steps * train.batch_size / train_faces:.1f} passes over {train_faces:,} faces"


def describe_longer(
    wanted: Options, budget: Budget, train_faces: int, times: TrainingTimes, rate: float | None
) -> str:
    """The faces and passes that a budget LONGER times as long would allow."""
    left = budget.seconds_left(LONGER)
    if rate is not None:
        seconds = 60.0 * LONGER * budget.minutes * (1.0 - RESERVE)
        count, _ = affordable_faces(wanted, rate * seconds)
        train_faces, left = count - count // VAL_EVERY, seconds - count / rate
    return describe(wanted.train, affordable_steps(wanted, left, train_faces, times), train_faces)


def rendering_rate(threads: int, clock: Clock, seconds: float = PROBE_SECONDS) -> float:
    """Faces that all processes render and store per second.

    Args:
        threads: processes that render; 0 for one per core.
        clock: measures the time.
        seconds: length of the measurement.
    """
    store = StoreConfig()
    rendered = series.read(SyntheticConfig.count, workers=threads)
    with contextlib.closing(rendered):  # type: ignore[type-var]
        next(rendered)  # the processes have started
        began = clock()
        for count, sample in enumerate(rendered, 1):
            records.encode_record(sample, store)
            if (spent := clock() - began) >= seconds:
                return count / spent
    raise AssertionError("the series ended before the measurement")


def training_times(
    make: Callable[[], Trainer], clock: Clock, seconds: float = PROBE_SECONDS
) -> TrainingTimes:
    """Measure a trainer, which is of no use afterwards.

    Args:
        make: builds the trainer.
        clock: measures the time.
        seconds: length of the measurement of steps.
    """
    began = clock()
    trainer = make()
    batches = iter(trainer.own_batches(0, MOST_PROBE_STEPS))

    def step() -> None:
        float(trainer.train_step(trainer.strategy.split(next(batches))))

    for _ in range(PROBE_STEPS):
        step()
    stepping = clock()
    steps = 0
    while steps < MOST_PROBE_STEPS - PROBE_STEPS and (steps < PROBE_STEPS or clock() - stepping < seconds):
        step()
        steps += 1
    stepped = clock()
    for _ in range(2):  # the first builds the graphs
        ending = clock()
        trainer.calibrate()
        calibrated = clock()
        trainer.validation.summarize(trainer.predict)
        ended = clock()
    calibration = (calibrated - ending) * CALIBRATION_STEPS / min(CALIBRATION_STEPS, int(trainer.step))
    return TrainingTimes(stepping - began, (stepped - stepping) / steps, calibration + ended - calibrated)
