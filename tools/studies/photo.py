"""The photo that studies use unless another is given."""

from __future__ import annotations

from pathlib import Path

PHOTO = Path(__file__).resolve().parents[2] / "tests" / "data" / "astronaut.jpg"
"""A portrait by NASA in the public domain, 512 x 512, with one face."""
