"""Held-out samples: never learnt from, judged alike every time, the best state kept; and what tells of a run on the way."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from PIL import Image

from x2edit_core.errors import X2EditError
from x2edit_core.shift import FLUX_SCHEDULE
from x2edit_core.train import loop
from x2edit_core.train.batches import Batches, generator
from x2edit_core.train.checkpoints import states
from x2edit_core.train.config import parse_config
from x2edit_core.train.journal import HELD_COLOUR, plot_losses, read_table
from x2edit_core.train.pace import Pace, shown
from x2edit_core.train.summary import unsuited
from x2edit_core.train.validation import Part, Validation, held_out

from .test_train_loop import ToyModel, ToyPool, config_for, losses_of, run, trainer_for

VALIDATION = {"share": 0.25, "every": 4, "drawn": 3}


def decode(latents):
    """Toy latents [B, 2, h, w] as pictures of as many pixels."""
    return latents.mean(1)[..., None].expand(-1, -1, -1, 3) / 4 + 0.5


def text(words):
    return (torch.zeros(len(words), 1, 1),) * 2


def judged(config, ranks=None):
    """A trainer whose run is judged by a quarter of the samples."""
    trainer = trainer_for(config, ranks)
    pools, held = held_out({"edit": ToyPool()}, config.validation.share, config.seed)
    batches = Batches(pools, config, ranks)
    return loop.Trainer(config, dataclasses.replace(trainer.parts, batches=batches, held=held, decode=decode))


def test_a_share_is_held_out_whole_and_always_the_same():
    pools = {"edit": ToyPool(), "copy": ToyPool(), "picture": ToyPool()}
    learnt, held = held_out(pools, 0.25, 0)
    assert len(held.indices) == 4 and held.indices == held_out(pools, 0.25, 0)[1].indices
    assert held.indices != held_out(pools, 0.25, 1)[1].indices
    for mode in ("edit", "copy"):
        assert sorted(learnt[mode].indices + held.indices) == list(range(16))
    assert learnt["picture"].indices == list(range(16))
    assert held.tasks == [index % 3 for index in held.indices] and held.buckets == [index % 2 for index in held.indices]
    assert torch.equal(held.example(1).target, ToyPool().example(held.indices[1]).target)


def test_samples_of_one_source_stay_on_one_side():
    class Turns(ToyPool):
        def name_of(self, index):
            return f"picture {index // 4}"

    learnt, held = held_out({"edit": Turns()}, 0.1, 0)
    sides = [{learnt["edit"].name_of(at) for at in range(12)}, {held.name_of(at) for at in range(4)}]
    assert len(sides[0]) == 3 and len(sides[1]) == 1 and not sides[0] & sides[1]

    class One(ToyPool):
        def name_of(self, index):
            return "the only picture"

    with pytest.raises(X2EditError, match=r"validation.share = 0.1 of 16 samples leaves nothing"):
        held_out({"edit": One()}, 0.1, 0)


def test_words_without_an_encoding_judge_nothing():
    class Words(ToyPool):
        words = [f"word {index}" for index in range(16)]

    part = Part(Words(), [3, 5, 9])
    assert part.words == ["word 3", "word 5", "word 9"] and part.saying({"word 5"}).indices == [3, 9]


def test_the_loss_is_that_of_fixed_noise_and_times(tmp_path):
    """A model that predicts nothing: the mean square of noise less target, at the noise of the seed."""
    config = config_for(tmp_path, validation={**VALIDATION, "drawn": 0})
    model = ToyModel()
    with torch.no_grad():
        model.up.weight.zero_(), model.up.bias.zero_()
    held = Part(ToyPool(), [0, 1, 2, 3, 7])
    validation = Validation(config, held, None, FLUX_SCHEDULE)
    found = [validation.score(model, text, tmp_path / "sheet.png") for _ in range(2)]
    squares = []
    for bucket, indices in ((0, [0, 2]), (1, [1, 3, 7])):
        source = generator(config.seed, "validation", bucket)
        torch.rand(len(indices), generator=source)
        targets = torch.stack([ToyPool().example(index).target for index in indices])
        noise = torch.randn(targets.shape, generator=source)
        squares += (noise - targets).square().flatten(1).mean(1).tolist()
    assert found[0].loss == found[1].loss == pytest.approx(sum(squares) / 5, abs=1e-6)
    assert np.isnan(found[0].psnr_db) and not (tmp_path / "sheet.png").exists()


def test_edits_are_drawn_and_held_against_their_targets(tmp_path):
    config = config_for(tmp_path, validation=VALIDATION, sample_steps=2)
    held = Part(ToyPool(), [0, 1, 2, 3])
    score = Validation(config, held, decode, FLUX_SCHEDULE).score(ToyModel(), text, tmp_path / "s" / "sheet.png")
    sheet = np.asarray(Image.open(tmp_path / "s" / "sheet.png")) / 255
    squares = [
        np.square(
            sheet[top : top + height, width : 2 * width] - sheet[top : top + height, 2 * width : 3 * width]
        ).mean()
        for top, height, width in ((0, 4, 4), (4, 4, 4), (8, 2, 6))
    ]
    assert sheet.shape == (10, 18, 3)
    assert score.psnr_db == pytest.approx(np.mean([-10 * np.log10(square) for square in squares]), abs=0.3)


def test_a_run_is_judged_before_it_on_the_way_and_at_its_end_and_keeps_its_best(tmp_path):
    config = config_for(tmp_path / "run", steps=14, validation=VALIDATION)
    trainer = judged(config)
    trainer.run()
    rows = read_table(tmp_path / "run" / "validation.csv")
    assert [row["step"] for row in rows] == ["0", "4", "8", "12", "14"]
    best = min(rows[1:], key=lambda row: float(row["loss"]))
    assert trainer.best == {"step": float(best["step"]), "loss": pytest.approx(float(best["loss"]), rel=1e-6)}
    (kept,) = states(tmp_path / "run" / "best")
    state = torch.load(kept, weights_only=True)
    assert state["step"] == int(best["step"]) and (tmp_path / "run" / "best" / "result.pt").exists()
    assert len(list((tmp_path / "run" / "samples").glob("validation-*.png"))) == 5


def test_the_best_stays_when_the_run_gets_worse_and_the_outcome_says_so(tmp_path):
    """From step 9 on the weights are thrown about."""
    trainer = judged(config_for(tmp_path / "run", steps=12, validation=VALIDATION))
    losses = iter([9.0, 3.0, 2.0, 7.0])
    assert trainer._validation is not None
    score = trainer._validation.score
    trainer._validation.score = lambda *given: dataclasses.replace(score(*given), loss=next(losses))
    trainer.run()
    assert trainer.best == {"step": 8.0, "loss": 2.0} and [p.name for p in states(tmp_path / "run" / "best")] == [
        "state-0000008.pt"
    ]
    assert trainer.outcome.startswith("12 of 12 steps done; by the held-out samples step 8 was the best (loss 2.0000)")
    again = judged(config_for(tmp_path / "run", steps=12, validation=VALIDATION))
    assert again.best == trainer.best, "a run that goes on knows of it"


def test_what_judges_a_run_does_not_change_its_steps_and_may_change(tmp_path):
    for name, drawn in (("drawn", 3), ("bare", 0)):
        judged(config_for(tmp_path / name, validation={**VALIDATION, "drawn": drawn})).run()
    assert losses_of(tmp_path / "drawn") == losses_of(tmp_path / "bare")
    judged(config_for(tmp_path / "bare", steps=13, validation={**VALIDATION, "every": 2, "samples": 2}))
    with pytest.raises(X2EditError, match=r"share = 0.25.*share = 0.5"):
        judged(config_for(tmp_path / "bare", steps=13, validation={**VALIDATION, "share": 0.5}))


def test_the_first_of_two_processes_judges_for_both(tmp_path, two_ranks):
    judged(config_for(tmp_path / "alone", validation=VALIDATION)).run()
    assert two_ranks.run("judge", tmp_path / "both") == [12, 12]
    alone, both = (read_table(tmp_path / name / "validation.csv") for name in ("alone", "both"))
    assert [row["step"] for row in both] == ["0", "4", "8", "12"]
    for name in ("loss", "psnr_db"):
        expected = [float(row[name]) for row in alone]
        assert [float(row[name]) for row in both] == pytest.approx(expected, rel=1e-3)
    assert states(tmp_path / "both" / "best")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"kind": "base"}, "validation.share is for adapters"),
        ({"data": {"mix": {"copy": 1.0}}}, "data.mix has none"),
        ({"shard": "trained"}, r"validation.share = 0.25 does not work with shard"),
    ],
)
def test_what_cannot_be_judged_is_refused(change, told):
    with pytest.raises(X2EditError, match=told):
        config_for("run", validation=VALIDATION, **change)


def test_a_state_is_saved_by_the_clock_too(tmp_path):
    often = {"save_every": 1000, "keep": 20}
    run(config_for(tmp_path / "clock", save_minutes=1e-9, **often))
    run(config_for(tmp_path / "steps", save_minutes=0.0, **often))
    run(config_for(tmp_path / "ten", **often))
    found = {name: [path.name for path in states(tmp_path / name)] for name in ("clock", "steps", "ten")}
    assert len(found["clock"]) == 12 and found["steps"] == found["ten"] == ["state-0000012.pt"]


def test_held_out_losses_are_drawn_in_their_own_colour():
    colour = tuple(int(HELD_COLOUR[at : at + 2], 16) for at in (1, 3, 5))
    plain = plot_losses([1, 2, 3], [1.0, 0.5, 0.4])
    marked = plot_losses([1, 2, 3], [1.0, 0.5, 0.4], held=[(0, 9.0), (1, 2.0), (3, 0.1), (3, float("nan"))])
    assert colour not in {pixel for _, pixel in plain.getcolors(1 << 20)}
    places = np.argwhere((np.asarray(marked) == colour).all(-1))
    assert places[:, 0].min() < 30 and places[:, 0].max() > 340, "from the highest loss to the lowest"


def test_the_rest_of_a_run_is_told_by_the_pace_of_its_latest_steps():
    pace = Pace(100)
    assert pace.left is None and pace.told() == ""
    pace.add(11, 2.0, now=50.0)
    assert pace.left == pytest.approx(2 * 89)
    for step in range(12, 91):
        pace.add(step, 0.5, now=50.0 + 4 * (step - 11))
    assert pace.left == pytest.approx(4 * 10) and pace.told() == ", 40 s left"
    pace.add(100, 1.0, now=1000.0)
    assert pace.told() == ""
    assert [shown(seconds) for seconds in (59.4, 89, 3599, 3600, 9000)] == [
        "59 s",
        "1 min",
        "1 h 0 min",
        "1 h 0 min",
        "2 h 30 min",
    ]


@pytest.mark.parametrize(
    ("values", "miniature", "told"),
    [
        ({"data": {"size": 512}}, True, "set size = 128"),
        ({"data": {"size": 128}}, False, "set size = 512"),
        ({"optim": {"rate": 1e-4}}, True, "learns at 0.001"),
        ({"optim": {"rate": 2e-3}}, False, "about 0.0001"),
        ({"adapter": {"rank": 64}}, True, "16 is plenty"),
    ],
)
def test_settings_for_a_base_of_the_other_size_are_told(values, miniature, told):
    fitting = {True: {"data": {"size": 128}, "optim": {"rate": 1e-3}, "adapter": {"rank": 16}},
               False: {"data": {"size": 512}, "optim": {"rate": 1e-4}, "adapter": {"rank": 64}}}[miniature]  # fmt: skip
    whole = {"kind": "x2edit", "output": "run", "steps": 1, "model": {"base": "x"}, **fitting}
    assert unsuited(parse_config(whole), miniature) == []
    (line,) = unsuited(parse_config(whole | values), miniature)
    assert told in line
    prodigy = {**whole, "optim": {"name": "prodigy"}}
    assert unsuited(parse_config(prodigy), miniature) == []
