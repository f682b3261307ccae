from __future__ import annotations

import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

from tests.builders import write_mat
from tf_dhm.core.errors import InputError
from tf_dhm.face.matfiles import read_mat


def test_fields_are_read_as_float64_in_their_shape(tmp_path: Path) -> None:
    path = write_mat(tmp_path / "a.mat", row=[[1, 2, 3]], column=[[4], [5]], matrix=np.ones((2, 3), np.int16))
    content = read_mat(path, {"row": (3,), "column": (2,), "matrix": (2, 3)})
    assert content["row"].tolist() == [1.0, 2.0, 3.0]
    assert content["column"].tolist() == [4.0, 5.0]
    assert content["matrix"].tolist() == [[1.0, 1.0, 1.0]] * 2
    assert all(array.dtype == np.float64 for array in content.values())


def test_version_7_3_is_read_as_the_older_ones_are(tmp_path: Path) -> None:
    points = np.arange(6.0).reshape(2, 3)
    path = tmp_path / "b.mat"
    with h5py.File(path, "w", userblock_size=512) as file:  # MATLAB stores its columns as HDF5's rows
        file["points"], file["row"] = points.T, np.array([[1.0], [2.0]])
        file.create_group("nested")
    path.write_bytes(b"MATLAB 7.3 MAT-file".ljust(512) + path.read_bytes()[512:])
    content = read_mat(path, {"points": (2, 3), "row": (2,)})
    assert content["points"].tolist() == points.tolist()
    assert content["row"].tolist() == [1.0, 2.0]
    with pytest.raises(InputError, match=r"b\.mat: found fields nested, points, row, expected also nested"):
        read_mat(path, {"nested": (2,)})
    with pytest.raises(InputError, match=r"b\.mat: points: found float64 of shape \(2, 3\)"):
        read_mat(path, {"points": (3, 2)})


def test_a_damaged_file_of_version_7_3_is_named(tmp_path: Path) -> None:
    path = tmp_path / "b.mat"
    with h5py.File(path, "w") as file:
        file["points"] = np.ones((200, 200))
    path.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(InputError, match=r"b\.mat: found "):
        read_mat(path, {"points": (200, 200)})


def test_an_error_names_file_and_field(tmp_path: Path) -> None:
    path = write_mat(tmp_path / "a.mat", points=np.ones((2, 3)), holed=[1.0, np.nan], text="abc", none=[])
    with pytest.raises(InputError, match=r"a\.mat: found fields holed, none, points, text, expected also p"):
        read_mat(path, {"p": (3,)})
    for field, shape, message in [
        ("points", (3, 2), r"points: found float64 of shape \(2, 3\), expected numbers of \(3, 2\)"),
        ("points", (6,), r"points: found .* expected numbers of \(6,\)"),
        ("holed", (2,), "holed: found NaN"),
        ("text", (3,), "text: found <U3"),
        ("none", (1,), "none: found"),
    ]:
        with pytest.raises(InputError, match=r"a\.mat: " + message):
            read_mat(path, {field: shape})


@pytest.mark.parametrize(
    "content", [b"", b"no mat file at all", b"MATLAB 5.0 MAT-file" + bytes(40), bytes(200)]
)
def test_an_unreadable_file_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.mat"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"a\.mat: found "):
        read_mat(path, {"points": (3,)})


def test_a_file_cut_short_is_named(tmp_path: Path) -> None:
    path = write_mat(tmp_path / "a.mat", points=np.ones((3, 68)))
    whole = path.read_bytes()
    for size in range(1, len(whole), 97):
        path.write_bytes(whole[:size])
        with pytest.raises(InputError, match=r"a\.mat: found "):
            read_mat(path, {"points": (3, 68)})


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"a\.mat: found no such file"):
        read_mat(tmp_path / "a.mat", {})


def test_sizes_may_be_open_and_the_type_kept(tmp_path: Path) -> None:
    path = write_mat(tmp_path / "a.mat", points=np.ones((2, 3), np.float32), index=[[1, 2, 3]])
    content = read_mat(path, {"points": (None, 3), "index": (None,)}, dtype=None)
    assert content["points"].shape == (2, 3)
    assert content["points"].dtype == np.float32
    assert content["index"].tolist() == [1, 2, 3]
    assert content["index"].dtype == np.float64
    with pytest.raises(InputError, match=r"points: found .* expected numbers of \(any, 4\)"):
        read_mat(path, {"points": (None, 4)})


def test_fields_of_a_struct(tmp_path: Path) -> None:
    path = write_mat(tmp_path / "a.mat", model={"mean": [1.0, 2.0], "name": "x"}, other=[1.0])
    assert read_mat(path, {"mean": (2,)}, "model")["mean"].tolist() == [1.0, 2.0]
    with pytest.raises(InputError, match=r"a\.mat: found fields mean, name, expected also std"):
        read_mat(path, {"std": (2,)}, "model")
    for name in ("other", "none"):
        with pytest.raises(InputError, match=f"found fields model, other, expected a struct {name}"):
            read_mat(path, {"mean": (2,)}, name)


def test_fields_of_a_struct_of_version_7_3(tmp_path: Path) -> None:
    path = tmp_path / "b.mat"
    with h5py.File(path, "w", userblock_size=512) as file:
        file.create_group("model")["mean"] = np.array([[1.0], [2.0]])
        file["other"] = np.ones(1)
    assert read_mat(path, {"mean": (2,)}, "model")["mean"].tolist() == [1.0, 2.0]
    with pytest.raises(InputError, match="expected a struct other"):
        read_mat(path, {"mean": (2,)}, "other")


def test_version_7_3_without_h5py(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with h5py.File(tmp_path / "b.mat", "w") as file:
        file["row"] = np.ones(2)
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(InputError, match=r"b\.mat: found a MATLAB 7\.3 file, .*h5py"):
        read_mat(tmp_path / "b.mat", {"row": (2,)})
