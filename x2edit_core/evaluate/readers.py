"""Cases from local files: folders of one's own, and the benchmarks in the layouts they are published in.

Pictures are read when a case is run. What a data set should hold and does not raises `X2EditError` at once; a single
case that is incomplete comes as a `CaseError` in its place.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from ..errors import X2EditError
from ..parquet import ParquetRows, columns_of
from ..paths import file_inside
from ..tasks import Task
from .cases import Case, CaseError, Read, known_task

PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".bmp")

Cases = Iterator[Case | CaseError]

LABELS = {
    "background_change": Task.BACKGROUND,
    "color_alter": Task.COLOR,
    "material_alter": Task.MATERIAL,
    "motion_change": Task.ACTION,
    "ps_human": Task.PORTRAIT,
    "style_change": Task.STYLE,
    "subject-add": Task.ADD,
    "subject-remove": Task.REMOVE,
    "subject-replace": Task.REPLACE,
    "text_change": Task.TEXT,
    "tone_transfer": Task.TONE,
}
"""GEdit-Bench's names. Those of the other benchmarks are X2Edit's own or name no single task; words decide then."""


def read_cases(kind: str, path: Path) -> Cases:
    """The cases of a data set, in a fixed order; raises `X2EditError` for a path that holds no such data."""
    if not path.exists():
        raise X2EditError(f"The data path {path} does not exist.")
    return READERS[kind](path)


def _folder(path: Path) -> Cases:
    """NAME_source.png and NAME.txt (the instruction; on a second line its kind), with _target and _mask if known."""
    sources = sorted(file for file in path.rglob("*_source.*") if file.suffix.lower() in PICTURES)
    if not sources:
        raise X2EditError(f"{path} holds no pictures called NAME_source.png.")
    for source in sources:
        stem = source.stem.removesuffix("_source")
        name = str(source.with_name(stem).relative_to(path))
        words = source.with_name(f"{stem}.txt")
        lines = words.read_text(encoding="utf-8", errors="replace").strip().splitlines() if words.exists() else []
        if not lines:
            yield CaseError(f"{name}: {words.name} is missing or empty; it holds the instruction.")
            continue
        label = lines[1].strip() if len(lines) > 1 else ""
        target, mask = (_beside(source, f"{stem}_{part}") for part in ("target", "mask"))
        yield _case(name, lines[0].strip(), label, source.read_bytes, target, mask)


def _gedit(path: Path) -> Cases:
    """GEdit-Bench: parquet with key, task_type, instruction, instruction_language, input_image_raw or input_image."""
    for rows, number, row in _rows(path, ("key", "task_type", "instruction", "instruction_language")):
        picture = "input_image_raw" if "input_image_raw" in rows.columns else "input_image"
        name = f"{row['key']} {row['instruction_language']}"
        case = _case(name, row["instruction"], row["task_type"], rows.picture(number, picture))
        yield replace(case, language=_LANGUAGES.get(str(row["instruction_language"]), ""))


_LANGUAGES = {"en": "en", "cn": "zh"}


def _emu_edit(path: Path) -> Cases:
    """Emu Edit's test set: parquet with idx, task, instruction, image, and the caption of the edited picture."""
    for rows, number, row in _rows(path, ("idx", "task", "split", "instruction", "output_caption")):
        name = f"{row['split']} {row['task']} {row['idx']}"
        yield _case(name, row["instruction"], row["task"], rows.picture(number, "image"), caption=row["output_caption"])


def _magicbrush(path: Path) -> Cases:
    """MagicBrush: its test folder with edit_turns.json and images/, or parquet."""
    listed = sorted(path.rglob("edit_turns.json")) if path.is_dir() else []
    if listed:
        for file in listed:
            yield from _magicbrush_folder(file)
        return
    for rows, number, row in _rows(path, ("img_id", "turn_index", "instruction")):
        source, target, mask = (rows.picture(number, column) for column in ("source_img", "target_img", "mask_img"))
        yield _case(f"{row['img_id']} turn {row['turn_index']}", row["instruction"], "", source, target, mask)


def _magicbrush_folder(listed: Path) -> Cases:
    """Turns {input, output, mask, instruction}; every later turn starts from the exact result of the one before."""
    captions: dict[str, str] = {}
    told = listed.with_name("global_descriptions.json")
    if told.exists():
        for entry in _json(told, dict).values():
            captions.update(entry if isinstance(entry, dict) else {})
    for turn in _json(listed, list):
        try:
            names = [f"images/{turn[part].split('-')[0]}/{turn[part]}" for part in _TURN]
            instruction, output = str(turn["instruction"]), str(turn["output"])
        except (KeyError, TypeError, AttributeError) as error:
            yield CaseError(f"{listed}: a turn without {error}.")
            continue
        try:
            source, target, mask = (file_inside(listed.parent, name).read_bytes for name in names)
        except X2EditError as error:
            yield CaseError(f"{output}: {error}.")
            continue
        caption = captions.get(output, "")
        yield _case(Path(output).stem, instruction, "", source, target, mask, caption)


_TURN = ("input", "output", "mask")


def _imgedit(path: Path) -> Cases:
    """ImgEdit-Bench: basic_edit.json or singleturn.json, {key: {id, prompt, edit_type}}, with the pictures it names."""
    root = path if path.is_dir() else path.parent
    names = ("basic_edit.json", "singleturn.json")
    found = [path] if path.is_file() else [file for name in names for file in sorted(root.rglob(name))]
    if not found:
        raise X2EditError(f"{path} holds neither {' nor '.join(names)}; ImgEdit-Bench's list of edits was expected.")
    places = [found[0].parent, root, root / "singleturn", root / "Benchmark" / "singleturn"]
    for key, entry in _json(found[0], dict).items():
        try:
            instruction, label = str(entry["prompt"]), str(entry["edit_type"])
            picture = _first_file(places, str(entry["id"]))
        except (KeyError, TypeError) as error:
            yield CaseError(f"{found[0].name}, {key}: no {error}.")
            continue
        if picture is None:
            yield CaseError(f"{found[0].name}, {key}: the picture {entry['id']} is not below {root}.")
            continue
        yield _case(key, instruction, label, picture.read_bytes)


def _first_file(places: Sequence[Path], name: str) -> Path | None:
    for place in places:
        with contextlib.suppress(X2EditError):
            return file_inside(place, name)
    return None


def _dreambench(path: Path) -> Cases:
    """DreamBench: a folder of pictures for each subject, and prompts_and_classes.txt with its class and 25 prompts.

    The first picture of a subject is its source. Prompts have no unique token here, as no model is fitted to it.
    """
    listed = next(iter(sorted(path.rglob("prompts_and_classes.txt"))), None) if path.is_dir() else None
    if listed is None:
        raise X2EditError(f"{path} holds no prompts_and_classes.txt; DreamBench's dataset folder was expected.")
    classes, prompts = _dreambench_list(listed)
    for subject, kind in classes.items():
        folder = listed.parent / subject
        pictures = sorted(file for file in folder.glob("*") if file.suffix.lower() in PICTURES)
        if not pictures:
            yield CaseError(f"{subject}: {folder} holds no picture.")
            continue
        label = "live subject" if kind in _LIVE else "object"
        for number, prompt in enumerate(prompts[label]):
            caption = prompt.replace("{0}", "").replace("{1}", kind).replace("  ", " ")
            words = f"make a picture of the same {kind}: {caption}"
            yield Case(
                f"{subject} {number:02}", words, label, Task.SUBJECT, pictures[0].read_bytes, caption=caption
            )  # fmt: skip


_LIVE = {"cat", "dog"}


def _dreambench_list(listed: Path) -> tuple[dict[str, str], dict[str, list[str]]]:
    """Subject → class, and the prompts of objects and of live subjects with {0} for the token and {1} for the class."""
    text = listed.read_text(encoding="utf-8", errors="replace")
    head, _, tail = text.partition("Object Prompts")
    objects, found, live = tail.partition("Live Subject Prompts")
    classes = dict(re.findall(r"^(\w+),([\w ]+?)\s*$", head, re.MULTILINE))
    classes.pop("subject_name", None)
    quoted = re.compile(r"^\s*'([^']*\{1\}[^']*)'\.format", re.MULTILINE)
    prompts = {"object": quoted.findall(objects), "live subject": quoted.findall(live)}
    if not (classes and found and all(prompts.values())):
        raise X2EditError(f"{listed} is not in DreamBench's form: a table of classes and two lists of prompts.")
    return classes, prompts


READERS: Mapping[str, Callable[[Path], Cases]] = {
    "folder": _folder,
    "gedit": _gedit,
    "imgedit": _imgedit,
    "magicbrush": _magicbrush,
    "emu_edit": _emu_edit,
    "dreambench": _dreambench,
}


def _case(
    name: str,
    instruction: object,
    label: object,
    source: Read,
    target: Read | None = None,
    mask: Read | None = None,
    caption: object = "",
) -> Case:
    """A case whose task is what its label means; without one it is labelled by the task that its words mean."""
    instruction, label, caption = (str(part or "") for part in (instruction, label, caption))
    task = LABELS.get(label) or known_task(label, instruction)
    return Case(name, instruction, label or task.english, task, source, target, mask, caption)


def _beside(source: Path, stem: str) -> Read | None:
    found = next((file for s in PICTURES if (file := source.with_name(f"{stem}{s}")).exists()), None)
    return found.read_bytes if found else None


class _Rows(ParquetRows):
    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.path = path
        self.columns = columns_of(path)

    def picture(self, number: int, column: str) -> Read:
        return partial(self._picture, number, column)

    def _picture(self, number: int, column: str) -> bytes:
        try:
            cell = self.row(number, [column])[column] if column in self.columns else None
        except Exception as error:  # pyarrow raises nearly anything on damaged data
            raise CaseError(f"{self.path.name}, row {number}: {column} is damaged ({error}).") from error
        if not isinstance(cell, Mapping) or not cell.get("bytes"):
            raise CaseError(f"{self.path.name}, row {number}: {column} holds no picture.")
        return cell["bytes"]


def _rows(path: Path, told: tuple[str, ...]) -> Iterator[tuple[_Rows, int, dict[str, Any]]]:
    """Every row with its columns in `told`, pictures aside; columns that the files lack raise `X2EditError`."""
    files = [path] if path.is_file() else sorted(path.rglob("*.parquet"))
    if not files:
        raise X2EditError(f"{path} holds no parquet files.")
    for file in files:
        rows = _Rows(file)
        if missing := [name for name in told if name not in rows.columns]:
            known = ", ".join(rows.columns)
            raise X2EditError(f"{file} has no column {', '.join(missing)}; it has: {known}.")
        for number in range(rows.count):
            try:
                row = rows.row(number, list(told))
            except Exception as error:  # pyarrow raises nearly anything on damaged data
                raise X2EditError(f"{file} is damaged at row {number} ({error}). Download it again.") from error
            yield rows, number, row


def _json(path: Path, wanted: type) -> Any:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise X2EditError(f"{path} cannot be read: {error}") from error
    if not isinstance(found, wanted):
        raise X2EditError(f"{path} holds a {type(found).__name__}; a {wanted.__name__} was expected.")
    return found
