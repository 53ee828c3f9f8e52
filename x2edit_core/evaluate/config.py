"""What an evaluation is: one TOML file, checked as a whole before anything is run."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from ..errors import X2EditError
from ..settings import ConfigError, parse_settings, read_toml
from ..tasks import Task
from .places import Places, place_of

CaseKind = Literal[
    "scenes", "folder", "gedit", "imgedit", "magicbrush", "emu_edit", "dreambench", "jsonl", "webdataset", "omniedit"
]
KINDS: tuple[CaseKind, ...] = get_args(CaseKind)


@dataclass(frozen=True)
class CasesConfig:
    """What is edited. `labels` keeps only these kinds of edit, `limit` at most so many of each (0: all).

    For `scenes`: `limit` scenes of each task from `first_seed` on, with sides of `size` pixels; `labels` are task names.
    `language` keeps `en` or `zh` where the data has both (scenes, GEdit-Bench).
    """

    kind: CaseKind = "scenes"
    path: str = ""
    labels: list[str] = field(default_factory=list)
    limit: int = 0
    language: Literal["any", "en", "zh"] = "any"
    first_seed: int = 0
    size: int = 128


@dataclass(frozen=True)
class PlacesConfig:
    """Where the graph takes a case, as `node.input`; empty: found. `output` is the node with the edited picture."""

    image: list[str] = field(default_factory=list)
    instruction: list[str] = field(default_factory=list)
    task: list[str] = field(default_factory=list)
    seed: list[str] = field(default_factory=list)
    output: str = ""

    def parsed(self) -> Places:
        image, instruction, task, seed = (
            tuple(map(place_of, found)) for found in (self.image, self.instruction, self.task, self.seed)
        )
        return Places(image, instruction, task, seed, self.output)


@dataclass(frozen=True)
class EncodersConfig:
    """Folders in the transformers layout with a person's own weights; empty: those measures are left out."""

    clip: str = ""
    dino: str = ""
    device: str = "cpu"


@dataclass(frozen=True)
class JudgeConfig:
    """A vision model that marks each edit: a server (`base_url`, `model`, `key_variable`) or a `folder`; empty: none."""

    base_url: str = ""
    model: str = ""
    key_variable: str = ""
    folder: str = ""
    criteria: str = ""
    timeout: float = 60.0

    @property
    def wanted(self) -> bool:
        return bool(self.base_url or self.folder)


@dataclass(frozen=True)
class EvaluateConfig:
    """An evaluation. `addresses` are further hosts that share the work. `seed` is the noise's, the same for every case;
    `timeout` is for one edit, in seconds."""

    workflow: str
    output: str
    address: str = "http://127.0.0.1:8188"
    addresses: list[str] = field(default_factory=list)
    seed: int = 0
    timeout: float = 900.0
    cases: CasesConfig = field(default_factory=CasesConfig)
    places: PlacesConfig = field(default_factory=PlacesConfig)
    encoders: EncodersConfig = field(default_factory=EncodersConfig)
    judge: JudgeConfig = field(default_factory=JudgeConfig)

    def __post_init__(self) -> None:
        if problems := _faults(self):
            raise ConfigError(problems)


def _faults(config: EvaluateConfig) -> list[str]:
    """What is wrong with values that have the right types."""
    cases = config.cases
    faults = [f"{name} is empty" for name in ("workflow", "output", "address") if not getattr(config, name)]
    if cases.kind == "scenes" and cases.limit < 1:
        faults.append(f"cases.limit = {cases.limit}: how many scenes of each task? At least 1 is needed")
    if cases.kind != "scenes" and not cases.path:
        faults.append(f"cases.path is empty: where does the {cases.kind} data lie?")
    if cases.limit < 0:
        faults.append(f"cases.limit = {cases.limit}: 0 (all) or more is needed")
    if cases.kind == "scenes":
        faults += [fault for label in cases.labels if (fault := _unknown_task(label))]
    if config.judge.base_url and config.judge.folder:
        faults.append("judge has both base_url and folder; one model judges")
    if config.timeout <= 0 or config.judge.timeout <= 0:
        faults.append("timeouts must be above 0")
    try:
        config.places.parsed()
    except X2EditError as error:
        faults.append(f"places: {error}")
    return faults


def _unknown_task(label: str) -> str:
    try:
        Task.from_name(label)
    except X2EditError as error:
        return f"cases.labels: {error}"
    return ""


def load_config(path: Path, **overrides: Any) -> EvaluateConfig:
    """The configuration in a TOML file, with `overrides` of its outermost values; raises `ConfigError`."""
    given = {name: value for name, value in overrides.items() if value is not None}
    return parse_settings(EvaluateConfig, {**read_toml(path), **given})


def scoring_key(config: EvaluateConfig) -> dict[str, Any]:
    """What scores depend on beside the pictures: another encoder or judge scores anew."""
    return {"encoders": dataclasses.asdict(config.encoders), "judge": dataclasses.asdict(config.judge)}
