"""The table of extras against pyproject.toml, and the errors of missing packages."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from tf_dhm.core.errors import InputError
from tf_dhm.core.extras import EXTRAS, MissingPackageError, packages_of, require_extra

PYPROJECT = Path(__file__).parents[3] / "pyproject.toml"
DISTRIBUTIONS = {
    "cv2": "opencv-python",
    "grpc": "grpcio",
    "pythonosc": "python-osc",
    "tensorflow_serving": "tensorflow-serving-api",
}
"""Modules that are named otherwise than their distributions."""


def installed_by(extra: str) -> set[str]:
    """Names of the distributions that an extra of pyproject.toml asks for."""
    block = re.split(rf"^{extra} = ", PYPROJECT.read_text(), flags=re.M)[1]
    # Up to the next field or table; extras within a requirement have brackets too.
    block = re.split(r"\n(?:\w+ = |\[|#)", block)[0]
    return {re.split(r"[\[<>=;]", text)[0] for text in re.findall(r'"([^"]+)"', block)}


@pytest.mark.parametrize("extra", EXTRAS)
def test_an_extra_installs_what_is_imported_from_it(extra: str) -> None:
    assert {DISTRIBUTIONS.get(module, module) for module in EXTRAS[extra]} <= installed_by(extra)


def test_a_missing_package_names_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "trimesh", None)
    with pytest.raises(MissingPackageError, match=r"--mesh: .*trimesh.*pip install '\.\[mesh\]'") as caught:  # noqa: SIM117
        with packages_of("mesh", "--mesh"):
            import trimesh  # noqa: F401
    assert isinstance(caught.value, InputError)
    assert isinstance(caught.value, ImportError)
    assert caught.value.name == "trimesh"


def test_another_missing_module_is_not_hidden() -> None:
    with pytest.raises(ModuleNotFoundError, match="no_such_module") as caught:  # noqa: SIM117
        with packages_of("mesh", "--mesh"):
            import no_such_module  # noqa: F401
    assert not isinstance(caught.value, InputError)


def test_a_package_is_required_without_being_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(EXTRAS, "fruit", ("json", "no_such_module"))
    with pytest.raises(MissingPackageError, match=r"basket: .*no_such_module.*fruit"):
        require_extra("fruit", "basket")
