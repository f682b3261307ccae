from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.datasets.folders import hash_fraction, image_size, pair_files, require_folder, split_groups
from tests.builders import write_image
from tf_dhm.core.errors import InputError


def test_pairs_share_a_name_and_may_miss_a_side(tmp_path: Path) -> None:
    for name in ("b.JPG", "b.mat", "a.mat", "c.png", "._b.jpg", "note.txt", "sub/d.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    pairs = pair_files(tmp_path, ".mat")
    assert [(p.name, p.image and p.image.name, p.label and p.label.name) for p in pairs] == [
        ("a", None, "a.mat"),
        ("b", "b.JPG", "b.mat"),
        ("c", "c.png", None),
    ]
    assert [p.name for p in pair_files(tmp_path, ".mat", recursive=True)] == ["a", "b", "c", "sub/d"]


def test_require_folder_says_what_it_should_hold(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"found nothing there, expected a folder with photos"):
        require_folder(tmp_path / "none", "photos")
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="found a file"):
        require_folder(tmp_path / "file", "photos")


def test_image_size_is_width_and_height(tmp_path: Path) -> None:
    assert image_size(write_image(tmp_path / "a.png", width=31, height=17)) == (31, 17)
    (tmp_path / "b.jpg").write_bytes(b"no image")
    with pytest.raises(InputError, match=r"b\.jpg: .*expected an image"):
        image_size(tmp_path / "b.jpg")


def test_hash_is_the_same_on_every_machine() -> None:
    # The first 8 bytes of SHA-256 of "abc", ba7816bf 8f01cfea, over 2^64.
    assert hash_fraction("abc") == pytest.approx(0xBA7816BF8F01CFEA / 2**64)


@given(st.text())
def test_hash_is_a_fraction(group: str) -> None:
    assert 0.0 <= hash_fraction(group) < 1.0


def test_split_takes_about_its_share() -> None:
    names = [f"photo_{i}" for i in range(20_000)]
    splits = split_groups(names, 0.05)
    assert list(splits.values()).count("val") / len(splits) == pytest.approx(0.05, abs=0.005)
    half = split_groups(names[::2], 0.05)
    assert half == {name: splits[name] for name in names[::2]}


@pytest.mark.parametrize("count", [*range(2, 60), 200])
def test_a_split_has_half_of_its_share_or_more(count: int) -> None:
    for number in range(20):
        names = [f"{number}/photo_{i}" for i in range(count)]
        splits = split_groups(names, 0.1)
        val = {name for name, split in splits.items() if split == "val"}
        assert len(val) >= max(1, count / 20)
        # Those of the least hashes, whatever their order, so that none changes when other groups are added.
        assert val == set(sorted(names, key=hash_fraction)[: len(val)])
        assert splits == split_groups(reversed(names), 0.1)


@pytest.mark.parametrize(("count", "share", "val"), [(1, 0.05, 0), (2, 0.0, 0), (2, 1e-9, 1), (9, 1e-9, 1)])
def test_split_of_a_few_groups(count: int, share: float, val: int) -> None:
    splits = split_groups([f"photo_{i % count}" for i in range(20)], share)
    assert sorted(splits.values()) == ["train"] * (count - val) + ["val"] * val
