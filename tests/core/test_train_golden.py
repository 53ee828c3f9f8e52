"""Three training steps whose numbers come from a plain loop: written out here, in float64, with nothing of the trainer's.

Plain gradient descent takes the place of the optimiser, so that the size of a gradient matters as much as its direction.
"""

from __future__ import annotations

import contextlib
import hashlib
import math

import pytest
import torch
from torch import nn

from x2edit_core.train import loop
from x2edit_core.train.batches import Batches
from x2edit_core.train.config import parse_config
from x2edit_core.train.journal import read_table
from x2edit_core.train.model import Prediction
from x2edit_core.train.samples import Example

STEPS, BATCH, PARTS, SEED, RATE = 3, 4, 2, 11, 0.3
LOSS = {"time_law": "logit_normal", "time_mean": 0.7, "time_spread": 0.4, "edited": 2.5, "contrast": 0.6,
        "temperature": 0.8, "balance": 2.0}  # fmt: skip
OPTIM = {"rate": RATE, "clip": 1.2, "ema": 0.6, "warmup": 2, "final": 0.5}
DROP, TASKS = 0.4, (3, 3, 7, 7)
SHAPE = (2, 4, 4)
START = {"noisy": 0.4, "reference": -0.7, "sigma": 0.3, "text": 0.9, "gate": 0.5}
LEANING = 0.8
"""Makes the gate prefer one expert, so that there is something to balance."""


def pictures():
    """Targets and sources [4, C, h, w]; of every target two rows are edited, by more and by less than it takes."""
    source = torch.Generator().manual_seed(1)
    sources = torch.randn(BATCH, *SHAPE, generator=source)
    targets = sources.clone()
    targets[:, :, 0] += 1.0
    targets[:, :, 1] += 0.1
    return targets, sources


class Pool:
    """Four samples of one bucket, two of each of two tasks."""

    tasks, buckets = list(TASKS), [0] * BATCH

    def example(self, index):
        targets, sources = pictures()
        return Example(targets[index], f"words {index}", TASKS[index], sources[index])


def spoken(texts):
    """[B, 1, 1]: sample i's words are i + 1, no words are 0."""
    return torch.tensor([float(text.split()[1]) + 1 if text else 0.0 for text in texts]).view(-1, 1, 1)


class Model(nn.Module):
    """Five numbers to learn: four make the velocity, one sways a gate over two experts."""

    device = torch.device("cpu")

    def __init__(self):
        super().__init__()
        self.weights = nn.ParameterDict({name: nn.Parameter(torch.tensor(value)) for name, value in START.items()})

    @contextlib.contextmanager
    def session(self):
        yield

    @contextlib.contextmanager
    def predicting(self, inputs, watch=None):
        weights = self.weights
        sigma, text = inputs.sigma.view(-1, 1, 1, 1), inputs.context.view(-1, 1, 1, 1)
        velocity = (weights["noisy"] * inputs.noisy + weights["reference"] * inputs.references[0]
                    + weights["sigma"] * sigma + weights["text"] * text)  # fmt: skip
        token = weights["gate"] * (inputs.noisy.flatten(2).mean(1) + LEANING)
        shares = torch.stack((token, -token), -1).softmax(-1)
        gate = shares * (shares == shares.max(-1, keepdim=True).values)
        yield Prediction(velocity, [velocity.flatten(1)[:, None]], [gate[:, :, None]])


def trained(folder, monkeypatch, steps=STEPS, parts=PARTS, loss=LOSS, optim=OPTIM, drop=DROP):
    """The trainer after its run, and what it reported."""
    monkeypatch.setattr(
        loop, "make_optimiser", lambda named, config: torch.optim.SGD(list(named.values()), config.rate)
    )
    config = parse_config({
        "kind": "x2edit", "output": str(folder), "steps": steps, "batch": BATCH, "accumulate": parts, "seed": SEED,
        "log_every": 1, "model": {"base": "toy"}, "data": {"drop_text": drop}, "loss": loss, "optim": optim,
    })  # fmt: skip
    model, reports = Model(), []
    batches = Batches({"edit": Pool()}, config)
    parts = loop.Parts(model, model, lambda texts: (spoken(texts),) * 2, batches, lambda folder, step: folder)
    trainer = loop.Trainer(config, parts)
    trainer.run(reports.append)
    return trainer, reports


def generator(*parts):
    digest = hashlib.sha256("/".join(map(str, parts)).encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "little") >> 1)


def drawn(number):
    """Which samples batch `number` holds, their times, noise, and which of them keep their words."""
    order = torch.randperm(BATCH, generator=generator(SEED, "order", "edit", number)).tolist()
    source = generator(SEED, "noise", number)
    sigma = torch.sigmoid(LOSS["time_mean"] + LOSS["time_spread"] * torch.randn(BATCH, generator=source))
    noise = torch.randn(BATCH, *SHAPE, generator=source)
    kept = (torch.rand(BATCH, generator=source) >= DROP).tolist()
    return order, sigma.double(), noise.double(), kept


def plain_losses(weights, number):
    """(flow, contrast, balance) of one batch, sample by sample and token by token."""
    order, sigma, noise, kept = drawn(number)
    targets, sources = (picture.double() for picture in pictures())
    flow, features, chosen, shares = [], [], [0.0, 0.0], [0.0, 0.0]
    for row, index in enumerate(order):
        noisy = (1 - sigma[row]) * targets[index] + sigma[row] * noise[row]
        text = (index + 1.0) if kept[row] else 0.0
        velocity = (weights["noisy"] * noisy + weights["reference"] * sources[index] + weights["sigma"] * sigma[row]
                    + weights["text"] * text)  # fmt: skip
        errors, heavy = [], []
        for y in range(SHAPE[1]):
            for x in range(SHAPE[2]):
                moved = (targets[index, :, y, x] - sources[index, :, y, x]).square().mean().sqrt()
                heavy.append(1 + LOSS["edited"] * (float(moved) > 0.25))
                wanted = noise[row, :, y, x] - targets[index, :, y, x]
                errors.append((velocity[:, y, x] - wanted).square().mean() * heavy[-1])
                reading = weights["gate"] * (noisy[:, y, x].mean() + LEANING)
                best = int(reading < 0)
                chosen[best] += 1
                shares[best] = shares[best] + torch.sigmoid(2 * reading.abs())
        flow.append(sum(errors) / sum(heavy))
        features.append(velocity.flatten() / velocity.norm())
    total = sum(shares)
    balance = 2 * sum(chosen[i] / sum(chosen) * shares[i] / total for i in range(2))
    return sum(flow) / BATCH, plain_contrast(features, [TASKS[index] for index in order]), balance


def plain_contrast(features, tasks):
    terms = []
    for row, anchor in enumerate(features):
        near, all_of_them = 0.0, 0.0
        for column, other in enumerate(features):
            other = anchor if column == row else other.detach()
            likeness = torch.exp(-(anchor - other).square().sum() / LOSS["temperature"])
            all_of_them = all_of_them + likeness
            near = near + likeness * (tasks[row] == tasks[column] and row != column)
        terms.append(-torch.log((near + 1e-8) / (all_of_them + 1e-8)))
    return sum(terms) / len(terms)


def plain_loop(steps=STEPS):
    """Rows of what is reported, the weights after each step, and their moving average."""
    weights = {name: torch.tensor(value, dtype=torch.float64, requires_grad=True) for name, value in START.items()}
    average = dict(START)
    rows, path = [], []
    for step in range(steps):
        sums = torch.zeros(4, dtype=torch.float64)
        gradient = dict.fromkeys(weights, 0.0)
        for part in range(PARTS):
            flow, contrast, balance = plain_losses(weights, step * PARTS + part)
            loss = flow + LOSS["contrast"] * contrast + LOSS["balance"] * balance
            found = torch.autograd.grad(loss, list(weights.values()))
            gradient = {name: gradient[name] + float(value) / PARTS for name, value in zip(weights, found, strict=True)}
            sums += torch.stack([item.detach() for item in (loss, flow, contrast, balance)]) / PARTS
        size = math.sqrt(sum(value**2 for value in gradient.values()))
        done = max(0, step - OPTIM["warmup"]) / max(1, steps - OPTIM["warmup"])
        rate = RATE * min(1, (step + 1) / OPTIM["warmup"])
        rate *= OPTIM["final"] + (1 - OPTIM["final"]) * (1 + math.cos(math.pi * done)) / 2
        memory = min(OPTIM["ema"], (step + 1) / (step + 10))
        for name, value in weights.items():
            new = value.item() - rate * gradient[name] * min(1, OPTIM["clip"] / size)
            weights[name] = torch.tensor(new, dtype=torch.float64, requires_grad=True)
            average[name] = memory * average[name] + (1 - memory) * new
        rows.append([*sums.tolist(), size, rate])
        path.append({name: value.item() for name, value in weights.items()})
    return rows, path, average


def values_of(trainer):
    return {name: value.item() for name, value in trainer.parts.weights.weights.items()}


def test_three_steps_are_those_of_the_plain_loop(tmp_path, monkeypatch):
    rows, path, average = plain_loop()
    trainer, reports = trained(tmp_path, monkeypatch)
    for report, row in zip(reports, rows, strict=True):
        found = [report.loss, report.flow, report.contrast, report.balance, report.gradient, report.rate]
        assert found == pytest.approx(row, rel=2e-5)
    assert values_of(trainer) == pytest.approx(path[-1], rel=2e-5)
    with trainer.averaged():
        assert values_of(trainer) == pytest.approx(average, rel=2e-5)
    written = [[float(row[name]) for name in ("loss", "flow", "contrast", "balance")]
               for row in read_table(tmp_path / "losses.csv")]  # fmt: skip
    for found, row in zip(written, rows, strict=True):
        assert found == pytest.approx(row[:4], rel=1e-4)


def test_the_plain_loop_exercises_every_setting():
    """The gradients are clipped in one step at least, words are dropped and kept, and the average lags behind."""
    rows, path, average = plain_loop()
    assert max(row[4] for row in rows) > OPTIM["clip"] * 1.1
    kept = [word for number in range(STEPS * PARTS) for word in drawn(number)[3]]
    assert 0 < sum(kept) < len(kept)
    assert all(abs(average[name] - path[-1][name]) > 1e-3 for name in ("noisy", "text"))
    assert not torch.equal(drawn(0)[2], drawn(1)[2])


@pytest.mark.parametrize("off", [{"contrast": 0.0}, {"balance": 0.0}, {"edited": 0.0}])
def test_each_term_of_the_loss_moves_the_weights(tmp_path, monkeypatch, off):
    """So that the agreement above says something about each of them."""
    _, path, _ = plain_loop()
    trainer, _ = trained(tmp_path, monkeypatch, loss={**LOSS, **off})
    assert values_of(trainer) != pytest.approx(path[-1], rel=1e-3)
