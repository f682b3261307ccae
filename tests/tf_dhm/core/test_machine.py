"""The machine that a measurement was taken on."""

from __future__ import annotations

import json
import os
import platform
from pathlib import Path

import pytest

from tf_dhm.core import machine


def test_processor_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    info = tmp_path / "cpuinfo"
    monkeypatch.setattr(machine, "CPU_INFO", info)
    assert machine.processor_name() == (platform.processor() or platform.machine())
    info.write_text("processor\t: 0\nmodel name\t: Fast: one\nprocessor\t: 1\nmodel name\t: Fast: two\n")
    assert machine.processor_name() == "Fast: one"


def test_describe_machine_is_json() -> None:
    described = json.loads(json.dumps(machine.describe_machine()))
    assert described["cpus"] == os.cpu_count()
    assert described["cpu"]
