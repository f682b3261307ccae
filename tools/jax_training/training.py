"""Joint training: several networks learn from the same batches, which are made once for all of them."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax, random
from numpy.typing import NDArray

from tf_dhm.core.errors import InputError
from tf_dhm.networks.config import ModelConfig
from tf_dhm.training.config import CALIBRATION_STEPS, AugmentConfig
from tools.jax_training.batches import Batch, Faces, make_batch
from tools.jax_training.crops import to_unit
from tools.jax_training.network import PooledStatistics, Statistics, Weights, forward, layout

FIRST_DECAY, SECOND_DECAY, ADAM_EPSILON = 0.9, 0.999, 1e-7
"""beta_1, beta_2 and epsilon of Keras' AdamW."""


@dataclass(frozen=True, eq=False)
class Learner:
    """A network to train.

    Attributes:
        name: for the log.
        config: the network.
        weights: to begin with.
        teacher_share: share of the teacher's landmarks in its loss.
        left_out: number of the fold whose faces do not count in its loss; None: all count.
    """

    name: str
    config: ModelConfig
    weights: Weights
    teacher_share: float = 0.0
    left_out: int | None = None


@dataclass(frozen=True)
class Recipe:
    """How learners are trained: see `TrainConfig`, with warmup_steps and steps_at_once in steps."""

    learning_rate: float
    warmup_steps: int
    weight_decay: float
    depth_weight: float
    ema: float
    seed: int
    steps_at_once: int
    augment: AugmentConfig
    pooled_statistics: PooledStatistics = "fixed"


@dataclass(frozen=True)
class Report:
    """A line of the log.

    Attributes:
        step: steps that were made.
        losses: of each learner, the mean over the steps since the last line.
        faces_per_second: since the last line.
        seconds: since the training began, without compiling.
        val: of each learner, if it was validated after this step.
    """

    step: int
    losses: list[float]
    faces_per_second: float
    seconds: float
    val: list[float] | None


class State(NamedTuple):
    """A learner during the training: the trained weights, their moments and their running average, and all
    weights as they were at the beginning, of which those that are not trained are used."""

    trained: list[jax.Array]
    first: list[jax.Array]
    second: list[jax.Array]
    average: list[jax.Array]
    beginning: list[jax.Array]


def nme_loss(
    truth: jax.Array, predicted: jax.Array, depth_weight: float, weight: jax.Array | None = None
) -> jax.Array:
    """The loss of each face, (B,), as `tf_dhm.training.losses.nme_loss`; all landmarks are known."""
    error = predicted - truth
    extent = truth[..., :2].max(1) - truth[..., :2].min(1)
    distance = jnp.sqrt((error[..., :2] ** 2).sum(-1) + 1e-8)  # the root has no gradient at 0
    points = distance + depth_weight * jnp.abs(error[..., 2])
    points = points if weight is None else weight * points
    return points.mean(-1) / jnp.sqrt(extent[:, 0] * extent[:, 1])


def batch_loss(
    learner: Learner, weights: Sequence[jax.Array], batch: Batch, counts: jax.Array, recipe: Recipe
) -> jax.Array:
    """The mean loss over the faces of a batch that count: `counts` (B,) is 1 for these, 0 for others."""
    size, depth_weight = learner.config.input_size, recipe.depth_weight
    predicted, _ = forward(
        learner.config, weights, batch.image, batch.heatmap, True, recipe.pooled_statistics
    )
    loss = nme_loss(to_unit(batch.landmarks, size), predicted, depth_weight, batch.weight)
    if learner.teacher_share and batch.teacher is not None:
        taught = nme_loss(to_unit(batch.teacher, size), predicted, depth_weight)
        loss = (1.0 - learner.teacher_share) * loss + learner.teacher_share * taught
    return (loss * counts).sum() / counts.sum()


def rate_at(step: jax.Array, recipe: Recipe, total: int) -> jax.Array:
    """The learning rate of a step, as `tf_dhm.training.optimizers.WarmupCosine`."""
    at = step.astype(jnp.float32)
    rising = (at + 1.0) / max(recipe.warmup_steps, 1)
    progress = (at - recipe.warmup_steps) / max(total - recipe.warmup_steps, 1)
    falling = 0.5 * (1.0 + jnp.cos(math.pi * jnp.clip(progress, 0.0, 1.0)))
    return recipe.learning_rate * jnp.where(at < recipe.warmup_steps, rising, falling)


def adamw(
    weight: jax.Array,
    gradient: jax.Array,
    first: jax.Array,
    second: jax.Array,
    rate: jax.Array,
    number: jax.Array,
    decay: float,
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """A step of Keras' AdamW: new weight and moments.

    Args:
        weight, gradient, first, second: of one shape.
        rate: learning rate.
        number: of the step, counted from 1.
        decay: weight decay; 0 for weights that have none.
    """
    first = first + (gradient - first) * (1.0 - FIRST_DECAY)
    second = second + (gradient * gradient - second) * (1.0 - SECOND_DECAY)
    if decay:
        weight = weight - weight * decay * rate
    length = rate * jnp.sqrt(1.0 - SECOND_DECAY**number) / (1.0 - FIRST_DECAY**number)
    return weight - length * first / (jnp.sqrt(second) + ADAM_EPSILON), first, second


class JointTrainer:
    """Trains learners on the same batches.

    Args:
        learners: networks with crops of one size.
        recipe: how they are trained.
        faces: all training faces.
        orders: (steps, B) int32, the faces in the batch of each step; their number is a
            multiple of `recipe.steps_at_once`.
    """

    def __init__(
        self, learners: Sequence[Learner], recipe: Recipe, faces: Faces, orders: NDArray[np.int32]
    ) -> None:
        self.learners, self.recipe, self.faces = list(learners), recipe, faces
        self.orders = jnp.asarray(orders)
        self.size = self.learners[0].config.input_size
        self.layouts = [layout(learner.config, recipe.pooled_statistics) for learner in self.learners]
        self.positions = [
            [number for number, part in enumerate(parts) if part.trained] for parts in self.layouts
        ]
        self.states = [self._begin(number) for number in range(len(self.learners))]
        self.step = 0
        self._make_steps = jax.jit(self._trace_steps, donate_argnums=(0,))
        self._measure = jax.jit(self._trace_statistics)

    def fit(
        self,
        report: Callable[[Report], None],
        validate: Callable[[list[Weights]], list[float]],
    ) -> list[Weights]:
        """Train to the end.

        Args:
            report: takes the lines of the log.
            validate: measures the averaged weights of all learners, after half of the steps and at the end.

        Returns:
            The averaged weights of each learner.

        Raises:
            InputError: a loss is not finite.
        """
        total, at_once = len(self.orders), self.recipe.steps_at_once
        halfway = total // 2 // at_once * at_once
        compiled = self._make_steps.lower(self.states, jnp.int32(0), self.faces, self.orders).compile()
        began = time.monotonic()
        averages: list[Weights] = []
        while self.step < total:
            line_began = time.monotonic()
            self.states, losses = compiled(self.states, jnp.int32(self.step), self.faces, self.orders)
            means = np.asarray(losses).mean(0)  # waits for the GPU
            self.step += at_once
            rate = at_once * self.orders.shape[1] / (time.monotonic() - line_began)
            if not np.isfinite(means).all():
                named = dict(zip((learner.name for learner in self.learners), means.tolist(), strict=True))
                raise InputError(f"loss: found {named} before step {self.step}, expected finite numbers")
            val = None
            if self.step in (halfway, total):
                averages = self.averages()
                val = validate(averages)
            report(Report(self.step, means.tolist(), rate, time.monotonic() - began, val))
        return averages

    def averages(self) -> list[Weights]:
        """The averaged weights of each learner, with statistics measured over the last batches."""
        averages = [
            self._merge(number, state.average, state.beginning) for number, state in enumerate(self.states)
        ]
        steps = range(max(self.step - CALIBRATION_STEPS, 0), self.step)
        measured = [self._measure(averages, jnp.int32(step), self.faces, self.orders) for step in steps]
        for number, (weights, parts) in enumerate(zip(averages, self.layouts, strict=True)):
            means = [
                position for position, part in enumerate(parts) if part.kind == "mean" and not part.fixed
            ]
            for layer, position in enumerate(means):
                weights[position] = jnp.stack([batch[number][layer][0] for batch in measured]).mean(0)
                weights[position + 1] = jnp.stack([batch[number][layer][1] for batch in measured]).mean(0)
        return [[np.asarray(weight) for weight in weights] for weights in averages]

    def _begin(self, number: int) -> State:
        # Copies, as each step reuses the memory of the last state.
        beginning = [jnp.array(weight) for weight in self.learners[number].weights]
        trained = [beginning[position] for position in self.positions[number]]
        return State(
            [jnp.array(weight) for weight in trained],
            [jnp.zeros_like(weight) for weight in trained],
            [jnp.zeros_like(weight) for weight in trained],
            [jnp.array(weight) for weight in trained],
            beginning,
        )

    def _merge(
        self, number: int, trained: Sequence[jax.Array], beginning: Sequence[jax.Array]
    ) -> list[jax.Array]:
        """All weights of a learner: the trained ones put among the others."""
        weights = list(beginning)
        for position, weight in zip(self.positions[number], trained, strict=True):
            weights[position] = weight
        return weights

    def _batch(self, step: jax.Array, faces: Faces, orders: jax.Array) -> Batch:
        key = random.fold_in(random.PRNGKey(self.recipe.seed), step)
        return make_batch(key, orders[step], faces, self.recipe.augment, self.size)

    def _trace_statistics(
        self, weights: list[list[jax.Array]], step: jax.Array, faces: Faces, orders: jax.Array
    ) -> list[Statistics]:
        """What each learner with these weights measures in the batch of a step."""
        batch = self._batch(step, faces, orders)
        pooled = self.recipe.pooled_statistics
        return [
            forward(learner.config, own, batch.image, batch.heatmap, True, pooled)[1]
            for learner, own in zip(self.learners, weights, strict=True)
        ]

    def _trace_steps(
        self, states: list[State], first_step: jax.Array, faces: Faces, orders: jax.Array
    ) -> tuple[list[State], jax.Array]:
        """`steps_at_once` steps: the new states, and the losses (steps, learners)."""

        def make_step(states: list[State], step: jax.Array) -> tuple[list[State], jax.Array]:
            batch = self._batch(step, faces, orders)
            folds = faces.folds[orders[step]]
            pairs = [self._learn(number, state, step, batch, folds) for number, state in enumerate(states)]
            return [state for state, _ in pairs], jnp.stack([loss for _, loss in pairs])

        return lax.scan(make_step, states, first_step + jnp.arange(self.recipe.steps_at_once))

    def _learn(
        self, number: int, state: State, step: jax.Array, batch: Batch, folds: jax.Array
    ) -> tuple[State, jax.Array]:
        """A step of one learner: its new state and its loss."""
        learner, recipe = self.learners[number], self.recipe
        counts = jnp.ones(len(folds)) if learner.left_out is None else folds != learner.left_out
        counts = counts.astype(jnp.float32)

        def loss_of(trained: list[jax.Array]) -> jax.Array:
            weights = self._merge(number, trained, state.beginning)
            return batch_loss(learner, weights, batch, counts, recipe)

        loss, gradients = jax.value_and_grad(loss_of)(state.trained)
        rate, at = rate_at(step, recipe, len(self.orders)), step.astype(jnp.float32) + 1.0
        # Early weights are forgotten fast, or the average would lag behind in a short run.
        ema = jnp.minimum(recipe.ema, (1.0 + at) / (10.0 + at))
        trained, first, second, average = [], [], [], []
        for row, position in enumerate(self.positions[number]):
            decay = recipe.weight_decay if self.layouts[number][position].decayed else 0.0
            weight, first_moment, second_moment = adamw(
                state.trained[row], gradients[row], state.first[row], state.second[row], rate, at, decay
            )
            trained.append(weight)
            first.append(first_moment)
            second.append(second_moment)
            average.append(state.average[row] - (1.0 - ema) * (state.average[row] - weight))
        return State(trained, first, second, average, state.beginning), loss
