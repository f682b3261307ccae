"""Align the frames of a video or camera."""

from __future__ import annotations

from contextlib import ExitStack
from itertools import islice
from pathlib import Path

from tf_dhm.commands.inputs import InputFile
from tf_dhm.commands.options import AlignConfig
from tf_dhm.commands.osc import OscSink
from tf_dhm.commands.sinks import (
    DrawingSink,
    Picture,
    RecordSink,
    Report,
    Sink,
    VideoSink,
    face_sinks,
    video_path,
)
from tf_dhm.core.files import atomic_write
from tf_dhm.core.progress import Progress
from tf_dhm.core.types import Image
from tf_dhm.runtime.aligner import Aligner
from tf_dhm.runtime.camera import CameraReader, Window
from tf_dhm.runtime.tracking import Tracker
from tf_dhm.runtime.video import VideoReader
from tf_dhm.runtime.video_writer import VideoWriter


class WindowClosed(Exception):
    """The user closed the window that shows the frames."""


def align_video(aligner: Aligner, file: InputFile, config: AlignConfig, report: Report) -> None:
    """Follow the faces of one video, write its outputs and report a record for each frame.

    Raises:
        InputError: The video cannot be read, or it ends before its time; the frames up to there have been
            reported and written.
        OSError: An output cannot be written.
    """
    with VideoReader(file.source) as video:
        align_frames(aligner, video, file.name, config, report)
        video.check_complete()


def align_frames(
    aligner: Aligner,
    video: VideoReader | CameraReader,
    name: Path,
    config: AlignConfig,
    report: Report,
    stop: tuple[type[BaseException], ...] = (),
) -> int:
    """Follow faces through frames and hand each frame to the sinks.

    Args:
        name: Path of the video below the output folders.
        report: Takes the record of each frame.
        stop: Exceptions that end the frames and not the program.

    Returns:
        the number of frames.
    """
    ends: tuple[type[BaseException], ...] = (WindowClosed, *stop)
    tracker = Tracker.of(aligner, config.tracking)
    read = 0
    with ExitStack() as stack:
        sinks = open_sinks(video, name, config, report, stack)
        total = min((n for n in (video.frame_count, config.frames) if n is not None), default=None)
        frames = Progress(
            islice(video, config.frames),
            desc=name.name,
            total=total,
            unit=" frames",
            leave=False,
            disable=config.quiet,
        )
        try:
            for frame in frames:
                faces = tracker.update(frame.pixels, frame.time)
                read += 1
                picture = Picture.of_frame(frame, faces, config.is_convincing)
                for sink in sinks:
                    sink.write(picture)
        except ends:
            pass
    return read


def open_sinks(
    video: VideoReader | CameraReader, name: Path, config: AlignConfig, report: Report, stack: ExitStack
) -> list[Sink]:
    """The sinks of a video; `stack` closes what they write to."""
    sinks = face_sinks(config, name)
    if config.drawn_folder is not None:
        target = stack.enter_context(atomic_write(video_path(config.drawn_folder, name)))
        sinks.append(VideoSink(config.draw, stack.enter_context(VideoWriter(target, video.fps))))
    if config.osc is not None:
        sinks.append(stack.enter_context(OscSink(config.osc)))
    # The record before the window, which may end the frames.
    sinks.append(RecordSink(report))
    if config.show:
        window = stack.enter_context(Window(video.name))

        def show(drawn: Image) -> None:
            if not window.show(drawn):
                raise WindowClosed

        sinks.append(DrawingSink(config.draw, [show]))
    return sinks
