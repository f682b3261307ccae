"""The options of `align.py`."""

from __future__ import annotations

import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TextIO

import tyro
from msgspec import Meta

from tf_dhm.core.command_line import RARE
from tf_dhm.core.configuration import AtLeastOne, Count, Share, check_fields
from tf_dhm.core.errors import InputError
from tf_dhm.core.files import STDOUT
from tf_dhm.runtime.settings import MAX_PASSES, MIN_CONFIDENCE, Backend, Choice, Part, TrackingConfig
from tf_dhm.runtime.store import DEFAULT_MODEL

if TYPE_CHECKING:
    from tf_dhm.runtime.faces import Face

DEFAULT_OUTPUT = Path("aligned")
"""Folder of the drawn pictures if the command line names nothing to write."""
NUMBER = tyro.conf.arg(metavar="INT")
RECORD_OPTIONS = (
    "model",
    "server",
    "mirror",
    "passes",
    "faces",
    "detector",
    "tiles",
    "min_confidence",
    "min_score",
    "frames",
    "field_of_view",
)
"""Options on which records depend, beside those of tracking and of meshes."""


@dataclass(frozen=True)
class AlignConfig:
    """Find 68 three-dimensional landmarks in photos, videos or the frames of a camera.

    Without --output, --json, --csv, --crops, --mesh, --osc and --show, pictures with the landmarks are
    written to the folder "aligned", and a line is printed for each file.

    Exit code: 0 if all files were read and written, 1 if some were not (the others were), 2 if nothing could
    be done: wrong options, no model, a folder without photos.
    """

    inputs: Annotated[tyro.conf.Positional[tuple[str, ...]], tyro.conf.arg(metavar="[FILE ...]")] = ()
    """Photos, videos, folders (searched with their sub-folders), patterns such as 'trip/*.jpg', or - for a
    photo on standard input."""
    camera: Annotated[Count | None, NUMBER] = None
    """Number of a camera (0 is the first), instead of files. Ctrl-C stops it."""
    output: Path | None = None
    """Folder for the photos and videos with the landmarks drawn."""
    json: Path | None = None
    """JSON Lines file: a line for each photo or frame with the box, score, pose and landmarks of its faces;
    - for standard output. Without --resume an existing file is replaced."""
    csv: Path | None = None
    """CSV file: a row for each face; - for standard output. Training takes it as the dataset "csv". Without
    --resume an existing file is replaced."""
    crops: Path | None = None
    """Folder for a picture of each face, turned upright and cut out."""
    crop_size: Annotated[int, Meta(ge=8, le=4096), RARE] = 256
    """Side of the pictures of --crops in pixels."""
    mesh: Path | None = None
    """Folder for whole faces: a coloured head (.obj and .glb) for each face of a photo, a depth map and a map
    of positions on the face (PNCC) for each photo, and a .glb for each face of a video frame. The records
    then have the parameters p, the pose matrix and the expression of each face, and "mesh" in --draw draws
    the head."""
    osc: Annotated[str | None, RARE] = None
    """HOST:PORT that receives pose, matrix and expression of the faces as OSC messages over UDP."""
    field_of_view: Annotated[float | None, RARE] = None
    """Horizontal field of view of the camera in degrees, which makes the pose right for faces off the centre
    of the photo. By default a parallel projection is assumed."""
    show: bool = False
    """Show the frames of videos and of the camera in a window; q stops."""
    resume: bool = False
    """Resume an interrupted run: skip files that it finished, and keep its lines. The options must be those
    of that run. A finished run can be resumed with further files, but then options are not compared."""
    frames: Annotated[AtLeastOne | None, NUMBER, RARE] = None
    """Stop a video or the camera after this number of frames."""
    min_confidence: Annotated[Share, RARE] = MIN_CONFIDENCE
    """Faces below this confidence are not drawn, cut out or counted; JSON and CSV keep them, marked as
    "below_limit"."""
    min_score: Annotated[Share, RARE] = 0.0
    """Faces below this score of the detector (0.5 to 1) are not drawn, cut out or counted either."""
    tiles: Annotated[Literal["auto", "on", "off"], RARE] = "auto"
    """Also search overlapping tiles, which finds faces down to 1/50 of the longer side and takes several
    times as long. auto: in photos above 2,000 pixels, and not in videos."""
    quiet: Annotated[bool, RARE] = False
    """Print nothing but errors."""
    model: str = DEFAULT_MODEL
    """Name of a model, its folder, or a .tflite file."""
    backend: Annotated[Backend, RARE] = "tflite"
    """Format of the model to run: its TFLite file, or its SavedModel (slower to start)."""
    threads: Annotated[AtLeastOne, RARE] = 1
    """Threads of TFLite."""
    server: str | None = None
    """HOST:PORT (gRPC) or http://HOST:PORT (REST) of a TF Serving server that runs the model instead."""
    mirror: Annotated[bool, RARE] = False
    """Run the model on each face and on its mirror image and average the results: slightly more accurate, in
    twice the time."""
    passes: Annotated[Annotated[int, Meta(ge=1, le=MAX_PASSES)] | None, NUMBER, RARE] = None
    """Number of runs of the model on each face. From the second run on, the crop is normalised by the
    landmarks so far, which corrects inexact boxes. By default 2 for faces found in photos, with a third one
    if their results differ, and 1 in videos, in which the box is that of the last landmarks. A number applies
    to all faces."""
    faces: Annotated[AtLeastOne | None, NUMBER, RARE] = None
    """Keep at most this many faces of a photo or frame, the most confident ones; by default all."""
    detector: Annotated[Choice, RARE] = "auto"
    """Size of the faces to search for: down to 1/20 of the longer side of the photo (full), or down to 1/5 in
    a fifth of the time (short). auto: full, or with --faces 1 first short."""
    draw: tuple[Part, ...] = ("points", "contours", "ids")
    """Parts that are drawn on photos and frames. Points are green, contours yellow, ids white."""
    tracking: TrackingConfig = field(default_factory=TrackingConfig)
    """How faces are followed through a video."""

    def __post_init__(self) -> None:
        check_fields(self)
        if self.camera is not None and self.inputs:
            raise InputError(
                f"--camera: found the files {' '.join(self.inputs)} as well, expected a camera or files"
            )
        if self.resume and self.camera is not None:
            raise InputError("--resume: found --camera, expected files")
        if self.json == self.csv == STDOUT:
            raise InputError("--json and --csv: found - for both, expected one on standard output")
        if self.resume and STDOUT in (self.json, self.csv):
            raise InputError("--resume: found records on standard output, expected a file to resume from")
        if (
            self.resume
            and (self.crops or self.mesh or self.osc)
            and not (self.output or self.json or self.csv)
        ):
            raise InputError(
                "--resume: expected --output, --json or --csv, which show the files that are done"
            )
        if self.field_of_view is not None:
            if not self.fits_meshes:
                raise InputError("--field-of-view: found no --mesh, --osc or --draw mesh, expected one")
            from tf_dhm.face.camera import Camera  # here, so that --help does not load NumPy

            Camera.of_view(self.field_of_view, 1, 1)  # checks it

    @property
    def names_an_output(self) -> bool:
        """Whether the command line says what to write or show."""
        outputs = (self.output, self.json, self.csv, self.crops, self.mesh, self.osc)
        return any(outputs) or self.show

    @property
    def fits_meshes(self) -> bool:
        """Whether the whole face is fitted."""
        return self.mesh is not None or self.osc is not None or "mesh" in self.draw

    @property
    def record_options(self) -> dict[str, Any]:
        """The options on which the records depend, as JSON has them."""
        values = {name: getattr(self, name) for name in RECORD_OPTIONS}
        tracking = {f"tracking.{name}": value for name, value in asdict(self.tracking).items()}
        return values | {"mesh": self.fits_meshes} | tracking

    @property
    def lists_files(self) -> bool:
        """Whether a line is printed for each file."""
        return not self.names_an_output and not self.quiet

    @property
    def drawn_folder(self) -> Path | None:
        """Folder for drawn photos and videos; None if they are not written."""
        return self.output if self.names_an_output else DEFAULT_OUTPUT

    @property
    def messages(self) -> TextIO:
        """Stream of the lines that are no records."""
        return sys.stderr if STDOUT in (self.json, self.csv) else sys.stdout

    def is_convincing(self, face: Face) -> bool:
        """Whether a face reaches both limits; a face without confidence or score is not held to that one."""
        return face.is_convincing(self.min_confidence) and (
            face.score is None or face.score >= self.min_score
        )
