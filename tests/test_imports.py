"""One direction of imports, and what each package promises not to load."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.import_rules import (
    circle,
    imports,
    module_circle,
    package_faults,
    read_modules,
    violations,
)

ROOT = Path(__file__).parents[1]
SCRIPTS = sorted(path.name for path in ROOT.glob("*.py"))
LIBRARY = {
    "tf_dhm.core": set(),
    "tf_dhm.face": {"core"},
    "tf_dhm.networks": {"core", "face"},
    "tf_dhm.training": {"core", "face", "networks"},
    "tf_dhm.runtime": {"core", "face"},
    "tf_dhm.export": {"core", "face", "networks", "training", "runtime"},
    "tf_dhm.evaluation": {"core", "face", "runtime"},
    "tf_dhm.commands": {"core", "face", "runtime"},
    "tf_dhm": {"core", "runtime", "commands"},
}
PIPELINES = {
    "pipelines.datasets": set(),
    "pipelines.synthetic": {"datasets"},
    "pipelines.prepared": {"datasets", "synthetic"},
    "pipelines.adaptation": {"datasets", "synthetic", "prepared"},
    "pipelines.input": {"datasets", "synthetic", "prepared"},
    "pipelines.runs": {"datasets", "synthetic", "prepared", "input"},
    "pipelines.search": {"datasets", "synthetic", "prepared", "input", "runs"},
    "pipelines": set(),
}
ALLOWED: dict[str, set[str]] = {
    **{name: {f"tf_dhm.{other}" for other in others} for name, others in LIBRARY.items()},
    **{name: {f"pipelines.{other}" for other in others} | {*LIBRARY} for name, others in PIPELINES.items()},
    **{script.removesuffix(".py"): {*PIPELINES, *LIBRARY} for script in SCRIPTS},
    "tools": {*PIPELINES, *LIBRARY},
    "tests": set(),  # named so that an import of tests is seen
}
"""Package -> the packages that it may import. The longest prefix of a module is its package."""
SOURCES = read_modules(ROOT, "tf_dhm", "pipelines", "tools", *SCRIPTS)
PACKAGES = [
    ".".join(path.parent.relative_to(ROOT).parts)
    for top in ("tf_dhm", "pipelines", "tools")
    for path in sorted((ROOT / top).rglob("__init__.py"))
]


def test_imports_go_in_one_direction() -> None:
    assert violations(SOURCES, ALLOWED) == []


def test_the_table_itself_has_no_circle() -> None:
    assert circle(ALLOWED) == []


def test_no_modules_import_one_another_in_a_circle() -> None:
    assert module_circle(SOURCES) == []


def test_packages_say_what_they_are_and_list_their_modules() -> None:
    # `tf_dhm` itself lists the public names, not its modules.
    assert package_faults(SOURCES, [name for name in PACKAGES if name != "tf_dhm"]) == []


def run_python(code: str) -> str:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(
    ("package", "absent"),
    [
        ("core", ["tensorflow", "keras", "scipy", "cv2"]),
        ("face", ["tensorflow", "keras", "cv2", "ai_edge_litert"]),
        ("runtime", ["tensorflow", "keras", "matplotlib", "pandas"]),
        ("commands", ["tensorflow", "keras", "matplotlib"]),
    ],
)
def test_a_package_loads_without_what_it_promises_not_to_need(package: str, absent: list[str]) -> None:
    modules = [name for name in SOURCES if name.startswith(f"tf_dhm.{package}.")]
    code = f"""
import importlib, sys
for name in {absent}:
    sys.modules[name] = None  # an import of it fails
for name in {modules}:
    importlib.import_module(name)
"""
    run_python(code)


def test_the_package_itself_loads_at_once() -> None:
    code = """
import json, sys, time
before, start = set(sys.modules), time.perf_counter()
import tf_dhm
print(json.dumps([time.perf_counter() - start, sorted({name.partition(".")[0] for name in sys.modules} )]))
"""
    seconds, loaded = zip(*(json.loads(run_python(code)) for _ in range(5)), strict=True)
    assert not {"numpy", "cv2", "tensorflow", "scipy"} & set(loaded[0])
    assert min(seconds) < 0.3


# The reader and the rules, on made sources

TABLE = {"a": set(), "b": {"a"}, "c": {"a", "b"}}


@pytest.mark.parametrize(
    "line",
    [
        "import c.models",
        "import c.models as models",
        "from c import models",
        "from c.models import build",
        "from c import *",
        "def build():\n    from c import models",
        "try:\n    import c\nexcept ImportError:\n    pass",
        "import os, c.models",
        'importlib.import_module("c.models")',
        "if TYPE_CHECKING:\n    import a\nelse:\n    import c",
    ],
)
def test_every_form_of_a_wrong_import_is_found(line: str) -> None:
    modules = {"a": "", "b": "", "b.one": line, "c": "", "c.models": ""}
    (found,) = violations(modules, TABLE)
    assert found.startswith("b.one:")
    assert found.endswith("b may not import c")
    assert violations({**modules, "b.one": "", "c.one": line}, TABLE) == []


@pytest.mark.parametrize(
    "line",
    [
        "if TYPE_CHECKING:\n    from c import models",
        "if typing.TYPE_CHECKING:\n    import c.models",
        "import a.one, b.two, cc.models",
        '"import c"',
    ],
)
def test_imports_that_are_no_fault(line: str) -> None:
    assert violations({"b.one": line}, TABLE) == []


def test_the_longest_prefix_is_the_package() -> None:
    table = {"p": set(), "p.low": set(), "p.high": {"p.low"}}
    modules = {"p.low.x": "from p import high", "p.high.y": "from p import low", "p.z": "import p.low"}
    assert violations(modules, table) == [
        "p.low.x:1 imports p.high: p.low may not import p.high",
        "p.z:1 imports p.low: p may not import p.low",
    ]
    assert violations({"q": "import p.low"}, table) == ["q is in no package of the table"]


def test_relative_imports_are_resolved() -> None:
    found = [
        item.name for item in imports("p.low.x", "from . import y\nfrom .. import high\nfrom .z import f")
    ]
    assert found == ["p.low.y", "p.high", "p.low.z.f"]
    assert [item.name for item in imports("p.low", "from . import y", is_package=True)] == ["p.low.y"]


def test_a_circle_of_modules_is_found() -> None:
    modules = {"p": "from p import x", "p.x": "import p.y", "p.y": "def f():\n    from p.x import g"}
    assert set(module_circle(modules)) == {"p.x", "p.y"}
    assert module_circle({**modules, "p.y": "if TYPE_CHECKING:\n    from p.x import g"}) == []


def test_faults_of_packages_are_found() -> None:
    modules = {"p": '"""One. Two."""\n__all__ = ["x"]', "p.x": "", "p.y": "", "q": "", "r": '"""One."""'}
    found = package_faults({**modules, "r.z": ""}, ["p", "q", "r"])
    assert [item.partition(":")[0] for item in found] == ["p", "p", "q", "q", "r"]
    assert package_faults({"p": '"""One."""\n__all__ = ["x"]', "p.x": ""}, ["p"]) == []
