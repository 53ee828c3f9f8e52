"""The loop on a toy network: it learns, resumes bit by bit, stops when asked, and is the same from two processes."""

from __future__ import annotations

import contextlib
import dataclasses

import pytest
import torch
from torch import nn

from x2edit_core.train import loop
from x2edit_core.train.batches import Batches, Ranks, SampleError
from x2edit_core.train.checkpoints import states
from x2edit_core.train.config import parse_config
from x2edit_core.train.journal import plot_losses, read_table
from x2edit_core.train.model import Prediction
from x2edit_core.train.parallel import local  # noqa: F401 (for `rank_jobs`)
from x2edit_core.train.samples import Example


class ToyPool:
    """Sixteen examples in two buckets of different shapes."""

    def __init__(self, broken=()):
        source = torch.Generator().manual_seed(3)
        shapes = [(2, 4, 4), (2, 2, 6)]
        self._targets = [torch.randn(shapes[index % 2], generator=source) for index in range(16)]
        self.tasks = [index % 3 for index in range(16)]
        self.buckets = [index % 2 for index in range(16)]
        self._broken = set(broken)

    def example(self, index):
        if index in self._broken:
            raise SampleError(f"sample {index} is broken")
        return Example(self._targets[index], "words", self.tasks[index], self._targets[index] / 2)


class ToyModel(nn.Module):
    """Predicts from the noisy latent, the reference and σ; a frozen block is no part of its weights."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(5)
        self.blocks = [nn.Linear(1, 6).requires_grad_(False)]
        self.mix = nn.Parameter(torch.zeros(3))
        self.up = nn.Linear(1, 1)
        with torch.no_grad():
            self.up.weight.fill_(0.5), self.up.bias.zero_()

    device = torch.device("cpu")

    @staticmethod
    def gate(latents):
        """[B, T, 1, 3]: each token goes to the expert whose reading of it is the largest."""
        token = latents.flatten(2).mean(1)
        weights = torch.stack((token, -token, token.square() - 0.2), -1).softmax(-1)
        chosen = nn.functional.one_hot(weights.argmax(-1), 3)
        return (weights * chosen)[:, :, None]

    @contextlib.contextmanager
    def session(self):
        yield

    @contextlib.contextmanager
    def predicting(self, inputs, watch=None):
        (reference,) = inputs.references
        sigma = inputs.sigma.view(-1, 1, 1, 1)
        velocity = self.mix[0] * inputs.noisy + self.mix[1] * reference + self.mix[2] * sigma
        velocity = self.blocks[0](velocity.unsqueeze(-1)).mean(-1)
        features = [velocity.flatten(1)[:, None]] if watch and watch.features else []
        gates = [self.gate(velocity + inputs.noisy)] if watch and watch.gates else []
        yield Prediction(self.up(velocity.unsqueeze(-1)).squeeze(-1), features, gates)


def config_for(folder, **changes):
    values = {"kind": "x2edit", "output": str(folder), "steps": 12, "batch": 4, "save_every": 4, "log_every": 3,
              "model": {"base": "toy"}, "optim": {"rate": 0.05, "ema": 0.9, "warmup": 3, "final": 0.1},
              "loss": {"contrast": 0.2, "balance": 0.1}}  # fmt: skip
    return parse_config({**values, **changes})


def trainer_for(config, ranks=None, pool=None, report=lambda error: None, models=None):
    model = ToyModel()
    batches = Batches({"edit": pool or ToyPool()}, config, ranks, report)

    def export(folder, step):
        path = folder / "result.pt"
        torch.save({name: value.clone() for name, value in model.state_dict().items()}, path)
        return path

    parts = loop.Parts(
        model,
        model,
        lambda texts: (torch.zeros(len(texts), 1, 1),) * 2,
        batches,
        export,
        ranks or Ranks(),
        blocks=model.blocks,
        models=models or {},
    )
    return loop.Trainer(config, parts)


def held(trainer):
    """What is trained, and the frozen block's weights."""
    return list(trainer.parts.weights.parameters()), list(trainer.parts.blocks[0].parameters())


def losses_of(folder):
    names = ("step", "loss", "flow", "contrast", "balance")
    return [tuple(row[name] for name in names) for row in read_table(folder / "losses.csv")]


def run(config, **options):
    trainer = trainer_for(config, **options)
    reports = []
    result = trainer.run(reports.append)
    return result, reports


def test_it_learns_and_writes_everything_down(tmp_path):
    result, reports = run(config_for(tmp_path / "run", steps=150))
    assert sum(item.flow for item in reports[-20:]) < 0.6 * sum(item.flow for item in reports[:20])
    assert result == tmp_path / "run" / "result.pt"
    assert len(read_table(tmp_path / "run" / "losses.csv")) == 150
    assert [row["step"] for row in read_table(tmp_path / "run" / "experts.csv")][:2] == ["3", "6"]
    assert len(read_table(tmp_path / "run" / "tasks.csv")) == 50
    assert 'kind = "x2edit"' in (tmp_path / "run" / "config.toml").read_text()


def test_a_killed_run_goes_on_as_if_it_had_not_been(tmp_path):
    whole, _ = run(config_for(tmp_path / "whole"))

    class Killed(BaseException):
        pass

    config = config_for(tmp_path / "killed")
    trainer = trainer_for(config)
    trainer._save = lambda save=trainer._save: None if trainer.step == 6 else save()  # a kill writes nothing

    def kill(report):
        if report.step == 6:
            raise Killed

    with pytest.raises(Killed):
        trainer.run(kill)
    assert [path.name for path in states(tmp_path / "killed")] == ["state-0000004.pt"]
    result, reports = run(config)
    assert reports[0].step == 5
    assert losses_of(tmp_path / "killed") == losses_of(tmp_path / "whole")
    one, other = torch.load(whole), torch.load(result)
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_a_hook_that_stops_keeps_the_work(tmp_path):
    def stop(report):
        if report.step == 5:
            raise loop.Stopped

    result = trainer_for(config_for(tmp_path)).run(stop)
    assert result.exists() and [path.name for path in states(tmp_path)] == ["state-0000004.pt", "state-0000005.pt"]


def test_an_error_outside_keeps_the_work_too(tmp_path):
    def interrupt(report):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        trainer_for(config_for(tmp_path)).run(interrupt)
    assert [path.name for path in states(tmp_path)] == ["state-0000001.pt"]


@pytest.mark.parametrize("place", ["_optimiser.step", "_average.update", "_average._put"])
def test_an_interrupt_within_a_step_leaves_the_last_state_and_the_run_goes_on_exactly(tmp_path, caplog, place):
    """Weights that are half way to the next step, or the average in their place, are never saved under a step."""
    run(config_for(tmp_path / "whole"))
    trainer = trainer_for(config_for(tmp_path / "cut"))
    part, name = (getattr(trainer, place.split(".")[0]), place.split(".")[1])
    work = getattr(part, name)

    def interrupted(*arguments):
        work(*arguments)
        if trainer.step >= 5:
            raise KeyboardInterrupt

    setattr(part, name, interrupted)
    with pytest.raises(KeyboardInterrupt):
        trainer.run()
    assert next(path.name for path in states(tmp_path / "cut")) == "state-0000004.pt"
    saved = trainer_for(config_for(tmp_path / "cut")).step
    assert saved == (8 if place == "_average._put" else 4)
    assert "last saved state stays" in caplog.text
    run(config_for(tmp_path / "cut"))
    assert losses_of(tmp_path / "cut") == losses_of(tmp_path / "whole")
    one, other = (torch.load(tmp_path / name / "result.pt") for name in ("whole", "cut"))
    assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("error", [KeyboardInterrupt, loop.Stopped])
def test_a_run_that_ends_before_its_first_step_writes_no_state_and_pins_nothing(tmp_path, error):
    trainer = trainer_for(config_for(tmp_path))

    def refuse(texts):
        raise error

    trainer.parts = dataclasses.replace(trainer.parts, text=refuse)
    if error is KeyboardInterrupt:
        with pytest.raises(error):
            trainer.run()
    else:
        assert trainer.run() is None
    assert not states(tmp_path) and not (tmp_path / "result.pt").exists()
    assert trainer_for(config_for(tmp_path, batch=2)).step == 0


def test_what_shapes_memory_alone_may_change_on_the_way(tmp_path):
    run(config_for(tmp_path, steps=4))
    lean = {"base": "toy", "weights": "offload", "gradient_checkpointing": True}
    assert trainer_for(config_for(tmp_path, steps=8, model=lean)).step == 4
    with pytest.raises(loop.X2EditError, match='weights = "fp8"'):
        trainer_for(config_for(tmp_path, steps=8, model={"base": "toy", "weights": "fp8"}))


def test_a_run_goes_on_with_the_models_it_began_with_alone(tmp_path, caplog):
    config, begun = config_for(tmp_path, steps=4), {"base model": "dev", "text encoder": "t5"}
    trainer_for(config, models=begun).run()
    with pytest.raises(loop.X2EditError, match="another base model than"):
        trainer_for(config, models={**begun, "base model": "kontext"})
    assert trainer_for(config, models=begun).step == 4
    newest = states(tmp_path)[-1]
    state = torch.load(newest)
    del state["models"]
    torch.save(state, newest)
    assert trainer_for(config, models=begun).step == 4
    assert "does not say which models" in caplog.text


def test_a_damaged_state_gives_way_to_the_one_before(tmp_path):
    run(config_for(tmp_path, steps=8))
    newest = states(tmp_path)[-1]
    newest.write_bytes(newest.read_bytes()[:100])
    assert trainer_for(config_for(tmp_path, steps=8)).step == 4


def test_another_configuration_is_not_mixed_into_a_run(tmp_path):
    run(config_for(tmp_path, steps=4))
    with pytest.raises(loop.X2EditError, match="batch = 4"):
        trainer_for(config_for(tmp_path, steps=4, batch=2))
    assert trainer_for(config_for(tmp_path, steps=8)).step == 4, "a run may be made longer"


def test_weights_that_are_no_numbers_end_the_run_and_the_last_state_stays(tmp_path):
    run(config_for(tmp_path, steps=4))
    trainer = trainer_for(config_for(tmp_path, steps=8))
    with torch.no_grad():
        trainer.parts.weights.mix.fill_(float("nan"))
    with pytest.raises(loop.Diverged, match="step 5"):
        trainer.run()
    assert trainer_for(config_for(tmp_path, steps=8)).step == 4


class Spoilt(ToyModel):
    """Gives no numbers in the steps (counted from 1) that `spoilt` says, one pass a step."""

    def __init__(self, spoilt):
        super().__init__()
        self.spoilt, self.passes = spoilt, 0

    @contextlib.contextmanager
    def predicting(self, inputs, watch=None):
        self.passes += 1
        with super().predicting(inputs, watch) as prediction:
            factor = float("nan") if self.spoilt(self.passes) else 1.0
            yield Prediction(prediction.velocity * factor, prediction.features, prediction.gates)


def spoilt_trainer(config, spoilt):
    trainer, model = trainer_for(config), Spoilt(spoilt)
    return loop.Trainer(config, dataclasses.replace(trainer.parts, model=model, weights=model, blocks=()))


def test_bad_steps_change_nothing_are_counted_and_listed(tmp_path, caplog):
    """Steps 3 and 6 of twelve give no numbers: the weights stay, the others learn, and a resumed run still knows."""
    config = config_for(tmp_path / "a")
    trainer, kept = spoilt_trainer(config, lambda step: step in (3, 6)), {}

    def keep(report):
        kept[report.step] = [weight.detach().clone() for weight in trainer.parts.weights.parameters()], report.skipped

    assert trainer.run(keep) is not None
    same = [n for n in range(2, 13) if all(torch.equal(a, b) for a, b in zip(kept[n][0], kept[n - 1][0], strict=True))]
    assert same == [3, 6] == trainer.bad == [step for step, (_, skipped) in kept.items() if skipped]
    assert "step 3 is skipped" in caplog.text and "Its samples: words" in caplog.text
    assert any("2 of 12 steps were skipped" in note for note in trainer.notes)
    rows = read_table(tmp_path / "a" / "losses.csv")
    assert [row["step"] for row in rows if row["loss"] == "nan"] == ["3", "6"] and len(rows) == 12
    assert plot_losses([1, 2, 3], [1.0, float("nan"), 2.0]).tobytes() == plot_losses([1, 3], [1.0, 2.0]).tobytes()
    assert trainer_for(config_for(tmp_path / "a", steps=20)).bad == [3, 6]


def test_a_diverged_run_saves_its_last_finite_state_beside_those_before(tmp_path):
    """From step 6 on every step is bad; what steps 1 to 5 learnt is kept, and so is the earlier state of step 4."""
    with pytest.raises(loop.Diverged, match=r"step 6.*10 of the last 20 steps"):
        spoilt_trainer(config_for(tmp_path, steps=40, keep=1), lambda step: step > 5).run()
    assert [path.name for path in states(tmp_path)] == ["state-0000012.pt", "state-0000015.pt"]
    run(config_for(tmp_path / "whole", steps=5, optim={"rate": 0.05, "ema": 0.9}))
    saved = torch.load(states(tmp_path)[-1])
    assert saved["skipped"] == list(range(6, 16))
    assert all(bool(torch.isfinite(weight).all()) for weight in saved["weights"].values())
    assert (tmp_path / "result.pt").exists()


def test_a_run_of_bad_steps_alone_saves_nothing(tmp_path):
    trainer = spoilt_trainer(config_for(tmp_path, steps=5), lambda step: True)
    assert trainer.run() is None and trainer.notes
    assert not states(tmp_path) and not (tmp_path / "result.pt").exists()


def test_a_state_with_weights_that_are_no_numbers_gives_way_to_the_one_before(tmp_path):
    run(config_for(tmp_path, steps=8))
    newest = states(tmp_path)[-1]
    state = torch.load(newest)
    state["weights"]["mix"][0] = float("inf")
    torch.save(state, newest)
    assert trainer_for(config_for(tmp_path, steps=8)).step == 4


class Unread(ToyPool):
    """Some samples' latents hold no numbers."""

    def __init__(self, spoilt, part):
        super().__init__()
        self._spoilt, self._part = spoilt, part

    def name_of(self, index):
        return f"picture {index}.png"

    def example(self, index):
        example = super().example(index)
        if index in self._spoilt:
            spoilt = getattr(example, self._part).clone()
            spoilt[0, 0, 0] = float("-inf") if index % 2 else float("nan")
            example = dataclasses.replace(example, **{self._part: spoilt})
        return example


@pytest.mark.parametrize("part", ["target", "reference"])
def test_samples_that_are_no_numbers_are_left_out_and_told_by_name(tmp_path, part):
    told = []
    _, reports = run(config_for(tmp_path, steps=8), pool=Unread({0, 3, 5}, part), report=told.append)
    assert not any(report.skipped for report in reports)
    assert {str(error).split(":")[0] for error in told} == {"picture 0.png", "picture 3.png", "picture 5.png"}


def test_samples_whose_text_has_no_encoding_are_left_out_too(tmp_path):
    told, pool = [], Changed("other words")
    config = config_for(tmp_path)
    batches = Batches({"edit": pool}, config, None, told.append, {"other words"})
    pool.example = lambda index, example=pool.example: dataclasses.replace(
        example(index), instruction=pool.words[index]
    )
    seen = {words for number in range(8) for words in batches.at(number).instructions}
    batches.close()
    assert seen == {"words"} and {str(error).split(":")[0] for error in told} == {"sample 7"}


def test_more_steps_than_asked_for_are_told(tmp_path):
    run(config_for(tmp_path, steps=6))
    trainer = trainer_for(config_for(tmp_path, steps=3))
    assert trainer.outcome == "6 steps were done before and 3 are asked for, so nothing was trained"
    assert trainer.run() is not None and trainer.outcome in trainer.notes
    assert trainer_for(config_for(tmp_path, steps=12)).outcome == "6 of 12 steps done"


class Changed(ToyPool):
    """The toy's samples after one of the things that happen to data."""

    def __init__(self, change):
        super().__init__()
        count = {"fewer": 14, "more": 16}.get(change, 16)
        self.words = ["words"] * count
        self._targets, self.tasks, self.buckets = self._targets[:count], self.tasks[:count], self.buckets[:count]
        if change == "another picture":
            self._targets[5] = torch.roll(self._targets[5], 1, -1) + 0.5
        if change == "other words":
            self.words[7] = "other words"
        if change == "another task":
            self.tasks[2] = 9
        if change == "last bits":
            self._targets = [target * 1.001 for target in self._targets]


@pytest.mark.parametrize(
    ("change", "told"),
    [("", ""), ("last bits", ""), ("fewer", "16 samples then, 14 now"), ("another picture", "1 of 16 compared samples"),
     ("other words", "1 samples have other words"), ("another task", "1 samples have other words, tasks")],
)  # fmt: skip
def test_a_run_that_goes_on_says_if_its_data_has_changed(tmp_path, change, told):
    run(config_for(tmp_path, steps=4), pool=Changed(""))
    trainer = trainer_for(config_for(tmp_path, steps=8), pool=Changed(change))
    assert trainer.step == 4
    found = [note for note in trainer.notes if "not what" in note]
    assert bool(found) == bool(told) and all(told in note for note in found)


def test_the_same_data_under_another_path_is_the_same_data(tmp_path):
    for steps, path in ((4, "D:/pairs"), (8, "/mnt/d/pairs")):
        data = {"kind": "folder", "path": path, "cache": f"{path}/cache", "workers": steps}
        trainer = trainer_for(config_for(tmp_path, steps=steps, data=data))
        trainer.run()
    assert trainer.step == 8 and not trainer.notes
    state = torch.load(states(tmp_path)[-1])
    state["config"] = state["config"].replace('path = "data"', 'path = "D:/pairs"')
    torch.save(state, states(tmp_path)[-1])
    data = {"kind": "folder", "path": "elsewhere"}
    assert trainer_for(config_for(tmp_path, steps=9, data=data)).step == 8, (
        "a state of an earlier version, with its path"
    )


def test_batches_without_a_pair_are_counted_and_add_no_constant(tmp_path):
    _, reports = run(config_for(tmp_path / "a", batch=1, loss={"contrast": 0.2}))
    assert all(report.contrast == pytest.approx(0.0, abs=1e-6) for report in reports)
    trainer = trainer_for(config_for(tmp_path / "b", batch=1, loss={"contrast": 0.2}))
    trainer.run()
    assert any("12 of 12 batches held no two samples of one task" in note for note in trainer.notes)


def test_broken_samples_are_replaced_and_told(tmp_path):
    told = []
    run(config_for(tmp_path, steps=8), pool=ToyPool(broken={0, 2, 5}), report=told.append)
    assert told and all("broken" in str(error) for error in told)


def test_accumulation_is_a_larger_batch(tmp_path):
    """Two half batches of the same samples, noise and σ give the gradient of the whole."""
    halves = config_for(tmp_path / "a", steps=1, batch=4, accumulate=2, loss={}, optim={"rate": 0.1, "clip": 0.0})
    trainer = trainer_for(halves)
    both = [trainer.parts.batches.at(number) for number in (0, 1)]
    trainer.run()
    moved = {name: value.clone() for name, value in trainer.parts.weights.state_dict().items()}
    model = ToyModel()
    for batch in both:
        trainer.parts = dataclasses.replace(trainer.parts, model=model)
        with model.predicting(trainer._inputs(batch)) as prediction:
            (loop.losses.flow_errors(prediction.velocity, batch.noise - batch.target).mean() / 2).backward()
    torch.optim.AdamW(model.parameters(), 0.1, weight_decay=1e-4).step()
    for name, value in model.state_dict().items():
        torch.testing.assert_close(moved[name], value)


def assert_same_run(one, other):
    for mine, theirs in zip(losses_of(one), losses_of(other), strict=True):
        assert [float(value) for value in mine] == pytest.approx([float(value) for value in theirs], rel=1e-5)
    first, second = (torch.load(folder / "result.pt") for folder in (one, other))
    for name, value in first.items():
        torch.testing.assert_close(second[name], value, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("shard", ["none", "trained", "all"])
def test_two_processes_train_as_one(tmp_path, two_ranks, shard):
    """The whole batch is shared out: equal losses, contrast over all samples included, and equal weights.

    Each process holds its rows of what is shared: of a vector of three and two weights of one row, and of a block's six.
    One process goes on where two have stopped, and two where one has.
    """
    run(config_for(tmp_path / "whole", steps=5, accumulate=2))
    kept = two_ranks.run("train", tmp_path / "shared", shard, 3)
    assert kept == {"none": [[5, 12], [5, 12]], "trained": [[4, 12], [1, 12]], "all": [[4, 6], [1, 6]]}[shard]
    run(config_for(tmp_path / "shared", steps=4, accumulate=2))
    two_ranks.run("train", tmp_path / "shared", shard, 5)
    assert_same_run(tmp_path / "whole", tmp_path / "shared")


def test_one_process_that_stops_stops_all(tmp_path, two_ranks):
    """The first one's clock runs out after two steps; the others learn of it, and all end with that step."""
    told = two_ranks.run("train", tmp_path, "trained", 5, 2)
    assert [path.name for path in states(tmp_path)] == ["state-0000002.pt"]
    assert len(told) == 2


def test_processes_wait_for_the_first_one_longer_than_their_group_allows(tmp_path, two_ranks):
    """The group gives up after one and a half second; the first process takes three to prepare what the other then finds."""
    first, second = two_ranks.run("wait", tmp_path / "rendezvous", 1.5, 3.0)
    assert first["prepared"] <= second["began"]


def test_a_state_of_before_an_option_was_added_is_taken(tmp_path):
    run(config_for(tmp_path, steps=4))
    trainer = trainer_for(config_for(tmp_path, steps=8))
    newest = states(tmp_path)[-1]
    state = torch.load(newest)
    state["config"] = "\n".join(line for line in state["config"].splitlines() if "drop_text" not in line)
    assert state["config"] != trainer._identity
    torch.save(state, newest)
    assert trainer_for(config_for(tmp_path, steps=8)).step == 4
