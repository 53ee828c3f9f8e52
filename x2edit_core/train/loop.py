"""One loop for every kind of training: batches in, better weights out, everything written down."""

from __future__ import annotations

import contextlib
import functools
import logging
import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from .. import flow
from ..errors import X2EditError
from . import losses
from .checkpoints import load_newest, require_same, require_same_models, save_state
from .config import TrainConfig
from .data_identity import changes, identify
from .fused import FusedBackward
from .identity import identity_of, relaxed, renewed
from .model import Inputs, Prediction, Watch
from .optim import EMA, make_optimiser, never_adapted, rate_scale, set_rate, told_of, true_rate
from .parallel import entire, local, shared_like, shared_state, spread
from .parts import Parts
from .preview import Preview
from .records import RunJournal, StepReport, Totals
from .samples import Batch
from .summary import summary_lines
from .validation import Validation

logger = logging.getLogger(__name__)
BEST = "best"
"""The folder within a run's that keeps the best state by held-out samples, and what was exported of it."""
MOST_BAD, RECENT = 10, 20
"""So many bad steps among so many of the latest end a run; fewer are skipped and counted."""


class Stopped(Exception):
    """Raised by a hook, in any of several processes, to end training early; what was learnt is kept."""


class Trainer:
    """A run in its folder: goes on from the newest state there, if there is one.

    `notes` is what a person should know of it, beyond what every run logs; `bad` are the numbers of skipped steps.
    """

    def __init__(self, config: TrainConfig, parts: Parts) -> None:
        self.config, self.parts = config, parts
        world, device = parts.ranks.world, parts.model.device
        self._spread = spread(parts.weights, parts.blocks, config.shard, world, device)
        self._named = self._spread.trained
        self._optimiser = make_optimiser(self._named, config.optim)
        self._fused = FusedBackward(self._named, self._optimiser, world) if config.optim.fused_backward else None
        self._average = EMA(self._named, config.optim.ema)
        self.step = 0
        self._between_steps = True
        self._identity = identity_of(config)
        self._began = 0
        """The step at which the optimiser's moments, and its schedule, began."""
        self.notes: list[str] = []
        self.bad: list[int] = []
        self._unpaired = self._contrasted = 0
        self._keep = config.keep
        self._saved = time.monotonic()
        self.best: dict[str, float] = {}
        """Step and loss of the best validation so far; empty where there was none."""
        self._data = identify(parts.batches.pools) if parts.ranks.rank == 0 else {}
        self._resume()
        self._journal = RunJournal(config, self.step) if parts.ranks.rank == 0 else None
        self._preview = None
        if config.sample_every and parts.decode and parts.ranks.rank == 0:
            self._preview = Preview(parts.batches.first(), parts.decode, config.sample_steps, parts.schedule)
        self._validation = None
        if parts.held and parts.ranks.rank == 0:
            self._validation = Validation(config, parts.held, parts.decode, parts.schedule)

    def run(self, on_step: Callable[[StepReport], None] = lambda report: None) -> Path | None:
        """Train to the end and return the exported result; None where another process exports, or nothing was learnt.

        `on_step` may raise `Stopped`, and any other exception ends the run too. State and result are written first, if
        the weights are those of a whole number of steps; else the last saved state stays.
        """
        try:
            with self.parts.model.session():
                self._train(on_step)
        except Stopped:
            logger.info("stopped after %d of %d steps", self.step, self.config.steps)
        except Diverged:
            self._keep += 1  # beside what was saved before the numbers went wrong
            self._save_whole()
            raise
        except BaseException:
            # Where weights are shared out, the other processes would have to be at the same place.
            self._save_whole(possible=not self._spread.sharded)
            raise
        finally:
            self.parts.batches.close()
            self._tell_of_losses()
        if self._learnt and not self._finite():
            raise Diverged(self.step, "the weights are no longer numbers")
        return self._save_whole()

    def summary(self) -> list[str]:
        """What the run is about to do, line by line, and what is to be known of how it goes on."""
        set_rate(self._optimiser, self.config.optim.rate)
        lines = summary_lines(self.config, self.parts.batches, true_rate(self._optimiser)) + told_of(self._optimiser)
        return lines + self.parts.remarks + self.notes

    @property
    def outcome(self) -> str:
        """How far the run is, in words."""
        done, wanted = self.step, self.config.steps
        if done > wanted:
            return f"{done} steps were done before and {wanted} are asked for, so nothing was trained"
        best = ""
        if self.best and self.best["step"] < done:
            at, loss = int(self.best["step"]), self.best["loss"]
            best = f"; by the held-out samples step {at} was the best (loss {loss:.4f}): {self.config.folder / BEST}"
        return f"{done} of {wanted} steps done{best}"

    def _train(self, on_step: Callable[[StepReport], None]) -> None:
        """Steps to the end; raises `Stopped` in every process where `on_step` raises it in one."""
        if self._validation and not self.step:
            self._validate(self._validation)
        while self.step < self.config.steps:
            report = self._advance()
            if self._preview and self.step % self.config.sample_every == 0:
                self._draw(self._preview)
            if self._validation and (self.step % self.config.validation.every == 0 or self.step == self.config.steps):
                self._validate(self._validation)
            if self.step < self.config.steps and self._any(self._due()):
                self._save_whole()
            wanted = False
            try:
                on_step(report)
            except Stopped:
                wanted = True
            if self._any(wanted):
                raise Stopped

    def _due(self) -> bool:
        """Whether a state is to be saved now, by steps or by the clock of this process."""
        late = 0 < self.config.save_minutes * 60 <= time.monotonic() - self._saved
        return late or self.step % self.config.save_every == 0

    def _validate(self, validation: Validation) -> None:
        """Score the weights as they would be exported; the best so far are kept apart."""
        sheet = self.config.folder / "samples" / f"validation-{self.step:07d}.png"
        with self.averaged():
            score = validation.score(self.parts.model, self.parts.text, sheet)
        if self._journal:
            self._journal.add_validation(self.step, score)
        drawn = f", edits {score.psnr_db:.2f} dB" if math.isfinite(score.psnr_db) else ""
        logger.info("step %d  held-out loss %.4f%s", self.step, score.loss, drawn)
        if self._learnt and score.loss < self.best.get("loss", math.inf):
            self.best = {"step": float(self.step), "loss": score.loss}
            self._save_best()

    def _save_best(self) -> None:
        folder = self.config.folder / BEST
        save_state(folder, self.step, self._content(), 1)
        with self.averaged():
            self.parts.export(folder, self.step)

    def _any(self, wanted: bool) -> bool:
        """Whether one of the processes wants it."""
        if losses.world() == 1:
            return wanted
        flag = torch.tensor(float(wanted), device=self.parts.model.device)
        dist.all_reduce(flag)
        return bool(flag)

    @property
    def _learnt(self) -> bool:
        """Whether any step has changed the weights."""
        return self.step > len(self.bad)

    def _finite(self) -> bool:
        """Whether everything trained is a number; to be asked by all processes together where each has a share."""
        finite = all(bool(torch.isfinite(local(weight.detach())).all()) for weight in self._named.values())
        return not self._any(not finite) if self._spread.sharded else finite

    def _tell_of_losses(self) -> None:
        """Note what was left out on the way, and what taught nothing."""
        if self.bad:
            self._note(f"{len(self.bad)} of {self.step} steps were skipped, as their loss or gradient was no number")
        if self._unpaired:
            self._note(
                f"{self._unpaired} of {self._contrasted} batches held no two samples of one task, so that loss.contrast "
                "taught nothing there: take a larger batch"
            )
        if self._learnt and never_adapted(self._optimiser):
            self._note(
                f"prodigy's step size never left its start of {true_rate(self._optimiser):.3g}, so next to nothing was learnt: "
                "it needs more steps, and fewer the less noise there is in a step: a larger batch or accumulate"
            )

    def _note(self, text: str) -> None:
        self.notes.append(text)
        logger.warning(text)

    def _save_whole(self, possible: bool = True) -> Path | None:
        """Save if the weights are those of a whole number of steps, at least one of which taught something."""
        if not self._learnt:
            logger.info("nothing was learnt yet, so nothing is saved")
            return None
        if not possible or not self._between_steps or self._average.in_place:
            logger.warning("the run ended in the middle of step %d: its last saved state stays as it is", self.step + 1)
            return None
        if possible and not self._finite():
            logger.warning(
                "the weights of step %d are no longer numbers: its last saved state stays as it is", self.step
            )
            return None
        return self._save()

    def export(self) -> Path | None:
        """Write the result as it stands, averaged if the run keeps an average; None where another process does."""
        with self.averaged(), self._spread.assembled():
            return None if self.parts.ranks.rank else self.parts.export(self.config.folder, self.step)

    def averaged(self) -> contextlib.AbstractContextManager[None]:
        """The averaged weights in place of the newest, if the run keeps an average."""
        return self._average.applied()

    def _draw(self, preview: Preview) -> None:
        path = self.config.folder / "samples" / f"step-{self.step:07d}.png"
        with self.averaged():
            preview.draw(self.parts.model, self.parts.text, path)

    def _advance(self) -> StepReport:
        started = time.perf_counter()
        config = self.config
        rate = config.optim.rate * rate_scale(self.step - self._began, config.steps - self._began, config.optim)
        set_rate(self._optimiser, rate)
        totals = Totals()
        for part in range(config.accumulate):
            batch = self.parts.batches.at(self.step * config.accumulate + part)
            with self._spread.part(last=part == config.accumulate - 1), contextlib.ExitStack() as passing:
                loss = self._spread.loss(functools.partial(self._loss_of, batch, totals, passing))
                self._backward(loss / config.accumulate)
        gradient = self._fused.end() if self._fused else self._spread.clipped(config.optim.clip)
        rate = true_rate(self._optimiser)
        means = totals.means(config.accumulate, self.parts.model.device)
        bad = not (math.isfinite(gradient) and math.isfinite(means["loss"]))
        if bad:
            self._skip(gradient, totals)
        else:
            with self._stepping():
                if not self._fused:
                    self._optimiser.step()
                    self._optimiser.zero_grad()
                self._average.update(self.step)
        self._unpaired, self._contrasted = self._unpaired + totals.unpaired, self._contrasted + totals.contrasted
        seconds = time.perf_counter() - started
        report = StepReport(self.step, **means, gradient=gradient, rate=rate, seconds=seconds, skipped=bad)
        if self._journal:
            self._journal.add(report, totals)
        return report

    def _backward(self, loss: Tensor) -> None:
        """Gradients of one part of a step; the whole step's moves too where it is fused."""
        if self._fused:
            self._fused.begin(loss)
        self._between_steps = not self._fused
        loss.backward()
        self._between_steps = True

    def _skip(self, gradient: float, totals: Totals) -> None:
        """Count a step that changes nothing; raises `Diverged` where the weights, or nearly all steps, are bad."""
        self._optimiser.zero_grad()
        self.bad.append(self.step + 1)
        words = "; ".join(dict.fromkeys(totals.instructions))[:200]
        logger.warning("step %d is skipped: its gradient's norm is %s. Its samples: %s", self.step + 1, gradient, words)
        if not self._finite():
            raise Diverged(self.step + 1, f"the gradient's norm is {gradient}, and the weights are no longer numbers")
        self.step += 1
        recent = [step for step in self.bad if step > self.step - RECENT]
        if len(recent) >= MOST_BAD:
            raise Diverged(
                recent[0], f"the gradient's norm is {gradient}, {len(recent)} of the last {RECENT} steps alike"
            )

    @contextlib.contextmanager
    def _stepping(self) -> Iterator[None]:
        """Around what takes the weights to the next step: an interrupt within leaves those of neither."""
        self._between_steps = False
        yield
        self.step += 1
        self._between_steps = True

    def _loss_of(self, batch: Batch, totals: Totals, passing: contextlib.ExitStack) -> Tensor:
        """The loss of one batch; `passing` keeps the pass open until backward is done."""
        config, model = self.config, self.parts.model
        logged = (self.step + 1) % config.log_every == 0
        contrast = config.loss.contrast > 0 and batch.mode == "edit"
        watch = Watch(features=contrast, gates=logged or config.loss.balance > 0)
        prediction = passing.enter_context(model.predicting(self._inputs(batch), watch))
        if prediction.gates and logged:
            totals.usage.append(losses.expert_usage(prediction.gates).cpu())
        return self._loss(batch, prediction, contrast, totals)

    def _inputs(self, batch: Batch) -> Inputs:
        device = self.parts.model.device
        target, noise, sigma = (part.to(device) for part in (batch.target, batch.noise, batch.sigma))
        with torch.autocast(device.type, dtype=self.parts.dtype, enabled=self.parts.autocast):
            context, pooled = self.parts.text(batch.instructions)
        references = () if batch.reference is None else (batch.reference.to(device),)
        concat = None if batch.concat is None else batch.concat.to(device)
        return Inputs(flow.noised(target, noise, sigma), sigma, context, pooled, batch.tasks, references, concat)

    def _loss(self, batch: Batch, prediction: Prediction, contrast: bool, totals: Totals) -> Tensor:
        """The sum to minimise; its terms are noted in `totals`."""
        settings, device = self.config.loss, self.parts.model.device
        wanted = flow.velocity(batch.target, batch.noise).to(device)
        errors = losses.flow_errors(prediction.velocity, wanted, self._weights(batch))
        total = errors.mean()
        terms = {"flow": total}
        if contrast:
            tasks = torch.tensor(batch.tasks, device=device)
            terms["contrast"] = losses.task_contrast(prediction.features, tasks, settings.temperature)
            totals.contrasted += 1
            totals.unpaired += not losses.has_pair(losses.gathered(tasks))
            total = total + settings.contrast * terms["contrast"]
        if settings.balance and prediction.gates:
            terms["balance"] = losses.gate_balance(prediction.gates)
            total = total + settings.balance * terms["balance"]
        totals.note(batch, errors.detach(), {"loss": total.detach()} | {k: v.detach() for k, v in terms.items()})
        return total

    def _weights(self, batch: Batch) -> Tensor | None:
        """The weight of each latent cell, where edited cells shall count more."""
        if not self.config.loss.edited or batch.source is None:
            return None
        weights = losses.edited_weights(batch.target, batch.source, self.config.loss.edited)
        return weights.to(self.parts.model.device)

    def _save(self) -> Path | None:
        content = self._content()
        if self._spread.sharded:
            content = entire(content)
        if not self.parts.ranks.rank:
            save_state(self.config.folder, self.step, content, self._keep)
        self._saved = time.monotonic()
        return self.export() if self._spread.sharded or not self.parts.ranks.rank else None

    def _content(self) -> dict[str, Any]:
        """A state: all that a run goes on from."""
        return {
            "step": self.step,
            "skipped": list(self.bad),
            "data": self._data,
            "config": self._identity,
            "models": dict(self.parts.models),
            "go_on": self.config.go_on,
            "began": self._began,
            "weights": {name: weight.detach() for name, weight in self._named.items()},
            "optimiser": self._optimiser.state_dict(),
            "average": self._average.state_dict(),
            "best": dict(self.best),
        }

    @torch.no_grad()
    def _resume(self) -> None:
        state = load_newest(self.config.folder)
        if state is None:
            return
        saved, go_on = renewed(state["config"]), self.config.go_on
        require_same(relaxed(saved, go_on), relaxed(self._identity, go_on), self.config.folder)
        require_same_models(state.get("models") or {}, self.parts.models, self.config.folder)
        for name, weight in self._named.items():
            weight.copy_(shared_like(state["weights"][name], weight))
        self.step, self.bad = state["step"], list(state.get("skipped") or [])
        self._began, self.best = int(state.get("began", 0)), dict(state.get("best") or {})
        if go_on == "fresh" and (saved != self._identity or state.get("go_on") != go_on):
            self._began = self.step
            self._average = EMA(self._named, self.config.optim.ema)
            self._note(f"The optimiser's moments and its schedule begin anew after step {self.step}")
        else:
            self._optimiser.load_state_dict(shared_state(state["optimiser"], list(self._named.values())))
            average = {name: shared_like(value, self._named[name]) for name, value in state["average"].items()}
            self._average.load_state_dict(average)
        logger.info("going on after step %d", self.step)
        if changed := changes(state.get("data") or {}, self._data):
            self._note(
                f"The data is not what {self.config.folder} began with ({'; '.join(changed)}). The run goes on with what "
                "is there now; name another output folder to begin anew"
            )
        if self.step > self.config.steps:
            self._note(self.outcome)


class Diverged(X2EditError):
    """Steps that are no longer numbers; the last finite state is saved, those before it are kept."""

    def __init__(self, step: int, found: str) -> None:
        super().__init__(
            f"Training diverged at step {step}: {found}. Begin anew with a lower optim.rate or loss.contrast, or look at the "
            "data of that step. The last state whose weights are numbers is kept."
        )
