"""Tests of tf_dhm.commands.demo: files of a page over HTTP, and what can go wrong at the start."""

from __future__ import annotations

import http.client
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import ThreadingHTTPServer
from pathlib import Path

from tf_dhm.core.cli import INTERRUPTED

import pytest

from tf_dhm.commands import demo
from tf_dhm.commands.demo import HOST, DemoConfig, make_server, serve_demo
from tf_dhm.core.errors import InputError

ROOT = Path(__file__).parents[3]


@pytest.fixture
def page(tmp_path: Path) -> Path:
    folder = tmp_path / "page"
    (folder / "assets").mkdir(parents=True)
    for name in ("index.html", "main.js", "assets/runtime.wasm", "assets/model.tflite", "icon.svg"):
        (folder / name).write_bytes(name.encode())
    (tmp_path / "secret.txt").write_text("secret")
    return folder


@pytest.fixture
def server(page: Path) -> Iterator[ThreadingHTTPServer]:
    with make_server(page) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def get(server: ThreadingHTTPServer, path: str) -> tuple[int, str, bytes]:
    """Status, media type and content."""
    connection = http.client.HTTPConnection(HOST, server.server_address[1], timeout=10)
    connection.request("GET", path)
    answer = connection.getresponse()
    result = answer.status, answer.headers.get("Content-Type", ""), answer.read()
    connection.close()
    return result


@pytest.mark.parametrize(
    ("path", "name", "media_type"),
    [
        ("/", "index.html", "text/html; charset=utf-8"),
        ("/main.js", "main.js", "text/javascript; charset=utf-8"),
        ("/assets/runtime.wasm", "assets/runtime.wasm", "application/wasm"),
        ("/assets/model.tflite", "assets/model.tflite", "application/octet-stream"),
        ("/icon.svg", "icon.svg", "image/svg+xml"),
    ],
)
def test_files(server: ThreadingHTTPServer, path: str, name: str, media_type: str) -> None:
    assert get(server, path) == (200, media_type, name.encode())


@pytest.mark.parametrize("path", ["/none.js", "/assets/", "/../secret.txt", "/%2e%2e/secret.txt"])
def test_nothing_else_is_served(server: ThreadingHTTPServer, path: str) -> None:
    status, _, content = get(server, path)
    assert status == 404
    assert b"secret\n" not in content
    assert b"runtime.wasm" not in content


def test_only_this_computer_is_served(server: ThreadingHTTPServer) -> None:
    assert server.server_address[0] == "127.0.0.1"


def test_a_page_that_is_not_built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "PAGE", tmp_path / "none")
    with pytest.raises(InputError, match="make web"):
        serve_demo(DemoConfig(browser=False))


def test_a_port_in_use(page: Path) -> None:
    with socket.create_server((HOST, 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(InputError, match=f"--port: {HOST}:{port} cannot be used"):
            make_server(page, port)


@pytest.mark.parametrize("port", [-1, 65536])
def test_an_impossible_port(port: int) -> None:
    with pytest.raises(InputError, match="--port: found"):
        DemoConfig(port=port)


def test_the_command_serves_until_ctrl_c(page: Path) -> None:
    code = f"""
from pathlib import Path
from tf_dhm.commands import demo
demo.PAGE = Path({str(page)!r})
demo.webbrowser.open = lambda url: print("opened", url, flush=True)
from tf_dhm.demo import main
main(["--port", "0"])
"""
    command = [sys.executable, "-c", code]
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as run:
        assert run.stdout is not None
        assert run.stderr is not None
        url = run.stdout.readline().split()[1]
        assert run.stdout.readline() == f"opened {url}\n"
        assert run.stdout.readline().startswith("No browser could be started.")
        connection = http.client.HTTPConnection(url.removeprefix("http://").rstrip("/"), timeout=10)
        connection.request("GET", "/")
        assert connection.getresponse().read() == b"index.html"
        connection.close()
        run.send_signal(signal.SIGINT)
        assert run.wait(10) == INTERRUPTED
        assert "Traceback" not in run.stderr.read()
