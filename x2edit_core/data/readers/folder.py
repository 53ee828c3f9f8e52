"""Pictures and texts in a folder: NAME_source, NAME_target and NAME.txt, or folders source/ and target/ of one naming."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from ...errors import X2EditError
from ...paths import file_inside
from ..faults import NothingThere
from ..files import pair_of_files
from ..folders import FOREIGN_PICTURES, PICTURES, Found, files_below
from ..pairs import Pair, SampleError
from ..texts import FURTHER, decoded_text, words_of

KIND = "folder"
LAYOUT = (
    "NAME_source.png, NAME_target.png and NAME.txt beside one another, or folders source/ and target/ with pictures of the "
    "same names and NAME.txt in one of them, beside them or in instructions/"
)
_PART = re.compile(r"(.+)_(source|target|mask)", re.IGNORECASE)
_FOLDERS = {
    "source": ("source", "sources", "src", "input", "inputs", "before", "original", "control"),
    "target": ("target", "targets", "tgt", "output", "outputs", "after", "edited", "edit"),
    "mask": ("mask", "masks"),
    "words": ("instructions", "instruction", "prompts", "prompt", "captions", "caption", "texts", "text", "txt"),
}
"""What folders of each part are called, in small letters. Only beside a folder of sources one of targets is one."""


@dataclass
class _Group:
    """The files of one pair. `beside` and `stem` say where its further parts would lie."""

    beside: Path
    stem: str
    in_folders: bool
    parts: dict[str, list[Path]] = field(default_factory=dict)
    foreign: dict[str, Path] = field(default_factory=dict)

    def add(self, part: str, file: Path) -> None:
        if file.suffix.lower() in FOREIGN_PICTURES:
            self.foreign.setdefault(part, file)
        else:
            self.parts.setdefault(part, []).append(file)

    def expected(self, part: str) -> str:
        """Where a part that is missing was looked for."""
        if part in self.foreign:
            return f"{self.foreign[part]}, which is of a format that is not read (save it as PNG)"
        if self.in_folders:
            return f"{part}/{self.stem}.png below {self.beside}"
        return f"a picture {Path(self.stem).name}_{part} in {self.beside}"


def finds(path: Path) -> bool:
    """Whether there are pictures named as sources at `path`, in one of the two ways."""
    return path.is_dir() and any("source" in group.parts for group in _groups(files_below(path), path).values())


def read(path: Path) -> Iterator[Pair | SampleError]:
    if path.is_file():
        raise NothingThere(f"{path} is a file; kind {KIND} reads a folder with {LAYOUT}.")
    found = files_below(path)
    yield from found.faults
    groups = _groups(found, path)
    if not any({"source", "target"} & {*group.parts, *group.foreign} for group in groups.values()):
        raise NothingThere(f"{path} holds no pictures called NAME_source or NAME_target; kind {KIND} reads {LAYOUT}.")
    used: set[Path] = set()
    for group in groups.values():
        if not {"source", "target"} & {*group.parts, *group.foreign}:
            continue
        used.update(file for files in group.parts.values() for file in files)
        used.update(group.foreign.values())
        try:
            yield _pair(group, path)
        except SampleError as error:
            yield error
        except (OSError, X2EditError) as error:
            yield SampleError(f"{_first(group)}: {error}")
    yield from (_stray(file) for file in found.with_suffix(*PICTURES, *FOREIGN_PICTURES) if file not in used)
    places = {file.parent for file in used}
    for file in found.with_suffix(".txt"):
        if file not in used and file.parent in places:
            yield SampleError(f"{file}: there are no pictures that it belongs to", "words without pictures")


def _groups(found: Found, root: Path) -> dict[tuple[Path, str], _Group]:
    """Files by the pair that they belong to, in the order of names."""
    homes = _part_folders(found, root)
    above = {folder.parent for folder in homes}
    groups: dict[tuple[Path, str], _Group] = {}
    for file in found.with_suffix(*PICTURES, *FOREIGN_PICTURES, ".txt"):
        words = file.suffix.lower() == ".txt"
        home = next((folder for folder in file.parents if folder in homes), None)
        matched = _PART.fullmatch(file.stem)
        stem = matched[1] if matched and not words else file.stem
        if home is not None:
            beside, part = home.parent, homes[home]
            stem = (file.parent.relative_to(home) / stem).as_posix()
        else:
            beside, part = file.parent, matched[2].lower() if matched else "words"
        if words or part != "words":
            group = groups.setdefault((beside, stem), _Group(beside, stem, home is not None or beside in above))
            group.add("words" if words else part, file)
    return groups


def _part_folders(found: Found, root: Path) -> dict[Path, str]:
    """Folders that hold one part each → which; only where sources and targets lie beside one another.

    One that holds another part by its pictures' names, as where whole pairs lie in a folder `input`, is none.
    """
    parents = {file.parent for file in found.files} - {root}
    folders = {folder for parent in parents for folder in (parent, *parent.parents) if folder.is_relative_to(root)}
    names = {name: part for part, all_names in _FOLDERS.items() for name in all_names}
    holding = {(file.parent, matched[2].lower()) for file in found.with_suffix(*PICTURES)
               if (matched := _PART.fullmatch(file.stem))}  # fmt: skip
    named = {(folder, part) for parent, part in holding for folder in (parent, *parent.parents)}
    homes: dict[Path, dict[str, Path]] = {}
    for folder in sorted(folders - {root}):
        part = names.get(folder.name.lower())
        if part and not any((folder, other) in named for other in ("source", "target", "mask") if other != part):
            homes.setdefault(folder.parent, {}).setdefault(part, folder)
    return {
        folder: part for parts in homes.values() if {"source", "target"} <= set(parts) for part, folder in parts.items()
    }


def _pair(group: _Group, root: Path) -> Pair:
    """Raises `SampleError` for a group that lacks a part or has one twice."""
    pictures = {part: _only(group, part) for part in ("source", "target", "mask") if part in group.parts}
    if "source" not in pictures:
        raise SampleError(
            f"{_first(group)}: its source is missing; {group.expected('source')} was looked for", "no source"
        )
    if "words" not in group.parts:
        also = "" if "target" in pictures else f", nor {group.expected('target')}"
        raise SampleError(
            f"{pictures['source']}: there is no {Path(group.stem).name}.txt with the instruction{also}",
            "no instruction",
        )
    words = _words(group, root)
    inside = {part: file_inside(root, file.relative_to(root)) for part, file in pictures.items()}
    told = words_of(decoded_text(words.read_bytes(), str(words)), str(words))
    name = (group.beside / group.stem).relative_to(root).as_posix()
    pair = pair_of_files(name, root, inside, told.instruction, (told.label,), group.expected("target"))
    return pair.noted(FURTHER) if told.further else pair


def _only(group: _Group, part: str) -> Path:
    files = group.parts[part]
    if len(files) > 1:
        listed = " and ".join(file.name for file in files)
        others = "one target" if part == "source" else "one source"
        raise SampleError(
            f"{files[0].parent}: {listed} have {others}; which of them belongs to it is not said. Keep one",
            f"several pictures for one {part}",
        )
    return files[0]


def _words(group: _Group, root: Path) -> Path:
    """The file of the instruction; several must say the same."""
    files = [file_inside(root, file.relative_to(root)) for file in group.parts["words"]]
    apart = [file for file in files if file.parent.name.lower() in _FOLDERS["words"]]
    if len(apart) == 1:
        return apart[0]
    if len({file.read_bytes().strip() for file in files}) > 1:
        listed = " and ".join(map(str, files))
        raise SampleError(f"{listed} say different things; which is the instruction is not said", "several texts")
    return files[0]


def _first(group: _Group) -> Path:
    """A file to name the pair by, a picture if there is one."""
    words = group.parts.get("words", [])
    pictures = [file for part, files in group.parts.items() if part != "words" for file in files]
    return [*pictures, *group.foreign.values(), *words][0]


def _stray(file: Path) -> SampleError:
    if file.suffix.lower() in FOREIGN_PICTURES:
        return SampleError(f"{file}: {file.suffix} pictures are not read; save it as PNG", "damaged or foreign picture")
    return SampleError(f"{file}: its name makes it no part of a pair", "not named as part of a pair")
