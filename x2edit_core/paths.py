"""Names that come with data, files or graphs: they stay inside the folder they are meant for, on every system."""

from __future__ import annotations

import re
from pathlib import Path

from .errors import X2EditError

_SEPARATOR = re.compile(r"[/\\]")
_PART = re.compile(r"[^\x00-\x1f\x7f<>:\"|?*\ud800-\udfff]+")
_DEVICE = re.compile(
    r"(?:con|prn|aux|nul|clock\$|conin\$|conout\$|(?:com|lpt)[0-9¹²³]) *(?:\..*)?", re.IGNORECASE | re.DOTALL
)
"""What Windows takes for a device, with whatever extension, in any folder."""
LONGEST_PART = 200
"""Bytes of UTF-8 of one part: file systems hold 255, of which suffixes and the names of unfinished files need some."""


def plain_name(name: str, what: str) -> str:
    """`name` with `/` between its parts, fit to be made into a file; raises `X2EditError` for one that is not.

    Refused: nothing, absolute names, drives, `.` and `..`, characters that some system forbids, names of devices, ends
    that Windows cuts off, and parts of more than `LONGEST_PART` bytes.
    """
    parts = _SEPARATOR.split(name)
    faults = [fault for part in parts if (fault := _fault(part))]
    if faults:
        raise X2EditError(
            f"{what} {name[:LONGEST_PART]!r} cannot be a file's name here: {faults[0]}. Take a plain one, such as my_edit "
            'or styles/my_edit: no "..", no drive, no leading slash, none of <>:"|?*.'
        )
    return "/".join(parts)


def _fault(part: str) -> str:
    """What keeps one part of a name from being a file's or a folder's on some system; empty where nothing does."""
    if not part.strip(". "):
        return "a part of it is empty or made of dots"
    if not _PART.fullmatch(part):
        return f"{part[:LONGEST_PART]!r} has a character that some system forbids"
    if part[-1] in ". ":
        return f"{part[:LONGEST_PART]!r} ends in a dot or a space, which Windows cuts off"
    if _DEVICE.fullmatch(part):
        return f"{part[:LONGEST_PART]!r} is a device on Windows"
    if (size := len(part.encode())) > LONGEST_PART:
        return f"{part[:20] + '…'!r} takes {size} bytes, {LONGEST_PART} are the most (a Chinese character takes three)"
    return ""


def without_suffix(name: str, suffix: str) -> str:
    """`name` without a `suffix` that would be added again, in whatever case, however often it is there."""
    while name.lower().endswith(suffix):
        name = name[: -len(suffix)]
    return name


def reaches_network_or_device(name: str) -> bool:
    """Whether looking at the path `name` could ask another machine, or a device, of some system.

    Judged by the name alone, since looking is what a stranger's path must not cause: Windows sends the person's
    credentials to the server of a `\\\\server\\share`.
    """
    text = name.strip().replace("\\", "/")
    parts = [part for part in text.split("/") if part.strip(". ")]
    return text.startswith("//") or "://" in text or any(_DEVICE.fullmatch(part.rstrip(". ")) for part in parts)


def file_inside(folder: Path, name: str | Path) -> Path:
    """The existing file that data in `folder` calls `name`; raises `X2EditError` for any other.

    Links are followed first: `folder` itself may be one, but what it holds must not lead out of it. Devices and pipes
    are no files.
    """
    try:
        path = (folder / name).resolve()
        inside = path.is_relative_to(folder.resolve())
        is_file = inside and path.is_file()
    except (OSError, ValueError, RuntimeError) as error:  # too long a name, NUL, a loop of links
        raise X2EditError(f"{str(name)[:LONGEST_PART]!r} names no file ({error})") from error
    if not inside:
        raise X2EditError(f"{name} leads out of {folder}; put the file there, or name a folder that holds both")
    if not is_file:
        raise X2EditError(f"{name} is no file in {folder}")
    return path
