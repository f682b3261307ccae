"""Training on several devices and machines, and the share of a batch that each of them gets."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

from tf_dhm.core.errors import InputError
from tf_dhm.core.types import Tensor
from tf_dhm.networks.keras_compat import MULTI_WORKER, all_layers
from tf_dhm.networks.tensorflow import tf
from tf_dhm.training.config import Distribution


@dataclass(frozen=True)
class Strategy:
    """The devices that train one network together; each has a replica of it.

    Attributes:
        distribute: what keeps the replicas alike; None for one device without any.
        worker: number of this process.
        workers: how many processes there are, each with as many devices as the others.
    """

    distribute: tf.distribute.Strategy | None = None
    worker: int = 0
    workers: int = 1

    @property
    def replicas(self) -> int:
        """Strategy of all workers."""
        return 1 if self.distribute is None else int(self.distribute.num_replicas_in_sync)

    @property
    def chief(self) -> bool:
        """Whether this process is the one that writes files, validates and exports."""
        return self.worker == 0

    @property
    def rows(self) -> slice:
        """Which faces of a batch this process trains with."""
        return slice(self.worker, None, self.workers)

    def wait_for_all(self) -> None:
        """Return when every worker has called this."""
        if self.distribute is not None and self.workers > 1:
            self.distribute.run(lambda: tf.distribute.get_replica_context().all_reduce("SUM", tf.ones([])))

    def split(self, batch: dict[str, Tensor]) -> Any:
        """A batch of this process, divided among its devices."""
        devices = self.replicas // self.workers
        if self.distribute is None or devices == 1:
            return batch

        def share(context: tf.distribute.experimental.ValueContext) -> dict[str, Tensor]:
            # Every N-th face, so that the faces with a map of their own, which come first in a batch,
            # come first in each share too.
            first = context.replica_id_in_sync_group % devices
            return {key: value[first::devices] for key, value in batch.items() if key != "step"}

        return self.distribute.experimental_distribute_values_from_function(share)

    def add_up(self, step: Callable[[Any], Tensor], batch: Any) -> Tensor:
        """The sum over all devices of what `step` finds for the share of each (see `split`)."""
        if self.distribute is None:
            return step(batch)
        return self.distribute.reduce("SUM", self.distribute.run(step, (batch,)), axis=None)

    @contextmanager
    def building(self) -> Iterator[None]:
        """Give variables that are created inside a copy on each device."""

        def create(next_creator: Callable[..., Any], **options: Any) -> Any:
            # The statistics of a synchronized batch normalisation are the same on all devices. Kept as
            # such, and not as parts of a mean, they can be saved without the other workers.
            if options.get("synchronization") == tf.VariableSynchronization.ON_READ:
                options["synchronization"] = tf.VariableSynchronization.ON_WRITE
                options["aggregation"] = tf.VariableAggregation.NONE
            return next_creator(**options)

        with ExitStack() as stack:
            if self.distribute is not None:
                stack.enter_context(self.distribute.scope())
                stack.enter_context(tf.variable_creator_scope(create))
            yield

    def synchronize(self, model: tf.keras.Model) -> None:
        """Let the batch normalisations of `model` see the whole batch, not the share of one device."""
        if self.replicas > 1:
            for layer in batch_normalizations(model):
                layer.fused = False
                layer.synchronized = True


def batch_normalizations(model: tf.keras.Model) -> list[tf.keras.layers.BatchNormalization]:
    return [layer for layer in all_layers(model) if isinstance(layer, tf.keras.layers.BatchNormalization)]


def find_strategy(distribution: Distribution = "none") -> Strategy:
    """The devices that a distribution names.

    Of several workers this has to be the first that a process has TensorFlow do, and returns when
    all of them have called it.

    Args:
        distribution: "none" for one device; "mirrored" for all GPUs of this machine, or its logical
            CPU devices if it has none; "multi_worker" for those of the machines in TF_CONFIG.

    Raises:
        InputError: TF_CONFIG is not as TensorFlow documents it, or several workers with Keras 3.
    """
    if distribution == "none":
        return Strategy()
    if distribution == "mirrored":
        return Strategy(tf.distribute.MirroredStrategy())
    if not MULTI_WORKER:
        raise InputError(
            "distribute: found multi_worker, expected none or mirrored: Keras 3 does not train on several "
            "machines. Use Python 3.10 or 3.11, for which requirements.txt installs Keras 2"
        )
    worker, workers = place_in_cluster()
    strategy = Strategy(tf.distribute.MultiWorkerMirroredStrategy(), worker, workers)
    strategy.wait_for_all()
    return strategy


def place_in_cluster() -> tuple[int, int]:
    """The number of this worker and how many there are, as TF_CONFIG says; 0 of 1 without it.

    Raises:
        InputError: TF_CONFIG is no JSON, or names no place of this process in its cluster.
    """
    text = os.environ.get("TF_CONFIG", "")
    if not text:
        return 0, 1
    try:
        resolver = tf.distribute.cluster_resolver.TFConfigClusterResolver()
        cluster = resolver.cluster_spec().as_dict()
        chiefs, others = (len(cluster.get(kind, ())) for kind in ("chief", "worker"))
        first, index = {"chief": 0, "worker": chiefs}[resolver.task_type], int(resolver.task_id)
        if chiefs > 1 or not 0 <= index < len(cluster.get(resolver.task_type, ())):
            raise ValueError(f"no task {resolver.task_type} {index}")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"TF_CONFIG: found {text!r} ({error!r}), expected JSON as "
            '{"cluster": {"worker": ["HOST:PORT", ...]}, "task": {"type": "worker", "index": 0}}'
        ) from error
    return first + index, chiefs + others
