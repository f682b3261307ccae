"""Serve the browser page on this computer and open it."""

from __future__ import annotations

import errno
import webbrowser
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from tf_dhm.core.configuration import check_fields
from tf_dhm.core.errors import InputError

PAGE = Path(__file__).resolve().parents[1] / "web_page"
"""The built page, which `make web` puts here."""
HOST = "127.0.0.1"
"""Only this computer reaches the page. Browsers allow the camera for this address without HTTPS."""
LARGEST_PORT = 65535


@dataclass(frozen=True)
class DemoConfig:
    """How the page is served."""

    port: int = 8068
    """Port of 127.0.0.1; 0 takes a free one."""
    browser: bool = True
    """Whether the page is opened in the default browser."""

    def __post_init__(self) -> None:
        check_fields(self)
        if not 0 <= self.port <= LARGEST_PORT:
            raise InputError(f"--port: found {self.port}, expected 0 to {LARGEST_PORT}")


class PageHandler(SimpleHTTPRequestHandler):
    """Answers with files of the page, with the media types that browsers insist on."""

    # Not from the system's tables, which may lack them or hold other values.
    extensions_map = {  # noqa: RUF012
        ".html": "text/html; charset=utf-8",
        ".js": "text/javascript; charset=utf-8",
        ".css": "text/css; charset=utf-8",
        ".json": "application/json",
        ".wasm": "application/wasm",
        ".svg": "image/svg+xml",
        ".jpg": "image/jpeg",
        ".txt": "text/plain; charset=utf-8",
        "": "application/octet-stream",
    }

    def end_headers(self) -> None:
        # A page of a newer version must not meet files of an older one.
        self.send_header("Cache-Control", "no-cache")
        self.send_header("X-Content-Type-Options", "nosniff")
        super().end_headers()

    def list_directory(self, path: Any) -> None:
        self.send_error(HTTPStatus.NOT_FOUND, "File not found")

    def log_message(self, format: str, *args: Any) -> None:
        """Print nothing for each file."""


def make_server(page: Path = PAGE, port: int = 0) -> ThreadingHTTPServer:
    """A server of the built page that listens on `port` of 127.0.0.1.

    Raises:
        InputError: the page is not built, or the port is in use.
    """
    if not (page / "index.html").is_file():
        raise InputError(
            f"page: found no built page at {page}. In a clone of the repository, build it with `make web`, "
            "which needs Node.js 20.19 or later, and run `python -m tf_dhm.demo` there"
        )
    try:
        return ThreadingHTTPServer((HOST, port), partial(PageHandler, directory=str(page)))
    except OSError as error:
        if error.errno in (errno.EADDRINUSE, errno.EACCES):
            raise InputError(f"--port: {HOST}:{port} cannot be used: {error.strerror}") from error
        raise


def serve_demo(config: DemoConfig) -> None:
    """Serve the page until Ctrl-C."""
    with make_server(PAGE, config.port) as server:
        url = f"http://{HOST}:{server.server_address[1]}/"
        print(f"Serving {url} until Ctrl-C.", flush=True)
        if config.browser and not webbrowser.open(url):
            print("No browser could be started. Open the address yourself.", flush=True)
        server.serve_forever()
