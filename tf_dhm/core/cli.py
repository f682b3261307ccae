"""Shared by all scripts: exit codes, signals, and settings of TensorFlow and OpenCV.

Importing this module sets variables that both libraries read when they are loaded, and reports a package that
a later import does not find. A script therefore imports it before others; ruff sorts it there
(`[tool.ruff.lint.isort]` in pyproject.toml).
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import FrameType, TracebackType
from typing import NoReturn

from tf_dhm.core.errors import InputError
from tf_dhm.core.extras import MissingPackageError, packages_of_script
from tf_dhm.core.version import __version__

BROKEN_PIPE = 141
"""Exit code if the reader of the output has gone, as a shell reports it: 128 + SIGPIPE."""
INTERRUPTED = 130
"""Exit code after Ctrl-C: 128 + SIGINT."""
SETTINGS = {
    "TF_CPP_MIN_LOG_LEVEL": "3",
    # TensorFlow has faster convolutions for CPUs but leaves them off on those without AVX-512. On AVX2 too
    # they nearly double the rate of training; docs/training.md has the measurement.
    "TF_ENABLE_ONEDNN_OPTS": "1",
    # A video or camera that cannot be read is reported once, by the caller.
    "OPENCV_LOG_LEVEL": "OFF",
    "OPENCV_FFMPEG_LOGLEVEL": "-8",
}
"""Environment variables that this module sets, unless the user has set them."""

for _name, _value in SETTINGS.items():
    os.environ.setdefault(_name, _value)

REPOSITORY = Path(__file__).resolve().parents[2]


def run_script(main: Callable[[], int | None]) -> NoReturn:
    """Run `main` and end the process with its exit code; with --version alone, print the version instead.

    An `InputError` or an `OSError` is reported in one line with code 2. If the reader of the output has
    gone (`... | head`), the code is 141, and after Ctrl-C it is 130.

    Args:
        main: Returns the exit code; None is 0.

    Example:
        if __name__ == "__main__":
            run_script(lambda: print("hello"))
    """
    if sys.argv[1:] == ["--version"]:
        print(f"tf_dhm {__version__}")
        sys.exit(0)
    interruptions: list[int] = []

    def interrupt(number: int, _: FrameType | None) -> None:
        interruptions.append(number)
        raise KeyboardInterrupt

    # Python lets only the main thread set handlers; an ignored Ctrl-C stays ignored.
    handles = threading.current_thread() is threading.main_thread()
    handles = handles and signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if handles:
        signal.signal(signal.SIGINT, interrupt)
    try:
        _run(main)
    except Exception:
        # Code in C may turn a KeyboardInterrupt into an error of its own.
        if not interruptions:
            raise
        _end_interrupted()
    except KeyboardInterrupt:
        _end_interrupted()
    finally:
        if handles:
            signal.signal(signal.SIGINT, signal.default_int_handler)


def require_options(example: str) -> None:
    """Raise an `InputError` that shows an example if the script was started without options.

    For scripts that cannot do anything useful without them.
    """
    if not sys.argv[1:]:
        program = os.path.basename(sys.argv[0])
        started = f"python {program}" if program.endswith(".py") else program
        raise InputError(
            f"options: found none, expected some, for example: {started} {example} "
            "(--help explains the main ones)"
        )


def _run(main: Callable[[], int | None]) -> NoReturn:
    try:
        code = main()
        sys.stdout.flush()
    except BrokenPipeError:
        # Python flushes once more when it ends, and would complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(BROKEN_PIPE)
    except InputError as error:
        _end_with(error)
    except OSError as error:
        # The user can fix a full disk or a missing permission; a traceback would not help.
        where = f": {error.filename}" if error.filename else ""
        print(f"error: {error.strerror or error}{where}", file=sys.stderr)
        sys.exit(2)
    sys.exit(code or 0)


def _end_with(error: InputError) -> NoReturn:
    print(f"error: {error}", file=sys.stderr)
    sys.exit(2)


def _end_interrupted() -> NoReturn:
    print("interrupted", file=sys.stderr)
    # Everything that was open is closed by now. Running threads of TensorFlow would abort a normal exit.
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(INTERRUPTED)


def _report_missing_package(
    kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    """Report a package that an import of a script does not find as `run_script` reports an error.

    The import may precede `run_script`. Without this it would end with a traceback.
    """
    script = Path(sys.argv[0]).resolve()
    if isinstance(error, ModuleNotFoundError) and script.is_relative_to(REPOSITORY):
        try:
            with packages_of_script(script.name):
                raise error
        except MissingPackageError as missing:
            _end_with(missing)
        except ModuleNotFoundError:
            pass  # of the project itself
    _excepthook(kind, error, trace)


_excepthook, sys.excepthook = sys.excepthook, _report_missing_package
