"""The readers by name: one for every dataset of the catalogue."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipelines.datasets.catalogue import NOTES, SYNTHETIC
from pipelines.datasets.readers import READERS, read_dataset
from tf_dhm.core.errors import InputError


def test_every_dataset_that_is_not_rendered_has_a_reader() -> None:
    assert {*READERS, SYNTHETIC} == set(NOTES)


@pytest.mark.parametrize("name", sorted(READERS))
def test_a_reader_names_the_folder_that_it_cannot_read(name: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=str(tmp_path)):
        list(read_dataset(name, tmp_path))


def test_other_names() -> None:
    with pytest.raises(InputError, match="dataset: found 'wild'"):
        read_dataset("wild", Path("wild"))
    with pytest.raises(InputError, match=r"photos: found a folder for synthetic, .*--dataset names another"):
        read_dataset(SYNTHETIC, Path("photos"))
