"""Names of models and presets that have changed: the earlier ones work for one release."""

from __future__ import annotations

import warnings

RENAMED = {"fast_dhm_tuned_x1": "fast_dhm_s", "fast_dhm_tuned": "fast_dhm_m"}
"""Names before version 0.2.0, and those since."""


def current_name(name: str) -> str:
    """The present name of a model or preset; an earlier one gives a FutureWarning.

    >>> current_name("fast_dhm_m")
    'fast_dhm_m'
    """
    if name not in RENAMED:
        return name
    warnings.warn(
        f"{name} is called {RENAMED[name]} now; the earlier name will not be known from version 0.3.0 on",
        FutureWarning,
        stacklevel=3,
    )
    return RENAMED[name]
