"""A photo from a rendered scene: background, exposure, blur, noise and compression."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from pipelines.synthetic.camera import RAY_START
from pipelines.synthetic.config import RenderConfig
from pipelines.synthetic.scene import Scene
from pipelines.synthetic.vectors import unit, vector
from tf_dhm.core.types import Floats


def background(side: int, rng: np.random.Generator) -> Floats:
    """A (side, side, 3) background in sRGB [0, 1]: gradients, clouds, shapes, sharp or blurred."""
    corners = rng.uniform(0, 1, (2, 2, 3)).astype(np.float32)
    muted = np.float32(np.sqrt(rng.uniform(0, 1)))
    if rng.random() < 0.4:
        corners = corners.mean((0, 1)) + 0.15 * (corners - 0.5)
    image = cv2.resize(corners, (side, side), interpolation=cv2.INTER_LINEAR)
    if rng.random() < 0.7:
        strength = rng.uniform(0.05, 0.4)
        for cells in (3, 7, 15, 31):
            noise = rng.normal(0, 1, (cells, cells, 3 if rng.random() < 0.5 else 1)).astype(np.float32)
            layer = cv2.resize(noise, (side, side), interpolation=cv2.INTER_CUBIC)
            image = image + strength * layer.reshape(side, side, -1)
            strength *= rng.uniform(0.3, 0.9)
    for _ in range(rng.integers(0, 14) if rng.random() < 0.7 else 0):
        colour = tuple(float(c) for c in rng.uniform(0, 1, 3))
        a, b = rng.integers(-side // 4, side * 5 // 4, (2, 2)).tolist()
        kind = rng.integers(3)
        if kind == 0:
            cv2.rectangle(image, a, b, colour, -1)
        elif kind == 1:
            axes = rng.integers(2, side // 3, 2).tolist()
            cv2.ellipse(image, a, axes, float(rng.uniform(0, 180)), 0, 360, colour, -1)
        else:
            cv2.line(image, a, b, colour, int(rng.integers(1, side // 10)))
    if rng.random() < 0.75:
        image = cv2.GaussianBlur(image, (0, 0), float(rng.uniform(0.5, 0.06 * side)))
    image = image + muted * (image.mean(2, keepdims=True) - image)
    return np.clip(image, 0, 1)


def finish(
    radiance: Floats, covered: NDArray[np.bool_], scene: Scene, config: RenderConfig, rng: np.random.Generator
) -> NDArray[np.uint8]:
    """Sampling, exposure, background, blur, noise and compression: (S, S, 3) uint8 RGB."""
    size = config.size
    exposed = radiance[covered][::4].mean(1)
    middle = float(np.percentile(exposed, rng.uniform(45, 80))) if len(exposed) else 1.0
    level = rng.uniform(0.38, 0.78) if rng.random() < 0.85 else rng.uniform(0.15, 0.95)
    radiance = np.minimum(radiance * np.float32(level**2.2 / (middle + 1e-4)), 4.0)
    tone: Floats = cv2.resize(radiance, (size, size), interpolation=cv2.INTER_AREA)
    matte = cv2.resize(covered.astype(np.float32), (size, size), interpolation=cv2.INTER_AREA)[..., None]
    tone /= np.maximum(matte, 1e-3)
    if rng.random() < 0.5:
        tone = tone * (1 + tone / 4) / (1 + tone)  # a soft shoulder
    image = np.clip(tone, 0, 1) ** np.float32(1 / rng.uniform(1.8, 2.6))
    behind = background(size, rng)
    if rng.random() < 0.25:
        behind = crowd(behind, scene, size, rng)
    return degrade(behind + (image - behind) * matte, config.degrade, rng)


def crowd(behind: Floats, scene: Scene, side: int, rng: np.random.Generator) -> Floats:
    """Other heads, small and out of focus, in a background."""
    small = 48
    angle = rng.uniform(-np.pi, np.pi)
    c, s = np.cos(angle), np.sin(angle)
    u = (np.arange(small, dtype=np.float32) / small - 0.5) * 36
    x, y = np.meshgrid(u, -u)
    axes = np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]], np.float32)
    origins = np.stack([x, y, np.full_like(x, RAY_START)], -1).reshape(-1, 3) @ axes
    towards = np.ascontiguousarray(np.broadcast_to(-axes[2], origins.shape))
    rays = scene.embree.run(origins.astype(np.float32), towards, output=1)
    hit = rays["primID"] >= 0
    normal = unit(rays["Ng"])
    bright = 0.35 + 0.65 * np.abs(normal @ axes[2])
    tones = np.array([rng.uniform(0.2, 0.9, 3), *(part.colour**0.45 for part in scene.parts)])
    colour = np.zeros((small * small, 3), np.float32)
    colour[hit] = tones[scene.owner[rays["primID"][hit]]] * bright[hit, None]
    head = colour.reshape(small, small, 3)
    alpha = hit.reshape(small, small).astype(np.float32)
    for _ in range(rng.integers(1, 4)):
        zoom = rng.uniform(0.3, 1.3) * side / small
        shift = rng.uniform(-0.4, 1.0, 2) * side
        matrix = np.array([[zoom, 0, shift[0]], [0, zoom, shift[1]]])
        layer = cv2.warpAffine(head, matrix, (side, side))
        matte = cv2.warpAffine(alpha, matrix, (side, side))
        blur = float(rng.uniform(0.8, 6))
        matte = cv2.GaussianBlur(matte, (0, 0), blur)[..., None]
        behind = behind * (1 - matte) + cv2.GaussianBlur(layer, (0, 0), blur)
    return np.clip(behind, 0, 1)


def degrade(image: Floats, strength: float, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Degrade an image in [0, 1] as cameras and files do: colour, blur, low resolution, noise, JPEG."""
    size = len(image)
    image = image * (1 + rng.normal(0, 0.06, 3).astype(np.float32) * strength)
    mean = image.mean()
    image = (image - mean) * (1 + rng.normal(0, 0.15) * strength) + mean
    grey = image @ vector([0.299, 0.587, 0.114])
    saturation = 0.0 if rng.random() < 0.08 else 1 + rng.normal(0, 0.25) * strength
    image = grey[..., None] + (image - grey[..., None]) * saturation
    if rng.random() < 0.3 * strength:
        shade = cv2.resize(rng.uniform(0.55, 1.3, (2, 2)).astype(np.float32), (size, size))
        image = image * shade[..., None]
    if rng.random() < 0.25 * strength:
        image = cv2.GaussianBlur(image, (0, 0), float(rng.uniform(0.3, 1.5) * size / 128))
    if rng.random() < 0.1 * strength:
        length = int(rng.integers(3, 9))
        angle = rng.uniform(0, np.pi)
        kernel = np.zeros((length, length), np.float32)
        middle = (length - 1) / 2
        steps = np.linspace(-middle, middle, 2 * length)
        rows, columns = np.round(middle + steps * np.sin(angle)), np.round(middle + steps * np.cos(angle))
        np.add.at(kernel, (rows.astype(int), columns.astype(int)), 1)
        image = cv2.filter2D(image, -1, kernel / kernel.sum())
    if rng.random() < 0.2 * strength:
        small = max(24, int(size * rng.uniform(0.3, 0.9)))
        image = cv2.resize(image, (small, small), interpolation=cv2.INTER_AREA)
        image = cv2.resize(
            image, (size, size), interpolation=int(rng.choice([cv2.INTER_LINEAR, cv2.INTER_CUBIC]))
        )
    if rng.random() < 0.5 * strength:
        sigma = 0.003 + 0.037 * rng.uniform(0, 1) ** 2
        noise = rng.standard_normal(image.shape, np.float32) * np.float32(sigma)
        image = image + noise * np.sqrt(np.clip(image, 0.05, 1)) * np.float32(1.5)
    pixels: NDArray[Any] = (np.clip(image, 0, 1) * 255 + 0.5).astype(np.uint8)
    if rng.random() < 0.6 * strength:
        quality = [int(cv2.IMWRITE_JPEG_QUALITY), int(rng.integers(25, 96))]
        _, encoded = cv2.imencode(".jpg", pixels[..., ::-1], quality)
        pixels = cv2.imdecode(encoded, cv2.IMREAD_COLOR)[..., ::-1]
    return np.ascontiguousarray(pixels)
