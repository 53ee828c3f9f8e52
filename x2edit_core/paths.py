"""Names that come with data, files or graphs: they stay inside the folder they are meant for, on every system."""

from __future__ import annotations

import re
from pathlib import Path

from .errors import X2EditError

_SEPARATOR = re.compile(r"[/\\]")
_PART = re.compile(r"[^\x00-\x1f\x7f<>:\"|?*]+")
LONGEST_PART = 200


def plain_name(name: str, what: str) -> str:
    """`name` with `/` between its parts, fit to be made into a file; raises `X2EditError` for one that is not.

    Refused: nothing, absolute names, drives, `.` and `..`, and characters that some system forbids.
    """
    parts = _SEPARATOR.split(name)
    fit = all(_PART.fullmatch(part) and part.strip(". ") and len(part) <= LONGEST_PART for part in parts)
    if not fit:
        raise X2EditError(
            f"{what} {name[:LONGEST_PART]!r} cannot be a file's name here. Take a plain one, such as my_edit or "
            'styles/my_edit: no "..", no drive, no leading slash, none of <>:"|?*.'
        )
    return "/".join(parts)


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
