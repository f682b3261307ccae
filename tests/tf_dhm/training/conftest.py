"""A finished training that several tests look at."""

from __future__ import annotations

import pytest

from tests.trainers import make_trainer
from tf_dhm.training.trainer import Trainer


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Trainer:
    """A run that was never interrupted."""
    trainer = make_trainer(tmp_path_factory.mktemp("whole"))
    trainer.fit()
    return trainer
