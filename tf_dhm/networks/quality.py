"""Visibility and confidence: a small head on the last features of a trained network.

The head is fitted after the training, to the features of the finished network for crops with and
without a face. The network itself is not changed, nor are its landmarks.

- visibility (B, 68) in [0, 1]: how likely each point is to be seen, neither turned away nor covered;
  left out if the dataset has no flags of visibility.
- confidence (B,) in [0, 1]: how likely the crop is to hold a face whose landmarks are right, within
  a mean error of GOOD_NME percent of its box; it falls if there is no face, or one
  that is framed so badly that the network does not find it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tf_dhm.core.configuration import AtLeastOne, Count, NotNegative, Positive, Seed, check_fields
from tf_dhm.core.types import Tensor
from tf_dhm.face.geometry import NUM_LANDMARKS
from tf_dhm.networks.dhm import last_features
from tf_dhm.networks.tensorflow import tf

GOOD_NME = 10.0
"""NME in percent up to which landmarks count as right."""
VISIBLE, UNLABELLED = 2, 255
"""Flags of visibility as datasets have them: visible, and not known; others are not visible."""


@dataclass(frozen=True)
class QualityConfig:
    """How a head is fitted.

    Attributes:
        narrow: units of the layer between the features and the visibility of the points.
        epochs: passes over the crops.
        batch_size: crops in a step.
        learning_rate: the first rate of Adam; half a cosine takes it to 0.
        weight_decay: of the kernels.
        seed: of the weights at first, and of the order.
    """

    narrow: AtLeastOne = 16
    epochs: Count = 40
    batch_size: AtLeastOne = 512
    learning_rate: Positive = 5e-3
    weight_decay: NotNegative = 0.2
    seed: Seed = 0

    def __post_init__(self) -> None:
        check_fields(self)


@dataclass(frozen=True)
class QualityHead:
    """The weights of a head: F features, N narrow units, float32.

    narrow_kernel (F, N), narrow_bias (N,), confidence_kernel (F + N, 1), confidence_bias (1,), and, of a
    head that was fitted to flags of visibility, visibility_kernel (N, 68), visibility_bias (68,).
    """

    narrow_kernel: Any
    narrow_bias: Any
    visibility_kernel: Any | None
    visibility_bias: Any | None
    confidence_kernel: Any
    confidence_bias: Any

    @classmethod
    def of(cls, weights: Sequence[Any]) -> QualityHead:
        """The head with these `weights`."""
        narrow, confidence = weights[:2], weights[-2:]
        visibility = weights[2:-2] or (None, None)
        return cls(*narrow, *visibility, *confidence)

    @property
    def weights(self) -> tuple[Any, ...]:
        """The weights, in the order of the fields."""
        every = (getattr(self, field.name) for field in fields(self))  # not copies, as of `astuple`
        return tuple(weight for weight in every if weight is not None)

    @property
    def measures(self) -> str:
        """Names of the outputs, for a model card."""
        return "confidence" if self.visibility_kernel is None else "visibility and confidence"

    @property
    def count(self) -> int:
        """Number of weights."""
        return sum(int(np.prod(weight.shape)) for weight in self.weights)

    def logits(self, features: Tensor) -> dict[str, Tensor]:
        """(B, F) -> logits of `visibility` (B, 68), if the head has it, and of `confidence` (B,)."""
        narrow = tf.nn.relu(features @ self.narrow_kernel + self.narrow_bias)
        both = tf.concat([features, narrow], -1)
        found = {"confidence": (both @ self.confidence_kernel + self.confidence_bias)[:, 0]}
        if self.visibility_kernel is not None:
            found["visibility"] = narrow @ self.visibility_kernel + self.visibility_bias
        return found

    def predict(self, features: Tensor) -> dict[str, Tensor]:
        """(B, F) -> `visibility` (B, 68), if the head has it, and `confidence` (B,) in [0, 1]."""
        return {name: tf.sigmoid(logits) for name, logits in self.logits(features).items()}


def network_with_features(network: tf.keras.Model) -> tf.keras.Model:
    """A network of `build_model` with its last features as a second output; it shares the weights.

    Those of Fast DHM are the pooled features before its dense layers, which tell a face from other
    things better than those after the hidden layer; those of a network that evolves a state are the input
    of its last increment.

    Returns:
        A model of the same inputs: `landmarks` (B, 68, 3) in the network's unit, `features` (B, F).
    """
    names = [layer.name for layer in network.layers]
    features = network.get_layer("flatten").output if "flatten" in names else last_features(network)
    return tf.keras.Model(network.input, {"landmarks": network.output, "features": features})


@dataclass(frozen=True)
class CropFeatures:
    """Features of N crops, and labels of these crops.

    features (N, F) float32; visibility (N, 68) uint8 flags; right (N,) bool: whether the crop holds a
    face whose landmarks are right; kind (N,) of the crops, for a report.
    """

    features: NDArray[np.float32]
    visibility: NDArray[np.uint8]
    right: NDArray[np.bool_]
    kind: NDArray[np.str_]

    @classmethod
    def join(cls, parts: Iterable[CropFeatures]) -> CropFeatures:
        found = zip(*([getattr(part, f.name) for f in fields(cls)] for part in parts), strict=True)
        return cls(*(np.concatenate(columns) for columns in found))


def fit_head(crops: CropFeatures, config: QualityConfig) -> QualityHead:
    """Fit a head to features by the cross entropy of flags and of rightness.

    The features are standardised for the fit; the fitted head takes raw features. It has no
    visibility if no flag is known.
    """
    tf.keras.utils.set_random_seed(config.seed)
    rng = np.random.default_rng(config.seed)
    mean, deviation = crops.features.mean(0), crops.features.std(0) + 1e-3
    scaled = tf.constant((crops.features - mean) / deviation)
    labelled = tf.constant((crops.visibility != UNLABELLED).astype(np.float32))
    visible = tf.constant((crops.visibility == VISIBLE).astype(np.float32))
    right = tf.constant(crops.right.astype(np.float32))
    count, features = crops.features.shape
    shapes = ((features, config.narrow), (config.narrow, NUM_LANDMARKS), (features + config.narrow, 1))
    kernels = [
        tf.Variable(rng.normal(0.0, (1.0 / shape[0]) ** 0.5, shape).astype(np.float32)) for shape in shapes
    ]
    biases = [tf.Variable(tf.zeros(shape[1])) for shape in shapes]
    head = QualityHead.of([part for pair in zip(kernels, biases, strict=True) for part in pair])
    batch = min(config.batch_size, count)
    steps = count // batch
    rate = tf.keras.optimizers.schedules.CosineDecay(config.learning_rate, config.epochs * steps)
    optimizer = tf.keras.optimizers.AdamW(rate, weight_decay=config.weight_decay)
    optimizer.build([*kernels, *biases])

    @tf.function(input_signature=[tf.TensorSpec([None], tf.int64)], autograph=False)
    def step(rows: Tensor) -> None:
        with tf.GradientTape() as tape:
            found = head.logits(tf.gather(scaled, rows))
            weight = tf.gather(labelled, rows)
            entropy = tf.nn.sigmoid_cross_entropy_with_logits
            loss = tf.reduce_sum(weight * entropy(tf.gather(visible, rows), found["visibility"]))
            loss /= tf.maximum(tf.reduce_sum(weight), 1.0)
            loss += tf.reduce_mean(entropy(tf.gather(right, rows), found["confidence"]))
        variables = [*kernels, *biases]
        optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables, strict=True))

    for _ in range(config.epochs):
        order = rng.permutation(count)[: steps * batch].reshape(steps, batch)
        for rows in order:
            step(tf.constant(rows))
    narrow, visibility, confidence = (kernel.numpy() for kernel in kernels)
    narrow_bias, visibility_bias, confidence_bias = (bias.numpy() for bias in biases)
    confidence[:features] /= deviation[:, None]
    fitted = QualityHead(
        narrow / deviation[:, None],
        narrow_bias - (mean / deviation) @ narrow,
        visibility,
        visibility_bias,
        confidence,
        confidence_bias - mean @ confidence[:features],
    )
    if (crops.visibility == UNLABELLED).all():
        return replace(fitted, visibility_kernel=None, visibility_bias=None)
    return fitted
