"""The package as a user installs it: with its models, and without TensorFlow."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import textwrap
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PHOTO = ROOT / "tests" / "data" / "astronaut.jpg"
LIMIT = 150
"""MB that may be resident while a photo is aligned, the detector included."""

ALIGN = f"""
import json, sys
from tf_dhm import Aligner
aligner = Aligner()
(face,) = aligner.align({str(PHOTO)!r})
print(json.dumps({{
    "face": face.as_dict(),
    "runtime": aligner.predictor.runtime,
    "model": str(aligner.predictor.path),
    "peak_mb": next(int(line.split()[1]) for line in open("/proc/self/status") if "VmHWM" in line) / 1024,
    "tensorflow": "tensorflow" in sys.modules,
}}))
"""


IMPORT_ALL = """
import importlib, json, pkgutil
import tf_dhm
from tf_dhm.core.extras import MissingPackageError
found = {}
# facemesh_worker runs in an environment of its own; a hook is run by PyInstaller.
skipped = ("tf_dhm.evaluation.peers.facemesh_worker", "tf_dhm.pyinstaller.hook-tf_dhm")
def walk(package):
    for module in pkgutil.iter_modules(package.__path__, package.__name__ + "."):
        if module.name in skipped or module.name.endswith("savedmodels"):
            continue
        try:
            loaded = importlib.import_module(module.name)
        except MissingPackageError as error:
            found.setdefault(str(error).partition("[")[2].partition("]")[0], []).append(module.name)
        else:
            if module.ispkg:
                walk(loaded)
walk(tf_dhm)
print(json.dumps(found))
"""
"""Imports every module of the package, and prints the modules that name an extra which they need."""


@pytest.fixture(scope="module")
def distributions(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The source distribution, and the wheel that is built from it."""
    folder = tmp_path_factory.mktemp("distributions")
    # A copy: setuptools leaves folders behind, and takes what an earlier build left in them.
    source = folder / "source"
    leave = shutil.ignore_patterns("__pycache__", "web_page")
    for name in ("tf_dhm", "savedmodels"):
        shutil.copytree(ROOT / name, source / name, ignore=leave)
    for path in ROOT.iterdir():
        if path.is_file() and path.name != ".git":
            shutil.copy(path, source)
    build = [sys.executable, "-m", "build", "--outdir", str(folder / "dist"), str(source)]
    subprocess.run(build, check=True, cwd=folder, stdout=subprocess.DEVNULL)
    (sdist,) = (folder / "dist").glob("*.tar.gz")
    (wheel,) = (folder / "dist").glob("*.whl")
    return {"sdist": sdist, "wheel": wheel}


def make_environment(folder: Path, *install: str | Path) -> Path:
    """A new environment with what pip is asked for; returns its folder of programs."""
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    programs = folder / "bin"
    pip = [programs / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*map(str, pip), *map(str, install)], check=True, cwd=ROOT)
    return programs


def run(python: Path, code: str, folder: Path, **variables: str) -> dict:
    """What a program prints, as JSON."""
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(
        [str(python), "-c", textwrap.dedent(code)],
        cwd=folder,
        env=environment | variables,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def check_astronaut(face: dict) -> None:
    """Her face fills about 93 pixels to the right of the middle of the upper half."""
    x0, y0, x1, y1 = face["box"]
    assert 150 < (x0 + x1) / 2 < 300
    assert 40 < (y0 + y1) / 2 < 200
    assert len(face["landmarks"]) == 68
    assert max(abs(angle) for angle in face["pose"].values()) < 45


@pytest.mark.slow
def test_the_distributions_are_well_formed(distributions: dict[str, Path]) -> None:
    """PyPI accepts them, and the wheel holds no stray file; the source holds what the wheel is built from."""
    twine = [sys.executable, "-m", "twine", "check", "--strict", *map(str, distributions.values())]
    subprocess.run(twine, check=True)
    # W002: models of one size have the same warm-up requests. W004: PyInstaller chose the name of its hook.
    contents = [sys.executable, "-m", "check_wheel_contents", "--ignore", "W002,W004"]
    contents.append(str(distributions["wheel"]))
    subprocess.run(contents, check=True)
    with tarfile.open(distributions["sdist"]) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    files = {name for name in names if "." in name.rpartition("/")[2]}
    assert {"pyproject.toml", "README.md", "LICENSE", "THIRD_PARTY.md", "CHANGELOG.md"} <= names
    tops = {name.partition("/")[0] for name in files if "/" in name}
    assert tops == {"tf_dhm", "savedmodels", "tf_dhm.egg-info"}
    assert not [name for name in files if name.endswith(".pyc")]
    with zipfile.ZipFile(distributions["wheel"]) as archive:
        wheel = {name for name in archive.namelist() if not name.endswith("/")}
    modules = {str(path.relative_to(ROOT)) for path in (ROOT / "tf_dhm").rglob("*.py")}
    assert modules <= wheel
    assert modules <= files
    assert any(
        name.endswith("licenses/THIRD_PARTY.md") or name.endswith("info/THIRD_PARTY.md") for name in wheel
    )


@pytest.mark.slow
def test_the_source_distribution_installs(distributions: dict[str, Path], tmp_path: Path) -> None:
    programs = make_environment(tmp_path / "environment", distributions["sdist"])
    check_astronaut(run(programs / "python", ALIGN, tmp_path)["face"])


@pytest.mark.slow
def test_the_wheel_in_an_empty_environment(distributions: dict[str, Path], tmp_path: Path) -> None:
    programs = make_environment(tmp_path / "environment", distributions["wheel"])
    found = run(programs / "python", ALIGN, tmp_path)
    check_astronaut(found["face"])
    assert found["model"].startswith(str(tmp_path))  # from the wheel and not from the repository
    assert not found["tensorflow"]
    command = [str(programs / "tf-dhm-align"), str(PHOTO), "--json", "faces.jsonl", "--output", "drawn"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (line,) = (tmp_path / "faces.jsonl").read_text().splitlines()
    assert json.loads(line)["faces"][0] == found["face"]
    assert (tmp_path / "drawn" / PHOTO.name).is_file()
    loaded = run(programs / "python", IMPORT_ALL, tmp_path)
    # All other modules can be imported with the dependencies of the wheel alone.
    assert set(loaded) == {"archive", "evaluate", "serving", "train"}
    helps = subprocess.run([programs / "tf-dhm"], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "tf-dhm COMMAND" in helps.stdout
    done = subprocess.run(
        [programs / "tf-dhm", "benchmark"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert ".[evaluate]" in done.stderr
    done = subprocess.run(
        [programs / "tf-dhm", "train"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "clone of the repository" in done.stderr


@pytest.mark.slow
def test_without_tensorflow_in_little_memory(tmp_path: Path) -> None:
    programs = make_environment(tmp_path / "environment", "-r", "requirements-lite.txt")
    found = run(programs / "python", ALIGN, tmp_path, PYTHONPATH=str(ROOT))
    check_astronaut(found["face"])
    assert found["runtime"].startswith("ai-edge-litert")
    assert not found["tensorflow"]
    assert found["peak_mb"] < LIMIT


def test_names_of_the_package_are_loaded_when_they_are_asked_for() -> None:
    code = """
    import json, sys, tf_dhm
    before = "cv2" in sys.modules
    from tf_dhm import Aligner, Face, InputError
    after = "tensorflow" in sys.modules
    print(json.dumps({"cv2": before, "tensorflow": after, "home": Aligner.__module__ + Face.__module__}))
    """
    found = run(Path(sys.executable), code, ROOT)
    assert found == {
        "cv2": False,
        "tensorflow": False,
        "home": "tf_dhm.runtime.aligner" + "tf_dhm.runtime.faces",
    }


def test_no_other_names() -> None:
    import tf_dhm

    with pytest.raises(AttributeError, match="module 'tf_dhm' has no attribute 'Alinger'"):
        tf_dhm.Alinger  # noqa: B018


def test_the_package_is_a_program() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tf_dhm"], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert done.returncode == 2
    assert done.stderr.startswith("error: files: found none")


def test_the_pins_of_both_environments_agree() -> None:
    """All that requirements-lite.txt names, requirements.txt names too, of the same version."""

    def pins(name: str) -> dict[str, set[str]]:
        found: dict[str, set[str]] = {}
        for line in (ROOT / name).read_text().splitlines():
            if line and not line.startswith("#"):
                package, _, version = line.partition("==")
                found.setdefault(package.removesuffix("-headless"), set()).add(version)
        return found

    full, lite = pins("requirements.txt"), pins("requirements-lite.txt")
    assert {name: full.get(name) for name in lite} == lite


def test_every_bundled_part_is_in_the_list_of_licences() -> None:
    """Assets and models by name, and the npm packages of the built page with their versions."""
    text = (ROOT / "THIRD_PARTY.md").read_text()
    assets = [path.name for path in (ROOT / "tf_dhm" / "assets").iterdir() if path.suffix != ".md"]
    models = [path.name for path in (ROOT / "savedmodels").iterdir() if path.is_dir()]
    assert [name for name in [*assets, *models] if f"`{name}`" not in text] == []
    packages = json.loads((ROOT / "web" / "package-lock.json").read_text())["packages"]
    rows = [line for line in text.splitlines() if "not in the repository" in line]
    named = re.findall(r"`([@\w./-]+)` ([\d.]+)", "\n".join(rows))
    assert {"ml-matrix", "wasm-feature-detect", "linear-sum-assignment"} <= dict(named).keys()
    assert {name: packages[f"node_modules/{name}"]["version"] for name in dict(named)} == dict(named)
    litert = re.findall(r"LiteRT for the web ([\d.]+) \(`(@litertjs/core)`", text)
    assert litert == [(packages["node_modules/@litertjs/core"]["version"], "@litertjs/core")]
