"""DreamBench: a folder of pictures for each subject, and prompts_and_classes.txt with its class and 25 prompts.

The first picture of a subject is its source. Prompts have no unique token here, as no model is fitted to it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from ...errors import X2EditError
from ...tasks import Task
from ..faults import NothingThere
from ..files import pair_of_files
from ..folders import files_below, sorted_pictures
from ..pairs import Pair, SampleError
from ..texts import decoded_text

KIND = "dreambench"
LAYOUT = "DreamBench's dataset folder with prompts_and_classes.txt"
_LIST = "prompts_and_classes.txt"
_LIVE = {"cat", "dog"}


def finds(path: Path) -> bool:
    return path.is_dir() and bool(_lists(path))


def read(path: Path) -> Iterator[Pair | SampleError]:
    lists = _lists(path) if path.is_dir() else []
    if not lists:
        raise NothingThere(f"{path} holds no {_LIST}; {LAYOUT} was expected.")
    listed = lists[0]
    classes, prompts = _classes_and_prompts(listed)
    for subject, kind in classes.items():
        folder = listed.parent / subject
        picture = next(sorted_pictures(folder), None)
        if picture is None:
            yield SampleError(f"{subject}: {folder} holds no picture.", "a picture is missing")
            continue
        label = "live subject" if kind in _LIVE else "object"
        for number, prompt in enumerate(prompts[label]):
            caption = prompt.replace("{0}", "").replace("{1}", kind).replace("  ", " ")
            words = f"make a picture of the same {kind}: {caption}"
            pair = pair_of_files(f"{subject} {number:02}", folder, {"source": picture}, words, ())
            yield pair.like(label=label, task=Task.SUBJECT, found="named", caption=caption)


def _lists(path: Path) -> list[Path]:
    return [file for file in files_below(path).files if file.name == _LIST]


def _classes_and_prompts(listed: Path) -> tuple[dict[str, str], dict[str, list[str]]]:
    """Subject → class, and the prompts of objects and of live subjects with {0} for the token and {1} for the class."""
    text = decoded_text(listed.read_bytes(), str(listed))
    head, _, tail = text.partition("Object Prompts")
    objects, found, live = tail.partition("Live Subject Prompts")
    classes = dict(re.findall(r"^(\w+),([\w ]+?)\s*$", head, re.MULTILINE))
    classes.pop("subject_name", None)
    quoted = re.compile(r"^\s*'([^']*\{1\}[^']*)'\.format", re.MULTILINE)
    prompts = {"object": quoted.findall(objects), "live subject": quoted.findall(live)}
    if not (classes and found and all(prompts.values())):
        raise X2EditError(f"{listed} is not in DreamBench's form: a table of classes and two lists of prompts.")
    return classes, prompts
