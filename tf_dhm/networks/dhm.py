"""DHM (Algorithm 1): a state that evolves, with its heat map drawn again at every step.

    h_{t+1} = tanh(W_ih C(I, map_t) + W_hh h_t)        (Eq. 4; or an LSTM)
    p_{t+1} = p_t + W_ho h_{t+1}

The CNN C and the cell are those of the configuration, the same at every step. The state is the
234 parameters of Eq. 2, standardised (`standardised.StandardisedModel`), from which Eq. 2 projects
the landmarks, or the 204 coordinates of the landmarks themselves. p_0 is the mean face and h_0 is
0. map_0 is the heat map that the network is given: the mean face's, or that of landmarks found
before, in a second pass. Such landmarks enter by the map alone; p_0 stays the mean face.
Without recurrent steps, one pass of the CNN and one increment give the shape.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

from tf_dhm.core.types import Tensor
from tf_dhm.face import bfm
from tf_dhm.face.geometry import NUM_LANDMARKS
from tf_dhm.face.mean_face import mean_shape
from tf_dhm.face.morphable import MorphableModel
from tf_dhm.face.parameters import NUM_PARAMETERS
from tf_dhm.face.standardised import StandardisedModel, standardise
from tf_dhm.networks.backbones import BACKBONES
from tf_dhm.networks.config import ModelConfig, scaled_width
from tf_dhm.networks.layers import DiffusionHeatMap, InitialState
from tf_dhm.networks.projection import projection_layer
from tf_dhm.networks.tensorflow import tf

layers = tf.keras.layers

OPEN_FACE = "open_face"
LANDMARKS, DRAW = "landmarks", "draw"
"""Names of the layers that give the landmarks of a state in pixels and its heat map."""
CELLS = {"vanilla": layers.SimpleRNNCell, "lstm": layers.LSTMCell}


@lru_cache(maxsize=2)
def find_morphable(source: str) -> StandardisedModel:
    """The 3-D face that `ModelConfig.morphable` names; InputError if there is none."""
    if source == OPEN_FACE:
        return standardise(MorphableModel.open_face())
    path = Path(source)
    return standardise(bfm.read_bfm(path) if path.is_dir() else MorphableModel.load(path))


def build_dhm(config: ModelConfig) -> tf.keras.Model:
    """Build a network of the family "dhm"; inputs and output as `models.build_model` has them."""
    size = config.input_size
    image = tf.keras.Input((size, size, 3), name="image")
    heatmap = tf.keras.Input((size, size, 3), name="heatmap")
    cnn = build_cnn(config)
    initial, project = state_layers(config)
    draw = DiffusionHeatMap(size, name=DRAW)
    to_unit = layers.Rescaling(2.0 / size, _offset(1.0 / size - 1.0), dtype="float32", name="output")
    # An untrained network predicts about the mean face. Parameters vary by 1, landmarks by 0.1.
    variance = 0.01 if config.state == "parameters" else 0.0001
    increment = layers.Dense(  # W_ho
        len(initial.values),
        use_bias=False,
        kernel_initializer=tf.keras.initializers.VarianceScaling(variance),
        dtype="float32",  # half precision would round the landmarks
        name="increment",
    )
    hidden_layer = None
    if config.hidden_units:
        hidden_layer = layers.Dense(config.hidden_units, activation="relu", name="hidden")
    cell, memory = None, []
    if config.recurrent_steps:
        units = scaled_width(config.recurrent_channels, config.rnn_multiplier)
        # Eq. 4 has no bias; that of an LSTM's forget gate is part of it.
        cell = CELLS[config.cell](units, use_bias=config.cell == "lstm", name="cell")
        names = ("initial_h", "initial_c")[: len(tf.nest.flatten(cell.state_size))]
        memory = [InitialState([0.0] * units, name=name)(image) for name in names]

    state = initial(image)  # p_0
    landmarks = project(state)
    features = cnn([image, heatmap])
    for step in range(max(config.recurrent_steps, 1)):
        if step and config.heatmap_input:
            features = cnn([image, draw(landmarks)])
        x = features
        if config.landmarks_input:
            coordinates = layers.Flatten()(to_unit(landmarks)[..., :2])
            x = layers.Concatenate()([x, coordinates])
        if cell is not None:
            x, memory = cell(x, memory)
        if hidden_layer is not None:
            x = hidden_layer(x)
        x = layers.Activation("linear", name=f"features{step + 1}")(x)  # gives each step's features a name
        state = layers.Add(dtype="float32", name=f"state{step + 1}")([state, increment(x)])
        landmarks = project(state)
    return tf.keras.Model({"image": image, "heatmap": heatmap}, to_unit(landmarks), name="dhm")


def build_cnn(config: ModelConfig) -> tf.keras.Model:
    """C(I, map): [image (B, S, S, 3), heatmap (B or 1, S, S, 3)] -> features (B, N)."""
    shape = (config.input_size, config.input_size, 3)
    image, heatmap = tf.keras.Input(shape), tf.keras.Input(shape)
    features = BACKBONES[config.backbone](config, image, heatmap)
    return tf.keras.Model([image, heatmap], layers.Flatten(name="features")(features), name="cnn")


def state_layers(config: ModelConfig) -> tuple[InitialState, Callable[[Tensor], Tensor]]:
    """The layer of p_0, and the function from a state to the landmarks (B, 68, 3) in pixels."""
    size = config.input_size
    if config.state == "parameters":
        initial = InitialState([0.0] * NUM_PARAMETERS, dtype="float32", name="initial_state")
        return initial, projection_layer(find_morphable(config.morphable), size, name=LANDMARKS)
    initial = InitialState(mean_shape().ravel().tolist(), dtype="float32", name="initial_state")
    reshape = layers.Reshape((NUM_LANDMARKS, 3), dtype="float32", name="reshape")
    to_pixels = layers.Rescaling(size / 2.0, _offset((size - 1) / 2.0), dtype="float32", name=LANDMARKS)
    return initial, lambda state: to_pixels(reshape(state))


def _offset(value: float) -> list[float]:
    """Of x and y alone: the origin of z is the same in pixels and in the network's unit."""
    return [value, value, 0.0]


def trace_states(model: tf.keras.Model) -> tf.keras.Model:
    """A network of `build_dhm` that shows its states (Fig. 3); it shares the weights.

    Returns:
        A model of the same inputs with two lists as outputs: `landmarks`, (B, 68, 3) pixels of
        each state from p_0 on, and `heatmaps`, (B, S, S, 3) of each step whose CNN saw one.
    """
    names = {layer.name for layer in model.layers}
    steps = sum(f"state{step}" in names for step in range(1, len(names)))
    states = [model.get_layer(name).output for name in ("initial_state", *_numbered("state", steps))]
    if "reshape" in names:
        states = [model.get_layer("reshape")(state) for state in states]
    points = [model.get_layer(LANDMARKS)(state) for state in states]
    maps = [model.input["heatmap"]]
    if DRAW in names:
        maps += [model.get_layer(DRAW)(landmarks) for landmarks in points[1:-1]]
    return tf.keras.Model(model.input, {"landmarks": points, "heatmaps": maps}, name="states")


def last_features(model: tf.keras.Model) -> Tensor:
    """The tensor (B, F) of which a network of `build_dhm` makes its last increment."""
    names = {layer.name for layer in model.layers}
    steps = sum(f"features{step}" in names for step in range(1, len(names)))
    return model.get_layer(f"features{steps}").output


def _numbered(name: str, count: int) -> list[str]:
    return [f"{name}{number}" for number in range(1, count + 1)]
