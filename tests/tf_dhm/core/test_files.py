"""Files are written whole or not at all."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tf_dhm.core.files import atomic_write


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
