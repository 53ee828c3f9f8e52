"""A run that goes on otherwise: with other rates and its moments kept, or with moments that begin anew."""

from __future__ import annotations

import pytest
import torch

from x2edit_core.errors import X2EditError
from x2edit_core.train.checkpoints import states
from x2edit_core.train.optim import rate_scale

from .test_train_loop import config_for, losses_of, run, trainer_for


def begun(folder):
    """Six steps at a rate of 0.05; what was saved of them."""
    run(config_for(folder, steps=6))
    return torch.load(states(folder)[-1], weights_only=True)


def wanted(folder, go_on, **optim):
    values = {"rate": 0.05, "ema": 0.9, "warmup": 3, "final": 0.1, **optim}
    return config_for(folder, steps=12, go_on=go_on, optim=values)


def moments(optimiser):
    return [state[name] for state in optimiser["state"].values() for name in ("step", "exp_avg", "exp_avg_sq")]


def test_another_rate_is_refused_unless_it_is_asked_for(tmp_path):
    begun(tmp_path / "run")
    with pytest.raises(X2EditError, match=r'rate = 0.05.*rate = 0.02.*go_on = "rates".*"fresh"'):
        trainer_for(wanted(tmp_path / "run", "same", rate=0.02))
    with pytest.raises(X2EditError, match="decay"):
        trainer_for(wanted(tmp_path / "run", "rates", rate=0.02, decay=0.3))
    with pytest.raises(X2EditError, match="batch"):
        trainer_for(config_for(tmp_path / "run", steps=12, batch=8, go_on="fresh"))


def test_other_rates_keep_the_moments_and_the_average(tmp_path):
    saved = begun(tmp_path / "run")
    config = wanted(tmp_path / "run", "rates", rate=0.02, final=0.5)
    trainer = trainer_for(config)
    kept = moments(trainer._optimiser.state_dict())
    assert len(kept) == 9 and all(torch.equal(a, b) for a, b in zip(kept, moments(saved["optimiser"]), strict=True))
    assert all(torch.equal(value, saved["average"][name]) for name, value in trainer._average.state_dict().items())
    reports = []
    trainer.run(reports.append)
    assert [report.rate for report in reports] == [0.02 * rate_scale(step, 12, config.optim) for step in range(6, 12)]


def test_fresh_moments_begin_with_their_own_schedule_and_that_once(tmp_path):
    begun(tmp_path / "run")
    config = wanted(tmp_path / "run", "fresh", rate=0.02, beta1=0.5)
    first = trainer_for(config)
    assert (
        first.step == 6 and first._optimiser.state_dict()["state"] == {} and "begin anew after step 6" in first.notes[0]
    )
    weights = [weight.detach() for weight in first.parts.weights.parameters()]
    assert all(torch.equal(value, weight) for value, weight in zip(first._average.values, weights, strict=True))
    reports = []

    def stop(report):
        reports.append(report)
        if report.step == 9:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        first.run(stop)
    assert [report.rate for report in reports] == [0.02 * share for share in (1 / 3, 2 / 3, 1)]
    again = trainer_for(config)
    assert float(moments(again._optimiser.state_dict())[0]) == 3 and again.notes == []
    again.run(reports.append)
    assert [report.rate for report in reports] == [0.02 * rate_scale(step, 6, config.optim) for step in range(6)]


def test_a_run_with_fresh_moments_is_the_same_killed_or_not(tmp_path):
    for name in ("whole", "killed"):
        begun(tmp_path / name)
    run(wanted(tmp_path / "whole", "fresh", rate=0.02))
    with pytest.raises(KeyboardInterrupt):
        run_until(wanted(tmp_path / "killed", "fresh", rate=0.02), 8)
    run(wanted(tmp_path / "killed", "fresh", rate=0.02))
    assert losses_of(tmp_path / "killed") == losses_of(tmp_path / "whole") and len(losses_of(tmp_path / "whole")) == 12


def run_until(config, step):
    def stop(report):
        if report.step == step:
            raise KeyboardInterrupt

    trainer_for(config).run(stop)


def test_a_run_goes_on_from_the_adapter_that_it_began_with(tmp_path):
    named = {"base model": "a", "adapter to start from": "b"}
    run(config_for(tmp_path / "run", steps=2), models=named)
    for other in ({**named, "adapter to start from": "c"}, {**named, "adapter to start from": "none"}):
        with pytest.raises(X2EditError, match="another adapter to start from than connected or named now"):
            trainer_for(config_for(tmp_path / "run", steps=4), models=other)
    run(config_for(tmp_path / "run", steps=4), models=named)
    run(config_for(tmp_path / "earlier", steps=2), models={"base model": "a"})
    with pytest.raises(X2EditError, match="another adapter to start from"):
        trainer_for(config_for(tmp_path / "earlier", steps=4), models=named)
    run(config_for(tmp_path / "earlier", steps=4), models={"base model": "a", "adapter to start from": "none"})
