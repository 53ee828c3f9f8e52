"""What a trainer says of itself, draws on the way and writes, and which cells its loss weighs."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from PIL import Image

from x2edit_core.train import loop
from x2edit_core.train.batches import Ranks
from x2edit_core.train.losses import edited_weights

from .test_train_loop import config_for, trainer_for


def with_parts(trainer, **changes):
    return loop.Trainer(trainer.config, dataclasses.replace(trainer.parts, **changes))


def test_a_summary_tells_the_rate_the_remarks_and_the_notes(tmp_path):
    trainer = with_parts(trainer_for(config_for(tmp_path)), remarks=["seen on the way"])
    trainer.notes.append("noted later")
    lines = trainer.summary()
    assert lines[-2:] == ["seen on the way", "noted later"]
    assert any("0.05" in line and "4 × 1" in line for line in lines)


def test_a_summary_of_prodigy_tells_the_rate_as_it_takes_effect(tmp_path):
    pytest.importorskip("prodigyopt")
    trainer = trainer_for(config_for(tmp_path, optim={"name": "prodigy", "rate": 0.5}))
    assert any("5e-07" in line for line in trainer.summary())


def painted(latents):
    """Latents [B, 2, h, w] → pictures [B, h, w, 3]."""
    return latents.sigmoid().movedim(1, -1)[..., [0, 1, 0]]


def drawing(folder, **changes):
    """One bucket of 4 × 4 latents, so that a sheet's size is known."""
    config = config_for(folder, steps=4, sample_every=2, sample_steps=2, save_every=100, **changes)
    trainer = trainer_for(config)
    return with_parts(trainer, decode=painted)


def sheets(folder):
    return sorted(path.name for path in (folder / "samples").glob("*.png")) if (folder / "samples").exists() else []


def test_pictures_are_drawn_every_so_many_steps_from_the_averaged_weights(tmp_path):
    trainer = drawing(tmp_path)
    seen = []
    predicting = trainer.parts.model.predicting

    def watched(inputs, watch=None):
        if not torch.is_grad_enabled():
            seen.append(trainer._average.in_place)
        return predicting(inputs, watch)

    trainer.parts.model.predicting = watched
    trainer.run()
    assert sheets(tmp_path) == ["step-0000002.png", "step-0000004.png"]
    assert seen == [True] * 4, "two sheets of two steps"
    first, second = (np.asarray(Image.open(tmp_path / "samples" / name)) for name in sheets(tmp_path))
    third = first.shape[1] // 3
    assert np.array_equal(first[:, :third], second[:, :third]) and np.array_equal(first[:, -third:], second[:, -third:])
    assert not np.array_equal(first[:, third : 2 * third], second[:, third : 2 * third])


def test_nobody_draws_without_a_decoder_or_a_wish(tmp_path):
    trainer_for(config_for(tmp_path / "a", steps=2, sample_every=1)).run()
    with_parts(trainer_for(config_for(tmp_path / "b", steps=2)), decode=painted).run()
    assert not sheets(tmp_path / "a") and not sheets(tmp_path / "b")


def test_only_the_first_process_writes(tmp_path):
    trainer = with_parts(trainer_for(config_for(tmp_path, sample_every=1), ranks=Ranks(1, 1)), decode=painted)
    assert trainer.export() is None and trainer._preview is None and trainer._journal is None
    assert not (tmp_path / "result.pt").exists() and not (tmp_path / "losses.csv").exists()


def test_cells_weigh_more_where_there_is_a_source_and_a_wish(tmp_path):
    aware = trainer_for(config_for(tmp_path / "a")).parts.batches.at(0)
    blind = dataclasses.replace(aware, reference=None)
    assert aware.source is not None and blind.source is None
    for number, (edited, batch, weighed) in enumerate(((3.0, aware, True), (3.0, blind, False), (0.0, aware, False))):
        found = trainer_for(config_for(tmp_path / str(number), loss={"edited": edited}))._weights(batch)
        assert (found is not None) == weighed
        if found is not None:
            assert torch.equal(found, edited_weights(aware.target, aware.source, 3.0))
