"""Draw docs/figures/heat_maps.png: two training examples from the tf.data pipeline.

    python tools/draw_heat_maps.py

The faces are rendered, so no dataset is needed. Each row shows one example: the image with the
landmarks to predict (green) and the initial shape (orange), then the x, y and z channels of its heat
map. The first face starts from the mean face, the second one from the landmarks of a simulated first
pass. Takes about half a minute.
"""

from __future__ import annotations

import sys
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from tf_dhm.core.cli import run_script  # noqa: E402

import cv2  # noqa: E402
import numpy as np  # noqa: E402
from numpy.typing import NDArray  # noqa: E402

from pipelines.datasets.catalogue import SYNTHETIC  # noqa: E402
from pipelines.input.batches import training_batches  # noqa: E402
from pipelines.input.order import make_order  # noqa: E402
from pipelines.prepared import datasets, records  # noqa: E402
from pipelines.prepared.config import StoreConfig  # noqa: E402
from pipelines.synthetic.series import training_series  # noqa: E402
from tf_dhm.core.command_line import parse_options  # noqa: E402
from tf_dhm.core.errors import InputError  # noqa: E402
from tf_dhm.core.files import atomic_write  # noqa: E402
from tf_dhm.face.mean_face import mean_landmarks  # noqa: E402
from tf_dhm.runtime.drawing import draw_points  # noqa: E402
from tf_dhm.training.config import TrainConfig  # noqa: E402
from tf_dhm.training.presets import SYNTHETIC_AUGMENT, find_preset  # noqa: E402

FACES = 22
"""Faces that are rendered; two of them are for validation."""
INITIAL_COLOUR = (255, 140, 0)


@dataclass(frozen=True)
class Config:
    """Draw the heat maps of training examples."""

    output: Path = ROOT / "docs" / "figures" / "heat_maps.png"
    """Image file to write."""
    preset: str = "fast_dhm_m"
    """Preset whose input size is used."""
    step: int = 11
    """Step of the training whose batch is drawn, from 0."""
    zoom: int = 2
    """Pixels of the picture for each pixel of the network input."""

    def __post_init__(self) -> None:
        if self.step < 0 or self.zoom < 1:
            raise InputError(f"step, zoom: found {self.step}, {self.zoom}, expected 0 or more and 1 or more")


def draw(config: Config) -> None:
    """Render faces, make one training batch and write it as a picture."""
    size = find_preset(config.preset).model.input_size
    store = StoreConfig.for_input(size)
    with tempfile.TemporaryDirectory() as cache:
        series = training_series(FACES, 0, store.crop_side)
        folder = datasets.prepared_folder(SYNTHETIC, None, Path(cache), store, faces=series, workers=1)
        faces = records.load(folder, "train")
    train = TrainConfig(batch_size=2)
    augment = replace(SYNTHETIC_AUGMENT, second_pass=0.5)  # the first face of each batch of two
    rows = []
    by_source = {}
    for source in ("layer", "py_function"):
        recipe = replace(train, map_source=source)
        stream = training_batches(
            faces, make_order(faces, recipe), size, recipe, augment, config.step, config.step + 1
        )
        (batch,) = stream.as_numpy_iterator()
        by_source[source] = batch
    batch = by_source["py_function"]
    (initial,) = by_source["layer"]["initial"]
    for face, shape in ((1, mean_landmarks(size)), (0, initial)):
        rows.append(
            draw_example(
                batch["image"][face], batch["landmarks"][face], shape, batch["heatmap"][face], config.zoom
            )
        )
    config.output.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(config.output) as temporary:
        cv2.imwrite(str(temporary), np.vstack(rows)[..., ::-1])
    print(f"{config.output}: {config.output.stat().st_size:,} bytes")


def draw_example(
    image: NDArray[np.uint8],
    landmarks: NDArray[np.float32],
    initial: NDArray[np.float32],
    heatmap: NDArray[np.float32],
    zoom: int,
) -> NDArray[np.uint8]:
    """One row: the image with both shapes, and the channels x, y and z of the map.

    Args:
        image: (S, S, 3) uint8 RGB.
        landmarks, initial: (68, 3) pixels of the image.
        heatmap: (S, S, 3) in [0, 1].
        zoom: pixels of the result for each pixel of the image.

    Returns:
        (zoom S, 4 zoom S, 3) uint8 RGB.
    """
    side = zoom * len(image)
    picture: NDArray[Any] = cv2.resize(image, (side, side), interpolation=cv2.INTER_CUBIC)
    for shape, colour in ((initial, INITIAL_COLOUR), (landmarks, (0, 255, 0))):
        # Centres of pixels are integers, so the corner of the picture is at -0.5.
        picture = draw_points(picture, (shape[:, :2] + 0.5) * zoom - 0.5, colour)
    channels = cv2.resize(heatmap, (side, side), interpolation=cv2.INTER_NEAREST)
    grey = np.rint(channels * 255.0).astype(np.uint8)
    return np.hstack([picture, *(np.repeat(grey[..., axis, None], 3, -1) for axis in range(3))])


if __name__ == "__main__":
    run_script(lambda: draw(parse_options(Config, description=__doc__)))
