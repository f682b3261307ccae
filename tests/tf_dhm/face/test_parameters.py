"""The fields of p."""

from __future__ import annotations

import numpy as np
import pytest

from tf_dhm.core.errors import InputError
from tf_dhm.face.parameters import decompose


def test_every_number_of_p_belongs_to_one_field() -> None:
    p = np.arange(2.0 * 234).reshape(2, 234)
    fields = decompose(p)
    np.testing.assert_array_equal(fields.scale, p[:, 0])
    np.testing.assert_array_equal(fields.angles, p[:, 1:4])
    np.testing.assert_array_equal(fields.translation, p[:, 4:6])
    np.testing.assert_array_equal(fields.identity, p[:, 6:205])
    np.testing.assert_array_equal(fields.expression, p[:, 205:])


def test_another_number_is_an_error() -> None:
    with pytest.raises(InputError, match=r"^p: found shape \(233,\)"):
        decompose(np.zeros(233))
