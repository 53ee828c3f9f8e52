"""What was accepted, written for others to read: whole or not at all, and the same bytes from the same decisions."""

from __future__ import annotations

import io
import shutil
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from filelock import FileLock

from ..data.picture_files import opened
from ..errors import X2EditError
from ..tasks import Task
from . import shards
from .config import DatasetConfig
from .duplicates import Selection
from .journal import BLOBS
from .phash import fingerprint
from .run import decided_shards
from .tar_form import Tars

RELEASE, LOCK = "release", ".release.lock"
Outcome = dict[str, Any]


@dataclass(frozen=True)
class Pair:
    """One pair as files: both pictures of one size, its JSON, and the mask where there is one."""

    key: str
    source: bytes
    target: bytes
    suffix: str
    told: Mapping[str, Any]
    mask: bytes = b""


class Form(Protocol):
    """One way to write pairs, into a folder of its own."""

    def add(self, pair: Pair) -> None: ...

    def close(self) -> None: ...


@dataclass
class Written:
    """What a release holds."""

    pairs: int = 0
    reversed: int = 0
    preferences: int = 0
    tasks: dict[str, int] = field(default_factory=dict)
    licences: dict[str, int] = field(default_factory=dict)
    models: dict[str, int] = field(default_factory=dict)
    left_out: dict[str, int] = field(default_factory=dict)


def write_release(config: DatasetConfig) -> Written:
    """Put the accepted pairs of all finished shards into `release`, in the place of an earlier one once it is whole."""
    config.folder.mkdir(parents=True, exist_ok=True)
    with FileLock(config.folder / LOCK):  # two processes may end at once
        return _replaced(config)


def _replaced(config: DatasetConfig) -> Written:
    final, new, old = (config.folder / f"{RELEASE}{end}" for end in ("", ".part", ".old"))
    shutil.rmtree(new, ignore_errors=True)
    try:
        new.mkdir(parents=True)
        written = _written(config, new)
        shutil.rmtree(old, ignore_errors=True)
        if final.exists():
            final.rename(old)
        new.rename(final)
    except OSError as error:
        raise X2EditError(f"{new} could not be written ({error}). An earlier release is as it was.") from error
    finally:
        shutil.rmtree(new, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)
    return written


def _written(config: DatasetConfig, folder: Path) -> Written:
    from .card import write_card

    written = Written()
    with ExitStack() as stack:
        forms = _forms(config, folder)
        preferences = Tars(folder / "preferences", config.release.per_tar)
        for form in (*forms, preferences):
            stack.callback(form.close)
        for place, outcome, rejected in released(config, written):
            pair = _pair(config, place, outcome)
            for form in forms:
                form.add(pair)
            _count(written, outcome)
            for number, other in enumerate(rejected if config.release.preferences else ()):
                written.preferences += 1
                preferences.add_preference(pair, _picture(config, place, other["edit"]), _about(other), number)
    write_card(config, folder, written)
    return written


def _forms(config: DatasetConfig, folder: Path) -> list[Form]:
    from .jsonl_form import Lines
    from .parquet_form import Rows

    kinds = {"webdataset": Tars, "parquet": Rows, "jsonl": Lines}
    return [kinds[name](folder / name, config.release.per_tar) for name in config.release.forms]


def released(config: DatasetConfig, written: Written) -> Iterator[tuple[Path, Outcome, list[Outcome]]]:
    """Shard folder, accepted outcome, and the rejected edits of the same instruction; in the order of the shards.

    Ends with the shard that brings as many as `release.accepted` asks for.
    """
    selection, count = Selection(config), 0
    for place in decided_shards(config):
        rejected: dict[tuple[str, str, str], list[Outcome]] = {}
        outcomes = list(shards.outcomes_of(place))
        for outcome in outcomes:
            if not outcome["kept"] and outcome["stage"] in ("decide", "seeds") and outcome.get("edit"):
                rejected.setdefault(_asked(outcome), []).append(outcome)
        for outcome in outcomes:
            if not outcome["kept"]:
                continue
            if fault := selection.fault(outcome):
                kind = "near duplicate" if "nearly" in fault or "already" in fault else "licence"
                written.left_out[kind] = written.left_out.get(kind, 0) + 1
                continue
            count += 1
            yield place, outcome, rejected.get(_asked(outcome), [])
        if config.release.accepted and count >= config.release.accepted:
            return


def _asked(outcome: Outcome) -> tuple[str, str, str]:
    return outcome["source"], outcome["words"]["en"], outcome["words"]["zh"]


def _pair(config: DatasetConfig, place: Path, outcome: Outcome) -> Pair:
    source, target = (_picture(config, place, outcome[name]) for name in ("source", "edit"))
    mask = (place / BLOBS / outcome["mask"]).read_bytes() if outcome.get("mask") else b""
    prints = {"source": fingerprint(opened(source)), "target": fingerprint(opened(target))}
    told = {**told_of(outcome), "fingerprints": prints}
    return Pair(outcome["key"], source, target, f".{config.release.picture}", told, mask)


def _picture(config: DatasetConfig, place: Path, digest: str) -> bytes:
    data = (place / BLOBS / digest).read_bytes()
    if config.release.picture == "png":
        return data
    buffer = io.BytesIO()
    opened(data).convert("RGB").save(buffer, "JPEG", quality=config.release.quality, subsampling=0)
    return buffer.getvalue()


def told_of(outcome: Outcome) -> dict[str, Any]:
    """A record's JSON: X2Edit's names, which its trainer reads, and what they do not hold."""
    words, scores = outcome["words"], outcome["scores"]
    en, zh = words["en"], words["zh"]
    width, height = outcome["size"]
    made = outcome["provenance"][-1]
    return {
        "instruction": en or zh,
        "instruction_en": en,
        "instruction_zh": zh,
        "instructions": {"en": en, "zh": zh, **outcome.get("rewrites", {})},
        "task": Task.from_name(words["task"]).english,
        "label": made["recipe"],
        **_upstream_scores(scores),
        "scores": {name: {"value": value, "scorer": _scorer(name, outcome)} for name, value in scores.items()},
        "width": width,
        "height": height,
        "reverse_of": outcome.get("reverse_of", ""),
        "turn": outcome.get("turn", 1),
        "composed": outcome.get("composed", False),
        "licence": outcome["licence"],
        "attribution": outcome["attribution"],
        "source_url": outcome["origin"],
        "source_name": outcome["name"],
        "source_sha256": outcome["original"],
        "prompt": outcome.get("prompt", ""),
        "synthetic": outcome["synthetic"],
        "safety": outcome["safety"],
        "provenance": outcome["provenance"],
        "decision": {"kept": outcome["kept"], "reasons": outcome["reasons"], "judge": outcome.get("reason", "")},
    }


def _upstream_scores(scores: Mapping[str, float]) -> dict[str, Any]:
    """Scores under the names, and in the form, in which X2Edit's trainer looks for them."""
    found: dict[str, Any] = {}
    if "total" in scores:
        other = min(scores["naturalness"], scores["integrity"])
        found["score_7b"] = str([round(scores["compliance"]), round(other)])
    if "overall" in scores:
        found["score"] = str([round(scores["sc"]), round(scores["pq"])])
    names = {"dino_source": "dino", "clip_source": "clipI", "clip_text": "clipT"}
    return found | {theirs: scores[ours] for ours, theirs in names.items() if ours in scores}


def _scorer(name: str, outcome: Outcome) -> str:
    if name in ("sc", "pq", "overall", "compliance", "naturalness", "integrity", "total"):
        return outcome.get("by", "")
    spaces = {"clip": "CLIP", "dino": "DINO", "ocr": "RapidOCR", "success": "SceneBench"}
    return next((said for start, said in spaces.items() if name.startswith(start)), "pixels")


def _about(other: Outcome) -> dict[str, Any]:
    return {"rejected_reasons": other["reasons"], "rejected_scores": other.get("scores", {})}


def _count(written: Written, outcome: Outcome) -> None:
    written.pairs += 1
    written.reversed += bool(outcome.get("reverse_of"))
    made = outcome["provenance"][-1]["model"] or outcome["provenance"][-1]["recipe"]
    for table, name in ((written.tasks, outcome["task"]), (written.licences, outcome["licence"] or "not known"),
                        (written.models, made)):  # fmt: skip
        table[name] = table.get(name, 0) + 1
