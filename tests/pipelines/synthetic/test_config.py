"""Configuration of the series of rendered faces."""

from __future__ import annotations

import pytest

from pipelines.synthetic.config import TEST_SEED, SyntheticConfig
from tf_dhm.core.errors import InputError


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"count": 0}, "count: found 0"),
        ({"seed": -1}, "seed: found -1"),
        ({"seed": 2**31}, "seed: found 2147483648"),
        ({"seed": TEST_SEED}, "found seed 2147483647, that of the faces for testing"),
    ],
)
def test_mistakes(options: dict[str, int], message: str) -> None:
    with pytest.raises(InputError, match=message):
        SyntheticConfig(**options)  # type: ignore[arg-type]
