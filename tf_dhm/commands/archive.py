"""Align an archive of photos on every core or machine with Ray Data: what `align_archive.py` runs."""

from __future__ import annotations

import importlib.util
import logging
import os
import shutil
import socket
import sys
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

# Ray reports its use to its makers unless it is told not to.
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
# Its core warns at each start that the arguments of the workers must not be lost, which they are not
# before this process ends.
os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")

from tf_dhm.core.cli import INTERRUPTED, run_script

import tyro
from tqdm import tqdm

from tf_dhm.core.configuration import read_json, to_json
from tf_dhm.core.errors import InputError
from tf_dhm.core.files import atomic_write
from tf_dhm.runtime.predictor import MAX_PASSES
from tf_dhm.runtime.store import DEFAULT_MODEL
from tf_dhm.runtime.tflite import find_tflite

if TYPE_CHECKING:
    from tf_dhm.commands.archive_parts import Folder, Job

PACKAGES = ("ray", "pyarrow", "pandas", "fsspec", "filelock")
MAX_TASKS = 10_000
"""Most pieces of work that the engine is given: its memory grows by their number."""
NAMED_ERRORS = 3
"""Photos that failed of which the report says why."""
CONNECT_SECONDS = 10.0
OBJECT_STORE_BYTES = 128 << 20
"""Shared memory of the engine on one machine; no photo passes through it, only numbers of parts."""


@dataclass(frozen=True)
class ArchiveConfig:
    """Align the photos of a manifest on every core, and write their faces as Parquet.

    The same command goes on with a run that was stopped. Exit code: 0 every photo of the manifest
    has its rows in OUTPUT_DIR/parts (a broken one a row with its error), 2 it could not be done.
    """

    manifest: tyro.conf.Positional[Path]
    """Parquet or CSV file with a column `path` and, where landmark boxes are known, `x0`, `y0`, `x1`
    and `y1`; other photos are searched for faces."""
    output_dir: Path
    """Folder for the parts. It holds one job."""
    workers: int | None = None
    """Processes that align, of one thread each. None: one for each core."""
    photo_dir: Path | None = None
    """What relative paths are below. None: the manifest's folder."""
    part_rows: int = 1000
    """Rows of the manifest in a part: what is lost at most when a worker is killed. A part is made by one
    worker, so that there should be some ten parts for each."""
    model: str = DEFAULT_MODEL
    """Name of a model, its folder, or a .tflite file."""
    passes: int | None = None
    """2 runs the model again on a crop normalised by the first landmarks: more exact where the box is not.
    By default 2 for faces that are detected, and 1 where boxes are given."""
    address: Annotated[str | None, tyro.conf.arg(metavar="HOST:PORT")] = None
    """Of a Ray cluster that is running, all of whose machines see the same files (not auto, nor ray://).
    None: this machine."""

    def __post_init__(self) -> None:
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
    """Align what is left of an archive; says how far it is, and at the end what the parts hold.

    Photos are read by the workers alone. The memory of this process grows by the number of parts,
    not by that of photos.

    Returns:
        the exit code: 0 or INTERRUPTED.

    Raises:
        InputError: the engine is not installed, no manifest or model, another job in the folder, or
            one that is running.
        OSError: a file cannot be written.
    """
    require_engine()
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
            print("interrupted: the same command goes on", file=sys.stderr)
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


def require_engine() -> None:
    """Raise InputError where a package of the extra `archive` is missing."""
    missing = [package for package in PACKAGES if importlib.util.find_spec(package) is None]
    if missing:
        raise InputError(
            f"packages: found no {', '.join(missing)}, expected Ray Data and pyarrow: "
            "pip install 'tf_dhm[archive]', or requirements.txt"
        )


def require_cluster(address: str) -> None:
    """Raise InputError where nothing answers at HOST:PORT; Ray itself would try for minutes."""
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

    A lock and a folder that were made for a job that did not begin are removed.
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
    """Begin a job in a new folder, or check that it is the one that was begun there.

    Raises:
        InputError: no manifest or model, or a difference; names it.
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


class Worker:
    """Aligns parts in a process of the engine.

    Args:
        model: path of a `.tflite` file.
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
        """Align the parts of `part`; yields of each its counts, seconds and `error`, which is empty.

        What the user can mend is no exception here: the engine would wrap it in a page of its own.
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

    A worker that is killed is replaced, and what it worked at is done again by another.

    Raises:
        InputError: a part cannot be written.
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
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    # That one part keeps one worker busy is said below, in the words of this job.
    warnings.filterwarnings("ignore", "The minimum number of concurrent actors", UserWarning)
    try:
        ray.init(config.address or "local", **options)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise InputError(f"Ray: found that it does not start: {error}") from error
    try:
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        workers = config.workers or int(ray.cluster_resources()["CPU"])
        if job.parts < workers:
            print(
                f"parts: {job.parts}, workers: {workers}: some have nothing to do; in a new --output-dir "
                f"--part-rows {-(-job.rows // (10 * workers))} gives work to all",
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
        with tqdm(total=job.rows, initial=job.rows - rows, unit="photo") as bar:
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
        f"start included; {1000 * seconds / rows:.2f} ms of a worker for each photo"
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Run with these arguments, by default the command line's, and end the process with their code."""
    run_script(lambda: align_archive(tyro.cli(ArchiveConfig, args=arguments)))


if __name__ == "__main__":
    main()
