"""The tables of the study of the small twins, from made-up runs."""

from __future__ import annotations

import numpy as np
import pandas as pd

from tools.studies.family_tables import contrast_text, study_text


def table_of(rows: dict[str, list[float]], ms: float = np.nan) -> pd.DataFrame:
    """Runs with these means of bins; those on `val` are lower by 1."""
    return pd.DataFrame(
        [
            {
                "preset": preset,
                "seed": seed,
                "faces_seen": 213312,
                "machine": "a CPU",
                "images": 1000,
                **{f"test_nme_{name}": value for name in ("0_30", "30_60", "60_90", "mean_of_bins")},
                "val_nme_mean_of_bins": value - 1.0,
                "weight_bytes": 4096.0,
                "ms": ms * (1 + list(rows).index(preset)),
            }
            for preset, values in rows.items()
            for seed, value in enumerate(values, start=1)
        ]
    )


def test_text_by_hand() -> None:
    table = table_of({"dhm_small": [4.0, 5.0], "cnn_3d_small": [6.0], "fast_dhm_small": [3.0]}, ms=2.0)
    text = study_text(table, {"x": {"cpu": "a CPU", "inside": "all"}})
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line[:1] == "|"]
    assert rows[2] == [
        "`dhm_small`",
        "4.50 / 4.50 / 4.50",
        "4.50 ± 0.50",
        "3.50",
        "1, 2",
        "2.00",
        "4,096 bytes",
    ]
    assert rows[3][2:5] == ["6.00", "5.00", "1"]
    # Only what the present runs tell.
    assert rows[5][0] == "what it brings"
    assert rows[7:] == [["the RNN", "`dhm_small`", "`cnn_3d_small`", "-1.50", "-1.50", "× 0.50"]]
    assert contrast_text(table[table["preset"] == "dhm_small"]) == ""
