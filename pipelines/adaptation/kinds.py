"""What labelled points become, and where the crops of labelled faces are cut."""

from __future__ import annotations

from typing import Literal

Kind = Literal["landmarks", "points"]
"""Role of the points: the model's 68 landmarks, or an output `points` beside them."""
BoxKind = Literal["labels", "detected"]
"""Boxes that crops are cut from: those of the labelled points, or the face detector's."""
