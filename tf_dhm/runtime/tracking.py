"""Faces followed through the frames of a video.

In each frame the model searches each face at its place in the last one. The detector runs if a face
becomes doubtful, after a face was lost, and every few frames, to find new faces and to confirm
the ones that are followed. docs/tracking.md describes the rules and how they were chosen.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from time import monotonic

import numpy as np

from tf_dhm.core.errors import InputError, check_type
from tf_dhm.core.types import Array, Image
from tf_dhm.face import geometry
from tf_dhm.face.fit import FaceFit
from tf_dhm.face.geometry import overlaps
from tf_dhm.face.mean_face import pose_from_mean_face
from tf_dhm.runtime.aligner import Aligner
from tf_dhm.runtime.detector import Detection
from tf_dhm.runtime.faces import Face, make_faces, with_meshes
from tf_dhm.runtime.following import ahead, distances, follow_box, iou, match, shape_residual, share_inside
from tf_dhm.runtime.images import Photo, Source, frame_pixels
from tf_dhm.runtime.predictor import LandmarkModel, predict_photos
from tf_dhm.runtime.settings import TrackingConfig
from tf_dhm.runtime.smoothing import OneEuroFilter
from tf_dhm.runtime.turning import face_back, turn_round

MATCH_OVERLAP = 0.2
"""Least IoU of a detection and the face that it confirms. The detector's box overlaps the true one by
0.84 on average, 0.74 in profile (docs/detector.md)."""
DRIFT_OVERLAP = 0.5
"""Below this IoU of a detection and the face that it confirms, the face is searched again from there."""
GLANCE_SIDE = 0.1
"""Frames are glanced at if no face is smaller than this share of the frame's longer side. A glance sees
nearly all faces of twice that size and four of five of this one (docs/detector.md)."""
TWIN_OVERLAP = 0.6
"""Two followed faces whose boxes overlap by more than this are one."""
RETURN_REACH = 1.0
"""How far from its last place, in units of its size, a lost face may turn up and keep its id; a face
twice or half as large counts as 0.7 away."""

Detect = Callable[[Image], Sequence[Detection]]
"""(H, W, 3) uint8 RGB -> the faces in it."""
Align = Callable[[Image, Array], Sequence[Face]]
"""(H, W, 3) uint8 RGB and boxes (N, 4) -> the face in each box."""


@dataclass(frozen=True)
class Evidence:
    """The evidence for a face in the box that was searched.

    Attributes:
        agreement: overlap (IoU) of the searched box and the box of the landmarks found there.
        residual: distance of the landmarks from the mean face, see `shape_residual`.
        confidence: of the model; None if it gives none.
    """

    agreement: float
    residual: float
    confidence: float | None = None

    @classmethod
    def of(cls, face: Face, box: Array) -> Evidence:
        """The evidence for a face whose landmarks have this box (4,)."""
        return cls(iou(face.box, box), shape_residual(face.landmarks), face.confidence)


def is_doubtful(evidence: Evidence, config: TrackingConfig, before: bool = False) -> bool:
    """Whether a face must be detected again before its landmarks are trusted.

    Args:
        evidence: evidence in the current frame.
        config: see `TrackingConfig`.
        before: whether the face was doubtful in the last frame. Then the threshold of confidence is
            higher (hysteresis), so that a fluctuating confidence does not toggle the result.
    """
    if evidence.agreement < config.min_agreement or evidence.residual > config.max_residual:
        return True
    least = config.sure_confidence if before else config.min_confidence
    return evidence.confidence is not None and evidence.confidence < least


@dataclass
class Track:
    """One face on its way through the frames."""

    id: int
    face: Face  # as the model found it, not smoothed
    box: Array  # (4,) of its landmarks
    doubtful: bool
    agreement: float
    smooth: OneEuroFilter
    motion: tuple[float, float] = (0.0, 0.0)  # pixels since the last frame, x and y
    alarm: bool = False  # sure for a while, and doubtful in this frame
    sure_for: int = 0  # frames
    misses: int = 0
    lost_at: int = 0


@dataclass(frozen=True, eq=False)
class Matched:
    """The detections in a frame, matched to the faces that are followed."""

    detections: list[Detection]
    overlaps: Array  # (N, M) IoU of each face and each detection
    seen: dict[int, int]  # number of a face -> number of its detection


class Tracker:
    """Follows the faces of one video; each video needs a tracker of its own.

    Several trackers may share an `Aligner`, also in several threads. One tracker must get the frames of one
    video in their order, from one thread at a time.

    Example:
        >>> tracker = Tracker.of(Aligner())
        >>> for number in range(3):
        ...     faces = tracker.update(np.zeros((120, 160, 3), np.uint8), time=number / 25)
        >>> faces
        []

    Args:
        detect: finds faces; called only if it is needed.
        align: finds landmarks in boxes.
        config: see `TrackingConfig`.
        mesh: whether the whole face is fitted to the smoothed landmarks of each frame, beginning at the fit
            of the last frame.
        field_of_view: as of `Aligner`.
        max_faces: most faces that are followed at a time; None: all.
        glance: finds large faces in less time than `detect`; see `TrackingConfig.glances`. None: every
            detection is that of `detect`.
    """

    def __init__(
        self,
        detect: Detect,
        align: Align,
        config: TrackingConfig | None = None,
        mesh: bool = False,
        field_of_view: float | None = None,
        max_faces: int | None = None,
        glance: Detect | None = None,
    ) -> None:
        self.config, self.max_faces = config or TrackingConfig(), max_faces
        self._mesh, self._field_of_view = mesh, field_of_view
        self._fits: dict[int | None, FaceFit | None] = {}
        self._detect, self._align, self._glance = detect, align, glance
        self._tracks: list[Track] = []
        self._lost: list[Track] = []
        self._frame = -1
        self._detected_at = 0
        self._glances = 0  # since the last search by `detect`
        self._next_id = 0
        self._shape: tuple[int, ...] = ()
        self._time = -np.inf
        self._turned = False  # whether the faces that are followed are those of the frames upside down

    @classmethod
    def of(cls, aligner: Aligner, config: TrackingConfig | None = None) -> Tracker:
        """A tracker with the detector and the model of an aligner.

        Frames are searched in tiles only if `aligner.tiles` is True, of whatever size they are: the detector
        then takes several times as long, which a video at its own pace may not have.
        """
        check_type("aligner", aligner, "an Aligner", Aligner)
        check_type("config", config, "a TrackingConfig or None", TrackingConfig, type(None))
        finder, tiles = aligner.detector, aligner.tiles is True
        pose = not (config or TrackingConfig()).smooth  # else the faces are posed once they are smoothed
        return cls(
            partial(finder.detect, tiles=tiles),
            partial(align_frame, aligner.predictor, aligner.passes_given, pose),
            config,
            aligner.mesh,
            aligner.field_of_view,
            finder.max_faces,
            finder.glance if finder.choice == "auto" and not tiles else None,
        )

    def update(self, image: Source | Photo, time: float | None = None) -> list[Face]:
        """Find the faces of the next frame.

        Args:
            image: whatever `images.read_photo` takes, for example uint8 (H, W, 3) RGB. After a frame of
                another size the faces are searched from scratch.
            time: of the frame in seconds. None: the time of this call, for a camera whose frames are
                processed as they come.

        Returns:
            the faces by rising `id`; an id stays with its face and is never given again. `score` is
            that of the detection if the box came from one, else None.

        Raises:
            InputError: the time is no finite number or not later than that of the last frame, or the frame
                is no readable photo; floating-point pixels are rejected.
        """
        pixels = frame_pixels(image)
        self._time = later_time(monotonic() if time is None else time, self._time)
        self._frame += 1
        return self._next(pixels, self._time)

    def _next(self, image: Image, time: float) -> list[Face]:
        if image.shape != self._shape:
            # Another camera or scale: boxes of the last frame do not apply to this one.
            self._shape, self._tracks, self._lost = image.shape, [], []
        self._lost = [track for track in self._lost if self._frame - track.lost_at <= self.config.remember]
        seen = turn_round(image) if self._turned else image
        self._follow(seen)
        self._drop([track for track in self._tracks if self._is_twin(track)])
        if self._detection_is_due():
            self._confirm(seen)
        if not self._tracks and self._frame % self.config.detect_every == 0:
            self._try_other_way_up(image)
        self._tracks.sort(key=lambda track: track.id)
        faces = [self._report(track, time) for track in self._tracks]
        height, width = image.shape[:2]
        if self._turned:
            faces = [face_back(face, width, height) for face in faces]
        if self._mesh:
            starts = [self._fits.get(face.id) for face in faces]
            faces = with_meshes(faces, width, height, self._field_of_view, starts)
            self._fits = {face.id: face.mesh for face in faces}
        return faces

    def _follow(self, image: Image) -> None:
        """Find the landmarks again, each face at its place in the last frame."""
        slack, boxes, gone = self.config.slack, [], []
        for track in self._tracks:
            box = follow_box(track.face.box, ahead(track.box, track.motion, slack), slack)
            if self._is_gone(box, image.shape):
                gone.append(track)
            else:
                boxes.append(box)
        self._drop(gone)
        if not boxes:
            return
        for track, face in zip(self._tracks, self._align(image, np.array(boxes)), strict=True):
            before = track.box
            self._renew(track, face)
            x0, y0, x1, y1 = (track.box - before).tolist()
            track.motion = (x0 + x1) / 2, (y0 + y1) / 2

    def _renew(self, track: Track, face: Face) -> None:
        box = geometry.landmark_box(face.landmarks)
        evidence = Evidence.of(face, box)
        track.motion = 0.0, 0.0
        track.face, track.box, track.agreement = face, box, evidence.agreement
        track.doubtful = is_doubtful(evidence, self.config, track.doubtful)
        # Doubt after a sure period triggers a detection at once; doubt that comes and goes does not.
        track.alarm = track.doubtful and track.sure_for >= self.config.recheck_every
        track.sure_for = 0 if track.doubtful else track.sure_for + 1

    def _is_gone(self, box: Array, shape: tuple[int, ...]) -> bool:
        side = max(box[2] - box[0], box[3] - box[1])
        return bool(side < self.config.min_side or share_inside(box, shape) < self.config.min_inside)

    def _is_twin(self, track: Track) -> bool:
        """Whether a track now follows the same face as a better one."""
        others = [other for other in self._tracks if other is not track]
        if not others:
            return False
        same = overlaps(track.box[None], np.array([other.box for other in others]))[0] > TWIN_OVERLAP
        rank = (track.agreement, -track.id)
        return any(
            (other.agreement, -other.id) > rank for other, twin in zip(others, same, strict=True) if twin
        )

    def _detection_is_due(self) -> bool:
        if not self._tracks or any(track.alarm for track in self._tracks):
            return True
        unsure = bool(self._lost) or any(track.doubtful or track.misses for track in self._tracks)
        every = self.config.recheck_every if unsure else self.config.detect_every
        return self._frame - self._detected_at >= every

    def _confirm(self, image: Image) -> None:
        """Run the detector: confirm faces, lose those it misses, re-detect doubtful ones, find new ones."""
        self._detected_at = self._frame
        matched = self._search(image)
        detections, seen = matched.detections, matched.seen
        lost = []
        for number, track in enumerate(self._tracks):
            track.misses = 0 if number in seen else track.misses + 1
            allowed = self.config.doubtful_misses if track.doubtful else self.config.max_misses
            if track.misses >= allowed:
                lost.append(track)
        redetected = [
            (track, seen[number])
            for number, track in enumerate(self._tracks)
            if number in seen and (track.doubtful or matched.overlaps[number, seen[number]] < DRIFT_OVERLAP)
        ]
        new = [number for number in range(len(detections)) if number not in seen.values()]
        searched = [number for _, number in redetected] + new
        self._drop(lost)
        if not searched:
            return
        found = self._align(image, np.array([detections[number].box for number in searched]))
        faces = [
            replace(face, score=detections[number].score)
            for face, number in zip(found, searched, strict=True)
        ]
        for (track, _), face in zip(redetected, faces, strict=False):
            self._renew(track, face)
        self._begin(faces[len(redetected) :])

    def _search(self, image: Image) -> Matched:
        """Glance at the frame, if that will do, or else search it for faces of all sizes."""
        if self._glance is not None and self._may_glance(image):
            matched = self._match(self._glance(image), image)
            if len(matched.seen) == len(self._tracks):
                self._glances += 1
                return matched
        self._glances = 0
        return self._match(self._detect(image), image)

    def _may_glance(self, image: Image) -> bool:
        """Whether only new faces are looked for, as the known ones are sure, and large enough to be seen."""
        least = GLANCE_SIDE * max(image.shape[:2])
        return (
            len(self._tracks) > 0
            and self._glances < self.config.glances
            and not self._lost
            and not any(track.doubtful or track.misses for track in self._tracks)
            and all(max(track.box[2:] - track.box[:2]) >= least for track in self._tracks)
        )

    def _match(self, detections: Sequence[Detection], image: Image) -> Matched:
        """Tell of which faces the detections are that are in the frame and large enough."""
        inside = [found for found in detections if not self._is_gone(found.box, image.shape)]
        boxes = np.array([found.box for found in inside]).reshape(-1, 4)
        shares = overlaps(np.array([track.box for track in self._tracks]).reshape(-1, 4), boxes)
        return Matched(inside, shares, match(1 - shares, 1 - MATCH_OVERLAP))

    def _try_other_way_up(self, image: Image) -> None:
        """Search the frame the other way up, and continue that way if a face is found."""
        turned, lost = self._turned, self._lost
        self._turned, self._lost = not turned, []  # the places of lost faces are of the other way
        self._confirm(turn_round(image) if self._turned else image)
        if not self._tracks:
            self._turned, self._lost = turned, lost

    def _begin(self, faces: Sequence[Face]) -> None:
        """Start to follow faces that the detector found, unless they are doubtful or followed already."""
        known = np.array([track.box for track in self._tracks]).reshape(-1, 4)
        fresh = []
        for face in faces:
            box = geometry.landmark_box(face.landmarks)
            evidence = Evidence.of(face, box)
            twins = overlaps(box[None], known) > TWIN_OVERLAP
            if not is_doubtful(evidence, self.config, self._turned) and not twins.any():
                fresh.append((face, box, evidence))
        if self.max_faces is not None:
            fresh = fresh[: max(self.max_faces - len(self._tracks), 0)]
        boxes = np.array([face.box for face, _, _ in fresh]).reshape(-1, 4)
        returned = match(distances(boxes, np.array([t.box for t in self._lost]).reshape(-1, 4)), RETURN_REACH)
        for number, (face, box, evidence) in enumerate(fresh):
            if number in returned:
                name = self._lost[returned[number]].id
            else:
                name, self._next_id = self._next_id, self._next_id + 1
            smooth = OneEuroFilter(self.config.smoothing)
            self._tracks.append(Track(name, face, box, False, evidence.agreement, smooth))
        back = set(returned.values())
        self._lost = [track for number, track in enumerate(self._lost) if number not in back]

    def _drop(self, lost: Sequence[Track]) -> None:
        for track in lost:
            self._tracks.remove(track)
            track.lost_at = self._frame
            self._lost.append(track)

    def _report(self, track: Track, time: float) -> Face:
        if not self.config.smooth:
            return replace(track.face, id=track.id)
        size = float(geometry.box_size(track.box))
        landmarks = track.smooth(time, track.face.landmarks, size)
        pose = np.degrees(pose_from_mean_face(landmarks))
        return replace(
            track.face, id=track.id, landmarks=landmarks.astype(np.float32), pose=pose.astype(np.float32)
        )


def align_frame(predictor: LandmarkModel, passes: int, pose: bool, image: Image, boxes: Array) -> list[Face]:
    """The faces in boxes (N, 4) of a frame; without `pose` it is NaN."""
    (found,) = predict_photos(predictor, [image], [boxes], passes)
    height, width = image.shape[:2]
    return make_faces(Photo(image, width, height), boxes, [None] * len(boxes), found, pose)


def later_time(time: float, last: float) -> float:
    """The time of a frame as a float; InputError unless it is finite and later than the last one."""
    try:
        seconds = float(time)
    except (TypeError, ValueError) as error:
        raise InputError(f"time: found {time!r}, expected seconds") from error
    if not last < seconds < np.inf:
        raise InputError(
            f"time: found {time} s, expected more than that of the last frame, {last} s (of the clock if it "
            "was left out)"
        )
    return seconds
