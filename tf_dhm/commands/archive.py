"""Align an archive of photos on every core or machine with Ray Data: what `align_archive.py` runs."""

from __future__ import annotations

import logging
import os
import shutil
import socket
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

# Ray reports its use to its makers unless this is switched off.
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
# Its core warns at each start that the arguments of the workers must not be lost, which they are not
# before this process ends.
os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")

from tf_dhm.core.cli import INTERRUPTED, run_script

import tyro

from tf_dhm.core.command_line import parse_options
from tf_dhm.core.configuration import check_fields, read_json, to_json
from tf_dhm.core.errors import InputError
from tf_dhm.core.extras import require_extra
from tf_dhm.core.files import atomic_write
from tf_dhm.core.progress import Progress
from tf_dhm.runtime.settings import MAX_PASSES
from tf_dhm.runtime.store import DEFAULT_MODEL
from tf_dhm.runtime.tflite import find_tflite

if TYPE_CHECKING:
    from tf_dhm.commands.archive_parts import Folder, Job

MAX_TASKS = 10_000
"""Limit of the tasks that the engine is given: its memory grows with their number."""
NAMED_ERRORS = 3
"""Failed photos whose error the report prints."""
CONNECT_SECONDS = 10.0
OBJECT_STORE_BYTES = 128 << 20
"""Shared memory of the engine on one machine; no photo passes through it, only numbers of parts."""
MAX_SOCKET_BYTES = 103
"""Longest path of a socket on macOS; Linux allows 107 bytes."""
SOCKET_BELOW = "/ray/session_2026-01-01_00-00-00_000000_4194304/sockets/plasma_store"
"""Path of the engine's longest socket below its temporary folder."""
SHORT_FOLDER = Path("/tmp")


@dataclass(frozen=True)
class ArchiveConfig:
    """Align the photos of a manifest on every core, and write their faces as Parquet.

    The same command resumes a run that was stopped. Exit code: 0 if every photo of the manifest has its rows
    in OUTPUT_DIR/parts (a broken photo has a row with its error), 2 if the job failed.
    """

    manifest: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="MANIFEST")]
    """Parquet or CSV file with a column `path` and, if landmark boxes are known, `x0`, `y0`, `x1` and `y1`;
    photos without a box are searched for faces."""
    output_dir: Path
    """Folder for the parts. It holds one job."""
    workers: int | None = None
    """Number of processes, with one thread each; by default one for each core."""
    photo_dir: Path | None = None
    """Folder to which the paths of the manifest are relative; by default the manifest's folder."""
    part_rows: int = 1000
    """Rows of the manifest in a part. Plan about ten parts for each worker: one worker makes a part, and a
    killed worker loses at most one."""
    model: str = DEFAULT_MODEL
    """Name of a model, its folder, or a .tflite file."""
    passes: int | None = None
    """Number of runs of the model on each face. From the second run on, the crop is normalised by the
    landmarks so far, which corrects inexact boxes. By default 2 for detected faces, with a third one if their
    results differ, and 1 for given boxes. A number applies to all faces."""
    address: Annotated[str | None, tyro.conf.arg(metavar="HOST:PORT")] = None
    """Address of a running Ray cluster whose machines all see the same files (not auto or ray://).
    By default this machine."""

    def __post_init__(self) -> None:
        check_fields(self)
        for name in ("workers", "part_rows", "passes"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise InputError(f"--{name.replace('_', '-')}: found {value}, expected 1 or more")
        if self.passes is not None and self.passes > MAX_PASSES:
            raise InputError(f"--passes: found {self.passes}, expected 1 to {MAX_PASSES}")
        if self.address is not None:
            host, _, port = self.address.rpartition(":")
            if not host or not port.isdecimal() or "/" in host:
                raise InputError(f"--address: found {self.address}, expected HOST:PORT of a Ray cluster")


def align_archive(config: ArchiveConfig) -> int:
    """Align the photos of an archive that are not done, show the progress, and report what the parts hold.

    Only the workers read photos. The memory of this process grows with the number of parts, not of photos.

    Returns:
        the exit code: 0 or INTERRUPTED.

    Raises:
        InputError: The engine is not installed, there is no manifest or model, or the folder holds another
            job or one that is running.
        OSError: A file cannot be written.
    """
    require_extra("archive", "archive")
    from tf_dhm.commands.archive_parts import Counts, Folder, first_errors, read_counts

    if config.address is not None:
        require_cluster(config.address)
    folder = Folder(config.output_dir.absolute())
    with locked(folder):
        job = open_job(config, folder)
        folder.remove_leftovers()
        done = folder.done()
        left = [part for part in range(job.parts) if part not in done]
        if done:
            print(f"parts done before: {len(done)} of {job.parts}")
        try:
            align_parts(config, folder, job, left)
        except KeyboardInterrupt:
            print("interrupted: the same command resumes", file=sys.stderr)
            return INTERRUPTED
        by_part = [read_counts(folder.part(part)) for part in range(job.parts)]
        counts = sum(by_part, Counts())
        if counts.photos != job.rows:
            raise InputError(f"{folder.parts}: found {counts.photos} photos, expected {job.rows}")
        shutil.rmtree(folder.attempts, ignore_errors=True)
    print(
        f"photos: {counts.photos}, faces: {counts.faces}, photos without a face: {counts.without}, "
        f"photos failed: {counts.failed}, parts: {job.parts} in {folder.parts}"
    )
    failed = (folder.part(part) for part, found in enumerate(by_part) if found.failed)
    for row, path, error in first_errors(failed, NAMED_ERRORS):
        print(f"row {row}, {path}: {error}", file=sys.stderr)
    if counts.failed > NAMED_ERRORS:
        print(
            f"and {counts.failed - NAMED_ERRORS} more: the rows of the parts with an `error`", file=sys.stderr
        )
    return 0


def require_cluster(address: str) -> None:
    """Raise InputError if nothing answers at HOST:PORT; Ray itself would try for minutes."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECT_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise InputError(
            f"--address: found no answer from {address} ({error}), expected a Ray cluster that is running"
        ) from error


@contextmanager
def locked(folder: Folder) -> Iterator[None]:
    """Keep other jobs out of a folder; the lock ends with the process, however that ends.

    If the job does not start, a new lock and a new folder are removed again.
    """
    from filelock import FileLock, Timeout

    is_new = not folder.root.exists()
    folder.root.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(folder.lock, timeout=0):
            try:
                yield
            finally:
                if not folder.job.exists():
                    folder.lock.unlink()
                    if is_new and not list(folder.root.iterdir()):
                        folder.root.rmdir()
    except Timeout as error:
        raise InputError(f"{folder.root}: found a job at work on it, expected none") from error


def open_job(config: ArchiveConfig, folder: Folder) -> Job:
    """Start a job in a new folder, or check that the folder holds this job.

    Raises:
        InputError: There is no manifest or model, or a setting differs from the folder's; names it.
    """
    from tf_dhm.commands.archive_manifest import check_manifest, copy_manifest, file_sha256
    from tf_dhm.commands.archive_parts import Job

    check_manifest(config.manifest)
    model = find_tflite(config.model)
    photo_dir = config.photo_dir if config.photo_dir is not None else config.manifest.parent
    if not photo_dir.is_dir():
        raise InputError(f"--photo-dir: found no folder {photo_dir}, expected that of the photos")
    settings: dict[str, Any] = {
        "manifest_sha256": file_sha256(config.manifest),
        "part_rows": config.part_rows,
        "photo_dir": str(photo_dir.resolve()),
        "model": model.name,
        "model_sha256": file_sha256(model),
        "passes": config.passes,
    }
    if folder.job.exists():
        job = read_json(Job, folder.job)
        for name, value in settings.items():
            begun = asdict(job)[name]
            if begun != value:
                raise InputError(
                    f"{folder.job}: {name}: found {value}, expected {begun}, with which the parts in this "
                    "folder were made; choose another --output-dir"
                )
        return job
    if folder.parts.exists():
        raise InputError(
            f"{folder.root}: found {folder.parts} without {folder.job.name}, expected a new folder"
        )
    rows = copy_manifest(config.manifest, folder.manifest, config.part_rows)
    job = Job(rows=rows, **settings)
    with atomic_write(folder.job) as temporary:
        temporary.write_text(to_json(job))
    return job


def engine_folder() -> Path:
    """Folder for the engine's logs and sockets: the system's temporary folder, or SHORT_FOLDER if sockets
    in that one would have too long a path.

    Raises:
        InputError: The path is too long, and SHORT_FOLDER cannot be written.
    """
    folder = Path(tempfile.gettempdir()).resolve()
    if len(os.fsencode(f"{folder}{SOCKET_BELOW}")) > MAX_SOCKET_BYTES:
        if not os.access(SHORT_FOLDER, os.W_OK):
            raise InputError(
                f"TMPDIR: found {folder}, expected a path of at most {MAX_SOCKET_BYTES - len(SOCKET_BELOW)} "
                "bytes: Ray keeps sockets there"
            )
        folder = SHORT_FOLDER
    return folder / "ray"


class Worker:
    """Aligns parts in a process of the engine.

    Args:
        model: Path of a `.tflite` file.
    """

    def __init__(self, model: str, folder: Folder, job: Job) -> None:
        import cv2

        from tf_dhm.runtime.aligner import Aligner

        # The cores are taken by the other workers.
        cv2.setNumThreads(1)
        logging.getLogger("tf_dhm").addHandler(logging.StreamHandler())
        self.aligner = Aligner(model, job.passes, threads=1)
        self.folder, self.job = folder, job

    def __call__(self, batch: dict[str, Any]) -> Iterator[dict[str, list[Any]]]:
        """Align the parts `batch["part"]`; yields the counts, seconds and `error` (or "") of each.

        An error that the user can fix is returned, not raised: the engine would print pages around it.
        """
        from tf_dhm.commands.archive_parts import Counts, align_part

        for part in batch["part"]:
            start = time.monotonic()
            counts, message = Counts(), ""
            try:
                counts = align_part(self.aligner, self.folder, self.job, int(part))
            except (InputError, OSError) as error:
                message = str(error)
            result = {**asdict(counts), "seconds": time.monotonic() - start, "error": message}
            yield {name: [value] for name, value in result.items()}


def align_parts(config: ArchiveConfig, folder: Folder, job: Job, left: Sequence[int]) -> None:
    """Align parts on the engine's workers.

    A killed worker is replaced, and another one makes its part again.

    Raises:
        InputError: The engine does not start, or a part cannot be written.
    """
    import ray
    import ray.data

    if not left:
        return
    start = time.monotonic()
    options: dict[str, Any] = {"logging_level": logging.ERROR, "log_to_driver": False}
    if config.address is None:
        options |= {"num_cpus": config.workers, "object_store_memory": OBJECT_STORE_BYTES}
        options["include_dashboard"] = False
        options["_temp_dir"] = str(engine_folder())
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    # Ray's own warning about idle workers is replaced by the one below.
    warnings.filterwarnings("ignore", "The minimum number of concurrent actors", UserWarning)
    try:
        ray.init(config.address or "local", **options)
    except (OSError, RuntimeError, ValueError) as error:
        raise InputError(f"Ray did not start: {error}") from error
    try:
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        workers = config.workers or int(ray.cluster_resources()["CPU"])
        if job.parts < workers:
            print(
                f"note: found more workers ({workers}) than parts ({job.parts}), so some have nothing to do; "
                f"--part-rows {-(-job.rows // (10 * workers))} and a new --output-dir give work to all",
                file=sys.stderr,
            )
        parts = ray.data.from_items(
            [{"part": part} for part in left], override_num_blocks=min(len(left), MAX_TASKS)
        )
        results = parts.map_batches(
            Worker,
            fn_constructor_args=(str(find_tflite(config.model).absolute()), folder, job),
            batch_size=None,
            compute=ray.data.ActorPoolStrategy(size=workers),
            num_cpus=1,
        )
        rows = sum(job.size(part) for part in left)
        seconds = failed = 0
        with Progress(total=job.rows, initial=job.rows - rows, unit=" photos") as bar:
            for result in results.iter_rows():
                if result["error"]:
                    raise InputError(f"{folder.parts}: a part cannot be made: {result['error']}")
                seconds += result["seconds"]
                failed += result["failed"]
                bar.set_postfix(failed=failed, refresh=False)
                bar.update(result["photos"])
        took = time.monotonic() - start
    finally:
        ray.shutdown()
    print(
        f"this run: {rows} photos in {took:.1f} s, {rows / took:.1f} photos/s by {workers} workers, "
        f"start included; a worker took {1000 * seconds / rows:.2f} ms for each photo"
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Run with `arguments` (None: those of the command line) and end the process with the exit code."""
    run_script(lambda: align_archive(parse_options(ArchiveConfig, arguments)))


if __name__ == "__main__":
    main()
