"""What is to be done to a picture, in words: given with it, known of a scene, by template, or written by a vision model."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from PIL import Image

from ..chat import Message
from ..chat.json_replies import objects_with
from ..chat.protocol import Sampling, printable
from ..classify import rules
from ..data.pairs import kind_of
from ..scenes import make_case
from ..tasks import Task
from . import prompts
from .config import InstructionsConfig, tasks_of
from .endpoints import Asked
from .faults import RefusedError
from .journal import Made, Memory, key_of
from .sources import Source

REPLY_TOKENS = 1024
MOST_OBJECTS = 4
LONGEST = 600
"""Characters of an instruction; a longer one is no single edit."""


@dataclass(frozen=True)
class Words:
    """One edit in words; `en` or `zh` may be missing where the data has one language. `thing` is what changes."""

    task: Task
    en: str = ""
    zh: str = ""
    thing: str = ""
    by: str = ""

    @property
    def said(self) -> str:
        """What the editor is told."""
        return self.en or self.zh

    def plain(self) -> dict[str, str]:
        return {"task": self.task.english, "en": self.en, "zh": self.zh, "thing": self.thing, "by": self.by}

    @classmethod
    def of(cls, values: Mapping[str, str]) -> Words:
        return cls(Task.from_name(values["task"]), *(values.get(name, "") for name in ("en", "zh", "thing", "by")))


@dataclass
class Instructor:
    """Writes the instructions of one picture after another; `seed` is the set's."""

    config: InstructionsConfig
    seed: int = 0
    writer: Asked | None = None

    def instructions(self, memory: Memory, source: Source, digest: str, picture: Image.Image) -> list[Words]:
        """What is to be done to this picture. Raises `RefusedError` where nothing can be asked of it."""
        found = [Words.of(entry) for entry in self._written(memory, source, digest, picture)]
        kept = [words for words in found if not self._fault(words, source)]
        if not kept:
            raise RefusedError("instructions", self._fault(found[0], source) if found else "none was written")
        return kept

    def _written(self, memory: Memory, source: Source, digest: str, picture: Image.Image) -> list[dict[str, str]]:
        if self.config.writer == "scenes":
            return [_of_scene(source, self.config.languages).plain()]
        if self.config.writer == "given":
            return [words.plain() for words in _given(source)]
        if self.config.writer == "template":
            return [words.plain() for words in self._templated(memory, source, digest, picture)]
        return [words.plain() for words in self._seen(memory, digest, picture)]

    def _fault(self, words: Words, source: Source) -> str:
        """Why these words are not used; empty where they are."""
        said = f"{words.en} {words.zh}".casefold()
        blocked = [word for word in self.config.blocked if word.strip() and word.casefold() in said]
        if blocked:
            return f"it holds the blocked word {blocked[0]!r}"
        if not words.said.strip() or len(said) > 2 * LONGEST:
            return "it is empty" if not words.said.strip() else "it is too long"
        read = {rules.read(text).task for text in (words.en, words.zh) if text}
        if words.by == "vision" and Task.OTHER not in read and len(read) > 1 and words.task not in read:
            return "its languages mean different kinds of edits, and neither means the one that was asked for"
        return ""

    def _seen(self, memory: Memory, digest: str, picture: Image.Image) -> list[Words]:
        """By a vision model: so many kinds of edits, drawn by their shares; then, if asked for, looked at again."""
        draw = random.Random(f"{self.seed}/{memory.record}")
        tasks = drawn(tasks_of(self.config.tasks), self.config.per_picture, draw)
        writer = self._asked()
        turn = draw.randrange(1 << 30)
        text = prompts.WRITE.format(kinds=prompts.kinds_told(tasks, turn), extra=_extra(self.config.extra))
        sampling = Sampling(self.config.temperature, seed=turn)
        key = key_of("write", prompts.VERSION, digest, text, writer.name, sampling.temperature, sampling.seed)
        message = Message("user", text, (picture,))
        told = memory.remember("write", key, lambda: self._write(writer, message, tasks, sampling))
        if "refused" in told:
            raise RefusedError("instructions", told["refused"])
        found = [Words.of(entry) for entry in told["edits"]]
        return [words for words in found if not self.config.reflect or self._holds(memory, digest, picture, words)]

    def _write(self, writer: Asked, message: Message, tasks: Sequence[Task], sampling: Sampling) -> Made:
        """The edits of a reply, asked once more with its fault where it has one; a refusal is remembered as one."""
        try:
            reply = writer.drawn([message], REPLY_TOKENS, sampling)
            fault = edits_of(reply, tasks)
            if isinstance(fault, str):
                again = Message("user", prompts.AGAIN.format(fault=fault))
                reply = writer.drawn([message, Message("assistant", reply or "…"), again], REPLY_TOKENS, sampling)
                fault = edits_of(reply, tasks)
        except RefusedError as error:
            fault = error.reason
        value = {"refused": fault} if isinstance(fault, str) else {"edits": [words.plain() for words in fault]}
        cost, tokens = writer.meter.read()
        return Made(value, writer.name, cost, tokens, message.text)

    def _holds(self, memory: Memory, digest: str, picture: Image.Image, words: Words) -> bool:
        """Whether the model, asked about it alone, finds the instruction right for the picture."""
        writer = self._asked()
        meaning = prompts.DEFINITIONS[words.task].meaning
        text = prompts.REFLECT.format(en=words.en, zh=words.zh or "–", task=words.task.english, meaning=meaning)
        key = key_of("reflect", prompts.VERSION, digest, text, writer.name)
        message = Message("user", text, (picture,))
        told = memory.remember("reflect", key, lambda: answered(writer, message, "visible", ("reason",)))
        checks = [name for name in prompts.CHECKS if name != "same" or words.zh]
        return "refused" not in told and all(told.get(name) is True for name in checks)

    def _templated(self, memory: Memory, source: Source, digest: str, picture: Image.Image) -> list[Words]:
        """InsightEdit's first step: things that can be taken away or exchanged, and a sentence for each by template."""
        listed = source.told.get("objects")
        if not isinstance(listed, list):
            writer = self._asked()
            text = prompts.OBJECTS.format(most=MOST_OBJECTS)
            key = key_of("objects", prompts.VERSION, digest, text, writer.name)
            told = memory.remember(
                "objects", key, lambda: answered(writer, Message("user", text, (picture,)), "objects")
            )
            if "refused" in told:
                raise RefusedError("instructions", told["refused"])
            listed = told.get("objects", [])
        tasks = list(tasks_of(self.config.tasks)) or [Task.REMOVE]
        things = [thing for thing in listed if isinstance(thing, Mapping) and isinstance(thing.get("name"), str)]
        found = [templated(task, thing) for thing in things for task in tasks]
        return [words for words in found if words][: self.config.per_picture]

    def _asked(self) -> Asked:
        if self.writer is None:
            raise RefusedError("instructions", "no model is there to write: [endpoints.writer] is missing")
        return self.writer


def drawn(shares: Mapping[Task, float], count: int, draw: random.Random) -> list[Task]:
    """`count` different tasks, each as likely as its share among those left."""
    left, found = dict(shares), []
    while left and len(found) < count:
        at = draw.random() * sum(left.values())
        for task in list(left):
            at -= left[task]
            if at <= 0 or task is list(left)[-1]:
                found.append(task)
                del left[task]
                break
    return found


def edits_of(reply: str, tasks: Sequence[Task]) -> list[Words] | str:
    """The edits that a writer's reply calls possible, or what is wrong with it."""
    objects = objects_with(printable(reply), "edits")
    listed = objects[-1].content["edits"] if objects else None
    if not isinstance(listed, list):
        return 'it holds no JSON object with a list "edits"'
    found = []
    for entry in listed:
        if not isinstance(entry, Mapping) or entry.get("possible") is False:
            continue
        task = next((task for task in tasks if str(entry.get("task", "")).strip().lower() == task.english), None)
        if task is None:
            return f"the kind {str(entry.get('task'))[:40]!r} was not asked for"
        en, zh, thing = (_text(entry.get(name)) for name in ("en", "zh", "object"))
        if not en:
            return f'the edit of the kind "{task.english}" has no text "en"'
        found.append(Words(task, en, zh, thing, "vision"))
    return found


def answered(chat: Asked, message: Message, needed: str, texts: Sequence[str] = ()) -> Made:
    """The JSON object of a reply that has the key `needed`, asked twice at most; a refusal is remembered as one."""
    try:
        reply = chat.generate([message], REPLY_TOKENS)
        objects = objects_with(printable(reply), needed)
        if not objects:
            again = prompts.AGAIN.format(fault=f'it holds no JSON object with "{needed}"')
            turns = [message, Message("assistant", reply or "…"), Message("user", again)]
            objects = objects_with(printable(chat.generate(turns, REPLY_TOKENS)), needed)
        value: dict[str, Any] = dict(objects[-1].content) if objects else {"refused": "no usable answer, asked twice"}
    except RefusedError as error:
        value = {"refused": error.reason}
    value = {name: _text(entry) if name in texts else entry for name, entry in value.items()}
    cost, tokens = chat.meter.read()
    return Made(value, chat.name, cost, tokens, message.text)


def templated(task: Task, thing: Mapping[str, Any]) -> Words | None:
    """The template's sentence for a thing; None where the task needs to know more of it."""
    names = {name: _text(thing.get(name)) for name in ("name", "zh", "other", "other_zh")}
    if task not in prompts.TEMPLATES or (task is Task.REPLACE and not names["other"]):
        return None
    english, chinese = prompts.TEMPLATES[task]
    en = english.format(thing=names["name"], other=names["other"])
    whole = names["zh"] and (task is not Task.REPLACE or names["other_zh"])
    zh = chinese.format(thing_zh=names["zh"], other_zh=names["other_zh"]) if whole else ""
    return Words(task, en, zh, names["name"], "template")


def reversed_words(words: Words, other: str = "") -> Words | None:
    """The sentence that leads back, where the thing is known: what was removed is added, what was replaced returns."""
    opposite = prompts.OPPOSITES.get(words.task)
    if opposite is None or not words.thing or opposite not in prompts.TEMPLATES:
        return None
    thing = {"name": other or words.thing, "other": words.thing if other else ""}
    found = templated(opposite, thing)
    return found and Words(found.task, found.en, found.zh, found.thing, "reverse")


def _given(source: Source) -> list[Words]:
    told = source.told
    en, zh = (_text(told.get(name)) for name in ("instruction_en", "instruction_zh"))
    plain = _text(told.get("instruction"))
    if plain and not en and not zh:
        en, zh = ("", plain) if _is_chinese(plain) else (plain, "")
    if not (en or zh):
        raise RefusedError("instructions", "its data gives none")
    return [Words(kind_of(en or zh, told.get("task")).task, en, zh, by="given")]


def _of_scene(source: Source, languages: Sequence[str]) -> Words:
    scene = source.scene
    if scene is None:
        raise RefusedError("instructions", "it is no scene")
    other = make_case(scene.seed, scene.task, scene.split, scene.source.shape[0], "zh")
    same = "zh" in languages and bool((other.target == scene.target).all() and (other.source == scene.source).all())
    zh = other.instruction if same else ""
    return Words(scene.task, "" if zh and "en" not in languages else scene.instruction, zh, by="scenes")


def _is_chinese(text: str) -> bool:
    return any("一" <= letter <= "鿿" for letter in text)


def _extra(text: str) -> str:
    return f" {text.strip()}" if text.strip() else ""


def _text(value: object) -> str:
    return " ".join(printable(value).split()) if isinstance(value, str) else ""
