"""The load script: its numbers against a server and a model whose times are known."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tests.serving_double import ServingDouble
from tests.tiny_models import write_tiny_model
from tf_dhm.core.errors import InputError
from tf_dhm.runtime.transport import ServerConfig
from tools.studies.serving_load import LoadConfig, drive, measure_load


def test_calls_and_their_times() -> None:
    latencies, length = drive(lambda: time.sleep(0.02), 4, 0.5)
    assert 0.4 < length < 5.0
    assert min(latencies) >= 0.02
    assert sum(latencies) > 2 * length  # at the same time
    assert len(latencies) <= 4 * length / 0.02


def test_a_call_that_takes_longer_is_measured_all_the_same() -> None:
    latencies, length = drive(lambda: time.sleep(0.2), 2, 0.05)
    assert len(latencies) == 2
    assert min(latencies) >= 0.2
    assert length >= 0.2


@pytest.mark.slow
def test_a_server_is_measured(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_tiny_model(tmp_path / "tiny", quality=True)
    double = ServingDouble({"tiny": folder}).start()
    double.delay = 0.05
    server = ServerConfig(f"127.0.0.1:{double.port}", "tiny", timeout=60.0)
    try:
        measure_load(
            LoadConfig(server, tmp_path / "out", concurrency=(1, 2), batch=(1, 4), seconds=0.5, local=folder)
        )
    finally:
        double.stop()
    load = pd.read_csv(tmp_path / "out" / "serving_load.csv", thousands=",")
    assert list(load["signature"].unique()) == ["align_jpeg", "serving_default"]
    assert len(load) == 8
    assert (load["p50 ms"] >= 50).all()
    assert (load["p50 ms"] <= load["p99 ms"]).all()
    np.testing.assert_allclose(load["photos/s"], load["requests/s"] * load["batch"], rtol=0.01)  # 3 digits
    assert (load["requests/s"] < 1000 * load["concurrency"] / 50).all()
    parts = pd.read_csv(tmp_path / "out" / "serving_parts.csv")
    assert list(parts.columns[:5]) == ["batch", "p50 ms", "network ms", "decode and crop ms", "model ms"]
    assert parts["network ms"].min() > 40
    printed = capsys.readouterr().out
    assert "| signature " in printed
    assert "| decode and crop ms " in printed


@pytest.mark.parametrize("options", [{"seconds": 0.0}, {"concurrency": (0,)}, {"batch": (1, 64)}])
def test_options_that_are_none(tmp_path: Path, options: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="expected"):
        LoadConfig(ServerConfig("localhost:8500"), tmp_path, **options)
