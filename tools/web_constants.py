"""Write the constants of the pipeline for the browser package: `python tools/web_constants.py`.

The browser package in `web/` runs the same pipeline as the Python package. Every number that both need
is exported from here into `web/src/constants.json`, which is committed so that `web/` builds without Python.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tf_dhm.core.cli import run_script

import tf_dhm
from tf_dhm.core.command_line import parse_options
from tf_dhm.core.files import atomic_write
from tf_dhm.face import expression, fit, geometry, heatmap, placement
from tf_dhm.face.mean_face import mean_shape
from tf_dhm.runtime import (
    crops,
    detector,
    drawing,
    finding,
    following,
    mesh_pictures,
    predictor,
    settings,
    store,
    tracking,
)

ROOT = Path(__file__).resolve().parents[1]
CONSTANTS = ROOT / "web" / "src" / "constants.json"


@dataclass(frozen=True)
class Config:
    """File to which the constants are written."""

    output: Path = CONSTANTS
    """JSON file."""


def constants() -> dict[str, Any]:
    """The constants as JSON types."""
    shape = mean_shape()
    return {
        "about": "Written by tools/web_constants.py from the Python package. Do not edit.",
        "version": tf_dhm.__version__,
        "defaultModel": store.DEFAULT_MODEL,
        "maxPasses": settings.MAX_PASSES,
        "unsettled": predictor.UNSETTLED,
        "minConfidence": settings.MIN_CONFIDENCE,
        "cropScale": geometry.CROP_SCALE,
        "sampling": {
            "maxShrink": crops.MAX_SHRINK,
            "maxSupersampling": crops.MAX_SUPERSAMPLING,
        },
        "heatmap": {"sigma": heatmap.SIGMA, "radius": heatmap.RADIUS},
        "detectors": {name: detector_constants(name) for name in detector.NETWORKS},
        "detection": {
            "minScore": detector.MIN_SCORE,
            "sameFace": detector.SAME_FACE,
            "sizeRange": list(detector.SIDE_RANGE),
        },
        "finding": {
            "looks": {choice: [list(look) for look in looks] for choice, looks in finding.LOOKS.items()},
            "sure": finding.SURE,
            "samePlace": finding.SAME_PLACE,
            "inside": finding.INSIDE,
        },
        "tiles": {
            "above": detector.TILES_ABOVE,
            "share": detector.TILE_SHARE,
            "step": detector.TILE_STEP,
            "face": detector.TILE_FACE,
            "edge": detector.TILE_EDGE,
        },
        "tracking": camel_case(asdict(settings.TrackingConfig()))
        | {
            "matchOverlap": tracking.MATCH_OVERLAP,
            "driftOverlap": tracking.DRIFT_OVERLAP,
            "glanceSide": tracking.GLANCE_SIDE,
            "twinOverlap": tracking.TWIN_OVERLAP,
            "returnReach": tracking.RETURN_REACH,
            "fast": following.FAST,
        },
        "fit": camel_case(asdict(fit.FitConfig()))
        | {
            "minConfidence": fit.MIN_CONFIDENCE,
            "notFinite": fit.NOT_FINITE,
            "notConfident": fit.NOT_CONFIDENT,
            "toCamera": placement.TO_CAMERA.tolist(),
            "units": list(expression.face_units().names),
            "offeredUnits": list(expression.OFFERED),
        },
        "meshPicture": {
            "opacity": mesh_pictures.OPACITY,
            "light": [round(float(value), 6) for value in mesh_pictures.LIGHT],
            "tone": mesh_pictures.TONE.tolist(),
            "darkest": mesh_pictures.DARKEST,
            "farthest": mesh_pictures.FARTHEST,
        },
        "colours": {
            "points": list(drawing.POINT_COLOUR),
            "contours": list(drawing.CONTOUR_COLOUR),
            "axes": [list(colour) for colour in drawing.AXIS_COLOURS],
            "ids": list(drawing.ID_COLOUR),
        },
        "contours": [{"points": list(line), "closed": closed} for line, closed in drawing.CONTOURS],
        "mirror": geometry.MIRROR_68.tolist(),
        "meanShape": shape.tolist(),
    }


def detector_constants(reach: detector.Range) -> dict[str, Any]:
    """File, input size, anchors and box map of a BlazeFace network. Both networks have the same grids."""
    path, size, box_map = detector.NETWORKS[reach]
    return {
        "file": path.name,
        "size": size,
        "anchors": [list(grid) for grid in detector.ANCHORS],
        "centreX": box_map.centre_x.tolist(),
        "centreYAndSize": box_map.centre_y_and_size.tolist(),
    }


def camel_case(values: dict[str, Any]) -> dict[str, Any]:
    """Names as JavaScript writes them.

    >>> camel_case({"min_side": 1, "smoothing": {"speed_cutoff": 2}})
    {'minSide': 1, 'smoothing': {'speedCutoff': 2}}
    """
    renamed = {}
    for name, value in values.items():
        first, *rest = name.split("_")
        key = first + "".join(word.capitalize() for word in rest)
        renamed[key] = camel_case(value) if isinstance(value, dict) else value
    return renamed


def to_json(values: dict[str, Any]) -> str:
    """One line per constant."""
    lines = [f"  {json.dumps(name)}: {json.dumps(value)}" for name, value in values.items()]
    return "{\n" + ",\n".join(lines) + "\n}\n"


def main() -> None:
    config = parse_options(Config, description=__doc__)
    with atomic_write(config.output) as path:
        path.write_text(to_json(constants()), encoding="utf-8")
    print(f"written: {config.output}")


if __name__ == "__main__":
    run_script(main)
