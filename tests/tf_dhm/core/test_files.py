"""Files are written whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from tf_dhm.core.files import atomic_write, fit_name


def test_the_file_appears_at_the_end_only(tmp_path: Path) -> None:
    path = tmp_path / "new" / "metrics.json"
    with atomic_write(path) as temporary:
        temporary.write_text("{}")
        assert temporary.parent == path.parent
        assert not path.exists()
    assert path.read_text() == "{}"
    assert list(path.parent.iterdir()) == [path]


def test_the_suffix_is_kept_for_writers_that_look_at_it(tmp_path: Path) -> None:
    path = tmp_path / "shape.npy"
    with atomic_write(path) as temporary:
        np.save(temporary, np.arange(3))  # would add ".npy" to another name
    np.testing.assert_array_equal(np.load(path), [0, 1, 2])
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_error_leaves_the_old_file_and_no_other(tmp_path: Path, error: type[BaseException]) -> None:
    path = tmp_path / "history.csv"
    path.write_text("old")

    def write_half() -> None:
        with atomic_write(path) as temporary:
            temporary.write_text("half")
            raise error

    with pytest.raises(error):
        write_half()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_directory_is_written_whole(tmp_path: Path) -> None:
    path = tmp_path / "model"
    with atomic_write(path) as temporary:
        (temporary / "variables").mkdir(parents=True)
        assert not path.exists()
    assert (path / "variables").is_dir()
    assert list(tmp_path.iterdir()) == [path]


def test_a_directory_that_fails_is_removed(tmp_path: Path) -> None:
    def write_half() -> None:
        with atomic_write(tmp_path / "model") as temporary:
            (temporary / "variables").mkdir(parents=True)
            raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        write_half()
    assert list(tmp_path.iterdir()) == []


def test_a_directory_with_content_is_not_replaced(tmp_path: Path) -> None:
    path = tmp_path / "model"
    path.mkdir()
    (path / "kept").touch()

    def write_over() -> None:
        with atomic_write(path) as temporary:
            temporary.mkdir()

    with pytest.raises(OSError, match="not empty"):
        write_over()
    assert [item.name for item in tmp_path.rglob("*")] == ["model", "kept"]


@pytest.mark.parametrize(
    "name",
    [
        "a" * 251 + ".jpg",
        "写" * 83 + ".jpg",
        "龍" * 85,
        "a." + "写" * 84,
        b"\xff".decode("utf-8", "surrogateescape") * 255,
    ],
)
def test_the_longest_names_are_written(tmp_path: Path, name: str) -> None:
    assert len(os.fsencode(name)) > 250
    with atomic_write(tmp_path / name) as temporary:
        temporary.write_text("whole")
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [(name, "whole")]


def test_writers_of_the_same_process_number_do_not_meet(tmp_path: Path) -> None:
    with atomic_write(tmp_path / "a.txt") as first, atomic_write(tmp_path / "a.txt") as second:
        assert first != second
        first.write_text("first")
        second.write_text("second")
    assert (tmp_path / "a.txt").read_text() == "first"  # its block ended last


def test_names_are_shortened_only_if_they_must_be() -> None:
    assert fit_name("a" * 251, ".png") == "a" * 251 + ".png"
    long = ["写" * 84 + "a", "写" * 84 + "b"]
    short = [fit_name(name, ".png") for name in long]
    assert short[0] != short[1]
    for name in short:
        assert 250 < len(os.fsencode(name)) <= 255
        assert name.startswith("写" * 80)
        assert name.endswith(".png")
