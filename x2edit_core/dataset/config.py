"""What a data set is made of and how: one TOML file, checked as a whole before anything is asked of anybody."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from ..chat.keys import KEY_NAME
from ..errors import X2EditError
from ..paths import plain_name
from ..settings import ConfigError, FilePath, Range, parse_settings, range_faults, read_toml
from ..tasks import Task

Place = Annotated[str, FilePath]
Count = Annotated[int, Range(0, 10**9)]
Positive = Annotated[int, Range(1, 10**9)]
Seconds = Annotated[float, Range(0, 10**6, above=True)]
Share = Annotated[float, Range(0, 1)]
Price = Annotated[float, Range(0, 10**6)]
Shares = Annotated[dict[str, float], Range(0, 10**6)]

SourceKind = Literal["scenes", "folder", "jsonl", "webdataset", "parquet", "prompts"]
Writer = Literal["given", "scenes", "template", "vision"]
JudgeKind = Literal["none", "scenes", "viescore", "imgedit"]
FormName = Literal["webdataset", "parquet", "jsonl"]
ALL = "all"
"""The limits that hold for every task."""
REWRITES = ("understanding", "reasoning")
LANGUAGES = ("en", "zh")
FORMS = ("webdataset", "parquet", "jsonl")
ROLES = ("writer", "judge")


@dataclass(frozen=True)
class SourcesConfig:
    """Pictures to edit. `licence` and `origin` are those of every picture that does not say its own.

    For `scenes`: `tasks` gives each task's share, `limit` scenes are drawn from `first_seed` on. For `prompts`: `path` is a
    text file with a prompt a line, drawn by the recipe `draw`. Pictures with a side below `least_side` are left out.
    """

    kind: SourceKind = "scenes"
    path: Place = ""
    limit: Count = 0
    licence: str = ""
    origin: str = ""
    attribution: str = ""
    allow_unknown_licence: bool = False
    synthetic: bool = False
    consent: bool = False
    least_side: Count = 0
    tasks: Shares = field(default_factory=dict)
    first_seed: Annotated[int, Range(0, 2**62)] = 0
    size: Annotated[int, Range(16, 8192)] = 128


@dataclass(frozen=True)
class InstructionsConfig:
    """Who writes instructions, and of what kind. `tasks` gives the shares in which `vision` is asked for them."""

    writer: Writer = "given"
    tasks: Shares = field(default_factory=dict)
    per_picture: Annotated[int, Range(1, 64)] = 2
    languages: list[str] = field(default_factory=lambda: ["en", "zh"])
    reflect: bool = True
    rewrites: list[str] = field(default_factory=list)
    extra: str = ""
    temperature: Annotated[float, Range(0, 2)] = 0.7
    blocked: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class EndpointConfig:
    """A model that writes or judges: a server (`base_url`, `model`, `key_variable`) or a `folder`.

    Prices are for a million tokens; `at_once` requests run together, `per_minute` begin in a minute (0: as many as can).
    """

    base_url: str = ""
    model: str = ""
    key_variable: str = ""
    folder: Place = ""
    timeout: Seconds = 120.0
    attempts: Annotated[int, Range(1, 100)] = 4
    at_once: Annotated[int, Range(1, 1024)] = 4
    per_minute: Count = 0
    price_in: Price = 0.0
    price_out: Price = 0.0


@dataclass(frozen=True)
class HostConfig:
    """A ComfyUI: where it listens, how many prompts it holds at once, and what recipes it can do, by their `tag`."""

    address: str
    depth: Annotated[int, Range(1, 64)] = 2
    tags: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class RecipeConfig:
    """Who edits: `workflow` is a recipe's name or a saved workflow. Places are as in an evaluation, found if empty.

    `reverse` also makes the pair the other way round, by the wording of `opposite` tasks; `compose` so many edits in a row.
    """

    workflow: Place
    tasks: list[str] = field(default_factory=list)
    seeds: Annotated[int, Range(1, 64)] = 1
    tag: str = ""
    reverse: bool = False
    compose: Annotated[int, Range(1, 8)] = 1
    image: list[str] = field(default_factory=list)
    instruction: list[str] = field(default_factory=list)
    task: list[str] = field(default_factory=list)
    seed: list[str] = field(default_factory=list)
    mask: list[str] = field(default_factory=list)
    output: str = ""
    mask_output: str = ""
    model: str = ""
    licence: str = ""
    timeout: Seconds = 900.0


@dataclass(frozen=True)
class ScoresConfig:
    """What is measured beyond pixels. `clip` and `dino` are folders with a person's own weights."""

    judge: JudgeKind = "none"
    criteria: str = ""
    clip: Place = ""
    dino: Place = ""
    ocr: bool = False
    device: str = "cpu"


@dataclass(frozen=True)
class LimitsConfig:
    """Scores must be at least, and at most, so much; a score that is not there where one is asked for rejects."""

    least: dict[str, float] = field(default_factory=dict)
    most: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class SafetyConfig:
    """`ask` lets the judge's model look at every picture, before and after the edit. `faces`: retouching people needs a
    source that says `consent` or `synthetic`."""

    ask: bool = False
    faces: bool = True


@dataclass(frozen=True)
class DuplicatesConfig:
    """Sources that are nearly the same count once: `hash` is the most bits of 64 that differ (-1: not looked at),
    `features` the least cosine of `dino` or `clip` (1: not looked at)."""

    hash: Annotated[int, Range(-1, 16)] = 4
    features: Share = 0.95


@dataclass(frozen=True)
class BudgetConfig:
    """What all endpoints together may cost, in the money of their prices and in tokens; 0 is no limit."""

    max_cost: Price = 0.0
    max_tokens: Count = 0


@dataclass(frozen=True)
class ReleaseConfig:
    """What is written: `forms`, pictures as `jpg` or `png`, only sources under `licences` (empty: all).

    `accepted` stops the run, and the release, at the end of the shard that brings so many; 0: every source is used.
    """

    forms: list[str] = field(default_factory=lambda: ["webdataset"])
    picture: Literal["jpg", "png"] = "jpg"
    quality: Annotated[int, Range(1, 100)] = 95
    per_tar: Positive = 1000
    licences: list[str] = field(default_factory=list)
    preferences: bool = True
    accepted: Count = 0


@dataclass(frozen=True)
class DatasetConfig:
    """A data set. A shard of `shard` records is what a process takes at once; `workers` records are under way together."""

    name: str
    output: Place
    shard: Positive = 256
    workers: Annotated[int, Range(1, 1024)] = 8
    seed: int = 0
    patience: Seconds = 600.0
    probe: Seconds = 60.0
    sources: SourcesConfig = field(default_factory=SourcesConfig)
    instructions: InstructionsConfig = field(default_factory=InstructionsConfig)
    endpoints: dict[str, EndpointConfig] = field(default_factory=dict)
    hosts: list[HostConfig] = field(default_factory=list)
    recipes: dict[str, RecipeConfig] = field(default_factory=dict)
    scores: ScoresConfig = field(default_factory=ScoresConfig)
    limits: dict[str, LimitsConfig] = field(default_factory=dict)
    safety: SafetyConfig = field(default_factory=SafetyConfig)
    duplicates: DuplicatesConfig = field(default_factory=DuplicatesConfig)
    budget: BudgetConfig = field(default_factory=BudgetConfig)
    release: ReleaseConfig = field(default_factory=ReleaseConfig)

    def __post_init__(self) -> None:
        if problems := list(_faults(self)):
            raise ConfigError(problems)

    @property
    def folder(self) -> Path:
        return Path(self.output)


def load_config(path: Path, **overrides: Any) -> DatasetConfig:
    """The configuration in a TOML file, with `overrides` of its outermost values; raises `ConfigError`."""
    given = {name: value for name, value in overrides.items() if value is not None}
    return parse_settings(DatasetConfig, {**read_toml(path), **given})


def tasks_of(shares: Mapping[str, float]) -> dict[Task, float]:
    """Tasks by their shares, those above 0."""
    return {Task.from_name(name): share for name, share in shares.items() if share > 0}


def _faults(config: DatasetConfig) -> Iterator[str]:
    """What is wrong with values that have the right types."""
    yield from range_faults(config)
    if not config.output.strip():
        yield "output is empty: name the folder that the data set is written to"
    yield from _name_faults(config.name)
    yield from _source_faults(config.sources)
    yield from _writer_faults(config)
    yield from _endpoint_faults(config)
    yield from _recipe_faults(config)
    yield from _limit_faults(config)
    yield from _choice_faults("release.forms", config.release.forms, FORMS)
    if not config.release.forms:
        yield f"release.forms is empty; there are: {', '.join(FORMS)}"


def _name_faults(name: str) -> Iterator[str]:
    try:
        plain = plain_name(name, "name =")
    except X2EditError as error:
        yield str(error)
        return
    if set("/\\. ") & set(plain):
        yield f"name = {name!r}: it begins every record's key, so it has no dots, slashes or blanks"


def _source_faults(sources: SourcesConfig) -> Iterator[str]:
    yield from _task_faults("sources.tasks", sources.tasks)
    if sources.kind == "scenes":
        if sources.limit < 1:
            yield f"sources.limit = {sources.limit}: how many scenes? At least 1 is needed"
        return
    if not sources.path.strip():
        yield f"sources.path is empty: where do the {sources.kind} lie?"
    if sources.kind == "prompts" and not (sources.licence.strip() or sources.allow_unknown_licence):
        yield "sources.licence is empty: under which terms may pictures of that generator be used?"


def _writer_faults(config: DatasetConfig) -> Iterator[str]:
    words = config.instructions
    yield from _task_faults("instructions.tasks", words.tasks)
    yield from _choice_faults("instructions.languages", words.languages, LANGUAGES)
    yield from _choice_faults("instructions.rewrites", words.rewrites, REWRITES)
    if not words.languages:
        yield "instructions.languages is empty; there are: en, zh"
    if (words.writer == "scenes") != (config.sources.kind == "scenes"):
        yield 'instructions.writer = "scenes" and sources.kind = "scenes" go together: a scene knows its edit'
    if words.writer == "vision" and not any(tasks_or_none(words.tasks)):
        yield "instructions.tasks is empty: which tasks are to be written, in which shares?"
    if (words.writer == "vision" or words.rewrites) and "writer" not in config.endpoints:
        yield "there is no [endpoints.writer], which writes instructions"


def tasks_or_none(shares: Mapping[str, float]) -> list[str]:
    return [name for name, share in shares.items() if share > 0]


def _endpoint_faults(config: DatasetConfig) -> Iterator[str]:
    yield from _choice_faults("endpoints", list(config.endpoints), ROLES)
    if config.scores.judge in ("viescore", "imgedit") and "judge" not in config.endpoints:
        yield f"scores.judge = {config.scores.judge!r} needs [endpoints.judge]"
    if config.safety.ask and "judge" not in config.endpoints:
        yield "safety.ask needs [endpoints.judge]"
    if config.scores.judge == "scenes" and config.sources.kind != "scenes":
        yield 'scores.judge = "scenes" knows the exact answer of scenes alone; sources.kind is another'
    for name, endpoint in config.endpoints.items():
        if bool(endpoint.base_url) == bool(endpoint.folder):
            yield f"endpoints.{name} needs base_url or folder, one of them"
        if endpoint.base_url and not endpoint.model.strip():
            yield f"endpoints.{name}.model is empty: which model answers at {endpoint.base_url}?"
        if endpoint.key_variable.strip() and not KEY_NAME.fullmatch(endpoint.key_variable.strip()):
            yield f"endpoints.{name}.key_variable is the name of a variable, never the key itself"
    priced = any(endpoint.price_in or endpoint.price_out for endpoint in config.endpoints.values())
    if config.budget.max_cost and not priced:
        yield "budget.max_cost is set, and no endpoint has price_in or price_out to count by"


def _recipe_faults(config: DatasetConfig) -> Iterator[str]:
    if not config.recipes:
        yield "there is no [recipes.NAME]: who edits?"
    if not config.hosts:
        yield "there are no [[hosts]]: where does ComfyUI listen?"
    for index, host in enumerate(config.hosts):
        if urlsplit(host.address).scheme not in ("http", "https"):
            yield f"hosts[{index}].address = {host.address!r}; something like http://127.0.0.1:8188 was expected"
    if repeated := {host.address for host in config.hosts if [h.address for h in config.hosts].count(host.address) > 1}:
        yield f"hosts names {', '.join(sorted(repeated))} twice"
    tags = {tag for host in config.hosts for tag in host.tags}
    for name, recipe in config.recipes.items():
        yield from _task_faults(f"recipes.{name}.tasks", recipe.tasks)
        if not recipe.workflow.strip():
            yield f"recipes.{name}.workflow is empty"
        if recipe.tag and recipe.tag not in tags:
            yield f"recipes.{name}.tag = {recipe.tag!r}, which no host carries"
    if config.sources.kind == "prompts" and "draw" not in config.recipes:
        yield 'sources.kind = "prompts" needs [recipes.draw]: a workflow from text to picture'


def _limit_faults(config: DatasetConfig) -> Iterator[str]:
    yield from _task_faults("limits", [name for name in config.limits if name != ALL])


def _task_faults(where: str, names: Mapping[str, Any] | list[str]) -> Iterator[str]:
    for name in names:
        try:
            Task.from_name(name)
        except X2EditError as error:
            yield f"{where}: {error}"


def _choice_faults(where: str, found: list[str], known: tuple[str, ...]) -> Iterator[str]:
    for name in found:
        if name not in known:
            yield f"{where} names {name!r}; there are: {', '.join(known)}"


def told(config: DatasetConfig) -> dict[str, Any]:
    """The configuration as plain values. It holds names of key variables and never a key."""
    return dataclasses.asdict(config)
