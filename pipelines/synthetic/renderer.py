"""Rendered faces with exact labels: the open face under random light, in random dress, by ray casting.

No display and no graphics library: `embreex` casts the rays, NumPy shades the points they hit.
Everything in an image is drawn from `numpy.random.default_rng((seed, index))`, so that any image
can be made anywhere, in any order.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipelines.synthetic.camera import Camera, random_camera
from pipelines.synthetic.config import RenderConfig
from pipelines.synthetic.lighting import random_lights
from pipelines.synthetic.meshes import Part
from pipelines.synthetic.photo import finish
from pipelines.synthetic.rig import inset_teeth, load_rig, vertex_normals
from pipelines.synthetic.sampling import (
    Dress,
    random_looks,
    random_parameters,
    random_parts,
    random_rotation,
    random_things,
)
from pipelines.synthetic.scene import Scene, tint_lenses
from tf_dhm.core.types import Floats
from tf_dhm.face.geometry import euler_angles, landmark_box
from tf_dhm.face.parameters import ANGLES, EXPRESSION, IDENTITY, NUM_PARAMETERS, SCALE, TRANSLATION


@dataclass(frozen=True)
class RenderedFace:
    """A rendered image and its labels.

    Attributes:
        image: (S, S, 3) uint8 RGB.
        landmarks: (68, 3) float32, 0-based pixels, y down; z larger nearer, zero mean.
        visibility: (68,) uint8, SELF_OCCLUDED, OCCLUDED (by hair, dress or a thing) or VISIBLE.
        p: (234,) float64 of Eq. 2, in the layout of `tf_dhm.face.parameters`. Under a weak-perspective
            camera it gives the landmarks exactly; under a perspective one f and t_2d are the least
            squares fit to them.
        pose: (3,) float32 degrees pitch, yaw, roll in the signs of `Pose_Para`.
        box: (4,) float32 landmark box x0, y0, x1, y1.
        camera: of the image; its scene is the head turned about its origin.
    """

    image: NDArray[np.uint8]
    landmarks: Floats
    visibility: NDArray[np.uint8]
    p: NDArray[np.float64]
    pose: Floats
    box: Floats
    camera: Camera

    @property
    def perspective(self) -> bool:
        """Whether rays of the camera meet in a point; otherwise they are parallel."""
        return bool(np.isfinite(self.camera.distance))


class FaceRenderer:
    """Renders faces; `render(seed, index)` depends only on its arguments and the configuration.

    >>> face = FaceRenderer(RenderConfig(size=64)).render(seed=0, index=5)
    >>> face.image.shape, face.landmarks.shape
    ((64, 64, 3), (68, 3))
    """

    def __init__(self, config: RenderConfig | None = None) -> None:
        self.config = config or RenderConfig()
        self.rig = load_rig()

    def render(self, seed: int, index: int) -> RenderedFace:
        """The image `index` of the endless series `seed`."""
        rng = np.random.default_rng((seed, index))
        weights = np.concatenate(random_parameters(self.rig, rng))
        return self.render_head(weights, weights @ self.rig.basis, rng)

    def render_head(self, weights: Floats, offsets: Floats, rng: np.random.Generator) -> RenderedFace:
        """An image of a given head.

        Args:
            weights: (228,) p_id and p_exp that the label `p` is to have.
            offsets: (V * 3,) centimetres by which the vertices differ from the mean face's.
            rng: everything else is drawn from it.
        """
        config, rig = self.config, self.rig
        vertices = (rig.model.mean.ravel() + offsets).reshape(-1, 3).astype(np.float32)
        inset_teeth(rig, vertices)
        normals = vertex_normals(rig, vertices)
        rotation = random_rotation(config, rng)
        turn = rotation.T.astype(np.float32)
        landmarks3d = (vertices[rig.model.landmarks] @ turn).astype(np.float64)
        camera = random_camera(landmarks3d, config, rng)

        dressed = Dress(
            hair=rng.random() < 0.75, hat=rng.random() < 0.12 * config.occlusion, beard=rng.random() < 0.13
        )
        looks = random_looks(rng, dressed.hair)
        worn, lenses = random_parts(rig, vertices, normals, looks, dressed, config, rng)
        parts = [turned_part(part, turn) for part in worn]
        parts += random_things(looks, landmarks3d.astype(np.float32), config, rng)
        scene = Scene(rig, vertices, normals, turn, parts)
        visibility = scene.landmark_visibility(landmarks3d, normals[rig.model.landmarks] @ turn, camera)

        lights, sky, ground = random_lights(rng)
        side = round(config.size * config.supersampling)
        radiance, depth = scene.radiance(camera, config.size, side, looks, lights, sky, ground, rng)
        if lenses is not None:
            moved = (lenses[0] @ turn).astype(np.float32), lenses[1]
            visibility = tint_lenses(
                radiance, depth, moved, camera, config.size, visibility, landmarks3d, rng
            )
        image = finish(radiance, np.isfinite(depth), scene, config, rng)

        points = camera.project(landmarks3d)
        points[:, 2] -= points[:, 2].mean()
        p = parameters(rotation, weights, landmarks3d, points, config.size)
        return RenderedFace(
            image=image,
            landmarks=points.astype(np.float32),
            visibility=visibility,
            p=p,
            pose=np.rad2deg(p[ANGLES]).astype(np.float32),
            box=landmark_box(points).astype(np.float32),
            camera=camera,
        )


def turned_part(part: Part, turn: Floats) -> Part:
    return Part(**{**vars(part), "vertices": (part.vertices @ turn).astype(np.float32)})


def parameters(
    rotation: NDArray[np.float64],
    weights: Floats,
    shape: NDArray[np.float64],
    points: NDArray[np.float64],
    size: int,
) -> NDArray[np.float64]:
    """p of Eq. 2 in the plane of 300W-LP (1-based, y up): f and t_2d by least squares over the landmarks."""
    target = np.stack([points[:, 0] + 1, size - points[:, 1]], 1)
    centred = shape[:, :2] - shape[:, :2].mean(0)
    scale = (centred * (target - target.mean(0))).sum() / (centred**2).sum()
    p = np.empty(NUM_PARAMETERS)
    p[SCALE] = scale
    p[ANGLES] = euler_angles(rotation)
    p[TRANSLATION] = target.mean(0) - scale * shape[:, :2].mean(0)
    p[IDENTITY], p[EXPRESSION] = weights[:199], weights[199:]
    return p
