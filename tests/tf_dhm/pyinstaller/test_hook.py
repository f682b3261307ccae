"""The hook by which PyInstaller packs models, assets and modules that are loaded by name."""

from __future__ import annotations

import importlib
import runpy
from pathlib import Path

import tf_dhm
from tf_dhm.pyinstaller import hook_directories
from tf_dhm.runtime.tflite import RUNTIMES

ROOT = Path(__file__).resolve().parents[3]


def test_hook() -> None:
    (folder,) = hook_directories()
    hook = runpy.run_path(str(Path(folder) / "hook-tf_dhm.py"))
    files = {Path(source).name: target for source, target in hook["datas"]}
    for name in ("face_detection_back.tflite", "mean_shape.npy"):
        assert files[name] == "tf_dhm/assets"
    assert any("ai_edge_litert" in target for target in files.values())  # its version
    assert set(tf_dhm.HOMES.values()) < set(hook["hiddenimports"])
    assert next(iter(RUNTIMES.values())) in hook["hiddenimports"]
    for module in hook["hiddenimports"]:
        importlib.import_module(module)
    assert any(Path(source).name == "libLiteRt.so" for source, _ in hook["binaries"])


def test_pyinstaller_finds_the_hook() -> None:
    text = (ROOT / "pyproject.toml").read_text()
    assert '[project.entry-points.pyinstaller40]\nhook-dirs = "tf_dhm.pyinstaller:hook_directories"' in text
    assert '"tf_dhm.pyinstaller",' in text
