"""The tables of docs/family.md that `family_study` measures: each preset, and the gain of each part."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from tf_dhm.core.markdown import DASH, markdown_table
from tf_dhm.face import metrics

CONTRASTS = (
    ("the RNN", "dhm_small", "cnn_3d_small"),
    ("the heat map and the 3-D parameters", "dhm_small", "rnn_2d_small"),
    ("the hourglasses and the LSTM", "dhm_rhg_small", "dhm_small"),
    ("the CNN of Fast DHM", "fast_cnn_vanilla_rnn_small", "dhm_small"),
    ("the fast recurrent module", "fast_dhm_small", "fast_cnn_vanilla_rnn_small"),
)
"""Parts that one preset has and another has not: (part, preset with it, preset without it)."""


def study_text(table: pd.DataFrame, latency: dict[str, dict[str, Any]]) -> str:
    """The measured part of the document: the table of `collect`, and the gain of each part.

    Numbers are means over the seeds; "±" is half of the distance between the best and the worst seed.
    """
    rows = []
    for preset, part in table.groupby("preset", sort=False):
        means = part.mean(numeric_only=True)
        spread = np.ptp(part["test_nme_mean_of_bins"]) / 2.0
        bins = " / ".join(f"{means[f'test_nme_{name}']:.2f}" for name in metrics.YAW_BINS)
        rows.append(
            {
                "preset": f"`{preset}`",
                "NME 0–30 / 30–60 / 60–90": bins,
                "mean of bins": f"{means['test_nme_mean_of_bins']:.2f}"
                + (f" ± {spread:.2f}" if len(part) > 1 else ""),
                "on val": f"{means['val_nme_mean_of_bins']:.2f}",
                "seeds": ", ".join(map(str, part["seed"])),
                "ms": f"{means['ms']:.2f}" if np.isfinite(means["ms"]) else DASH,
                "weights": f"{means['weight_bytes']:,.0f} bytes",
            }
        )
    first = table.iloc[0]
    faces = sorted({f"{count:,}" for count in table["faces_seen"]})
    lines = [
        f"NME in percent on {first['images']:,} images of AFLW2000-3D, original labels, and on the `val` "
        f"split; {', '.join(faces)} faces seen by each run ({first['machine']}).",
        markdown_table(rows),
    ]
    if latency:
        timed = next(iter(latency.values()))
        lines.append(
            f"ms: median of one call, SavedModel, float32, batch 1, one thread of {timed['cpu']}; inside: "
            f"{timed['inside']}."
        )
    else:
        lines.append("Not timed yet.")
    lines.append(contrast_text(table))
    return "\n\n".join(line.strip() for line in lines if line)


def contrast_text(table: pd.DataFrame) -> str:
    """The gain of each part, if the presets that show it are in the table."""
    means = table.groupby("preset")[["test_nme_mean_of_bins", "val_nme_mean_of_bins", "ms"]].mean()
    rows = []
    for what, with_it, without in CONTRASTS:
        if not {with_it, without} <= set(means.index):
            continue
        change = means.loc[with_it] - means.loc[without]
        times = means.loc[with_it, "ms"] / means.loc[without, "ms"]
        rows.append(
            {
                "what it brings": what,
                "with": f"`{with_it}`",
                "without": f"`{without}`",
                "NME": f"{change['test_nme_mean_of_bins']:+.2f}",
                "on val": f"{change['val_nme_mean_of_bins']:+.2f}",
                "time": f"× {times:.2f}" if np.isfinite(times) else DASH,
            }
        )
    return markdown_table(rows) if rows else ""
