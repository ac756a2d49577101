"""The Trainer's methods that are overridden: each is there, and a release without one is refused before any run."""

import pytest
from transformers import Trainer

from lapilli.core.errors import LapilliError
from lapilli.training.trainer import StageTrainer


def test_the_installed_trainer_calls_what_is_overridden():
    StageTrainer.require_known()


@pytest.mark.parametrize("gone", ["_save", "_save_checkpoint", "_load_from_checkpoint", "_get_train_sampler"])
def test_a_trainer_without_one_of_them_is_refused(gone, monkeypatch):
    monkeypatch.delattr(Trainer, gone)
    with pytest.raises(LapilliError, match=f"Trainer.{gone} is gone, or takes other arguments"):
        StageTrainer.require_known()
