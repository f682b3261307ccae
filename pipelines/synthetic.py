"""Reader of synthetic faces: rendered on the fly, so that there is nothing to download."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import cv2

from pipelines.renderer import FaceRenderer, RenderConfig, RenderedFace
from pipelines.samples import FaceSample, Split
from tf_dhm.errors import InputError


def read(
    count: int,
    seed: int = 0,
    *,
    start: int = 0,
    val_every: int = 0,
    split: Split = "train",
    config: RenderConfig | None = None,
) -> Iterator[FaceSample]:
    """Yield rendered faces `start` ... `start + count - 1` of the series `seed`.

    A face depends on nothing but (seed, index, config): ranges can be read anywhere and in
    parallel, and a range that was cut short goes on at its next index. Image and labels are
    rendered as the sample is yielded.

    Args:
        count: number of faces.
        seed: of the series; series of different seeds share no face.
        start: index of the first face.
        val_every: if positive, every face whose index it divides belongs to "val".
        split: of all other faces.
        config: what to render.

    Raises:
        InputError: a number is negative.
    """
    for name, value in (("count", count), ("seed", seed), ("start", start), ("val_every", val_every)):
        if value < 0:
            raise InputError(f"synthetic faces: found {name} {value}, expected 0 or more")
    renderer = FaceRenderer(config)
    for index in range(start, start + count):
        is_val = val_every > 0 and index % val_every == 0
        yield to_sample(renderer.render(seed, index), seed, index, "val" if is_val else split)


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
