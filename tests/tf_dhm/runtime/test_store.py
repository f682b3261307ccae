"""Tests of tf_dhm.runtime.store."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tf_dhm.core.errors import InputError
from tf_dhm.core.renamed import RENAMED
from tf_dhm.runtime import store
from tf_dhm.runtime.store import find_savedmodel, list_models


def fake_version(folder: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / "saved_model.pb").write_bytes(b"not a graph")
    return folder


def test_list_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "SAVEDMODELS", tmp_path)
    fake_version(tmp_path / "b" / "2")
    fake_version(tmp_path / "a" / "1")
    (tmp_path / "without_a_model").mkdir()
    assert list_models() == ["a", "b"]


class TestFindSavedmodel:
    def test_newest_version_by_number(self, tmp_path: Path) -> None:
        for version in ("2", "10", "9"):
            fake_version(tmp_path / version)
        (tmp_path / "11").mkdir()  # without a model: being written, or broken
        (tmp_path / "README.md").write_text("card")
        assert find_savedmodel(tmp_path) == tmp_path / "10"

    def test_version_folder(self, tmp_path: Path) -> None:
        assert find_savedmodel(fake_version(tmp_path / "3")) == tmp_path / "3"

    def test_name(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(store, "SAVEDMODELS", tmp_path)
        fake_version(tmp_path / "small" / "1")
        assert find_savedmodel("small") == tmp_path / "small" / "1"
        with pytest.raises(InputError, match=r"found nothing.*one of the models small"):
            find_savedmodel("large")
        with pytest.raises(InputError, match=r"one of the models small; did you mean small\?"):
            find_savedmodel("smal")

    def test_an_earlier_name_works_with_a_warning(self) -> None:
        for old, new in RENAMED.items():
            with pytest.warns(FutureWarning, match=f"{old} is called {new} now"):
                assert find_savedmodel(old) == find_savedmodel(new)

    def test_the_folder_of_a_run_leads_to_its_model(self, tmp_path: Path) -> None:
        fake_version(tmp_path / "export" / "fast_dhm_m" / "1")
        with pytest.raises(InputError) as error:
            find_savedmodel(tmp_path)
        assert str(error.value).endswith(f"the model of this run is {tmp_path / 'export' / 'fast_dhm_m'}")

    def test_errors(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("x")
        (tmp_path / "empty").mkdir()
        (tmp_path / "other" / "variables").mkdir(parents=True)
        for name, found in [
            ("none", "found nothing, expected a folder"),
            ("file", "found a file, expected a folder"),
            ("empty", "found an empty folder, expected saved_model.pb"),
            ("other", "found variables, expected saved_model.pb"),
        ]:
            with pytest.raises(InputError, match=re.escape(str(tmp_path / name)) + ".*" + found):
                find_savedmodel(tmp_path / name)
