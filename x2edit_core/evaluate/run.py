"""Every case through the workflow and under the measures; what is done is never done again.

The output folder holds `edits/`, one picture for each edit, named after what it depends on; and `results.jsonl`, one
line for each case as it ends. A run that starts again takes both from there and does the rest: cases that failed and
judges that did not answer are tried once more.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from ..data.picture_files import as_png
from ..errors import X2EditError
from ..files import replacing
from ..workflow.client import ServerError
from .cases import Case, CaseError
from .editor import Editor
from .pooled import PooledEditor
from .scores import Scorer

RESULTS = "results.jsonl"
EDITS = "edits"
PICTURES = "pictures"


@dataclass(frozen=True)
class Outcome:
    """One case's line in the results. Picture paths are relative to the folder; `error` is why there is no edit,
    `fault` what could not be asked, `note` what is odd about the edit."""

    name: str
    label: str
    task: str = ""
    instruction: str = ""
    key: str = ""
    edit: str = ""
    source: str = ""
    target: str = ""
    scores: dict[str, float] = field(default_factory=dict)
    reason: str = ""
    fault: str = ""
    error: str = ""
    note: str = ""

    @property
    def done(self) -> bool:
        return not (self.error or self.fault)


@dataclass(frozen=True)
class Evaluation:
    """How cases become outcomes in `folder`. `scored_by` identifies the measures: with another, edits are scored anew."""

    editor: Editor | PooledEditor
    scorer: Scorer
    folder: Path
    seed: int = 0
    scored_by: Any = None

    def run(
        self,
        cases: Iterable[Case | CaseError],
        on_outcome: Callable[[Outcome, bool], None] = lambda outcome, kept: None,
    ) -> list[Outcome]:
        """Edit and score `cases`, each while the host is already at work on the next.

        `on_outcome` hears of each in turn, and whether it was done before. Raises `ServerError` when the host is gone;
        everything up to then is kept, and a prompt that nobody waits for is taken back.
        """
        for name in (EDITS, PICTURES):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        kept = load_results(self.folder)
        outcomes: list[Outcome] = []
        begun: deque[_Begun] = deque()
        try:
            with open(self.folder / RESULTS, "ab") as log:
                todo = _named_apart(cases)
                self._begin_more(begun, todo, kept)
                while begun:
                    current = begun.popleft()
                    self._finish_edit(current)
                    if isinstance(current.failure, ServerError):
                        raise current.failure
                    self._begin_more(begun, todo, kept)
                    outcome = self._outcome(current)
                    if not current.kept:
                        log.write(_line(outcome))
                        log.flush()
                    on_outcome(outcome, current.kept)
                    outcomes.append(outcome)
        except BaseException:
            for one in begun:
                self._give_up(one)
            raise
        return outcomes

    def _begin_more(self, begun: deque[_Begun], cases: Iterator[Case | CaseError], kept: Mapping[str, Outcome]) -> None:
        """As many cases under way as the editor can work on while one is scored."""
        while len(begun) < self.editor.ahead and (following := self._begin_next(cases, kept)):
            begun.append(following)

    def _begin_next(self, cases: Iterator[Case | CaseError], kept: Mapping[str, Outcome]) -> _Begun | None:
        """The next case, in the host's hands where it needs an edit, so that the host works while others are scored."""
        case = next(cases, None)
        if case is None:
            return None
        if isinstance(case, CaseError):
            return _Begun(case, Outcome(str(case), "unreadable", error=str(case)))
        begun = _Begun(case, Outcome(case.name, case.label, case.task.english, case.instruction))
        begun.attempt(lambda: self._begin(case, begun, kept.get(case.name)))
        return begun

    def _begin(self, case: Case, begun: _Begun, earlier: Outcome | None) -> None:
        source = case.source()
        edit_key = self.editor.key(case, source, self.seed)
        key = f"{edit_key}-{_digest([self.scored_by, *_answer(case)])}"
        if earlier and earlier.done and earlier.key == key and _there(self.folder / earlier.edit):
            begun.outcome, begun.kept = earlier, True
            return
        begun.outcome = replace(begun.outcome, key=key, **_shown(case, source, self.folder))
        begun.edit = f"{EDITS}/{_file_name(case.name)}.{edit_key}.png"
        if not _there(self.folder / begun.edit):
            begun.queued = self.editor.begin(case, as_png(source), self.seed)

    def _finish_edit(self, begun: _Begun) -> None:
        """Wait for the edit and write it."""
        queued = begun.queued
        if queued is not None:
            begun.attempt(lambda: _write(self.folder / begun.edit, self.editor.finish(queued)))

    def _outcome(self, begun: _Begun) -> Outcome:
        """The one that was kept if it still holds, else that of the finished edit."""
        case = begun.case
        if begun.kept or isinstance(case, CaseError):
            return begun.outcome
        outcome = begun.outcome
        try:
            if begun.failure is not None:
                raise begun.failure
            outcome = replace(outcome, edit=begun.edit)
            row = self.scorer.score(case, (self.folder / begun.edit).read_bytes())
        except ServerError:
            raise
        except (X2EditError, OSError) as error:
            return replace(outcome, error=str(error))
        return replace(outcome, scores=row.scores, reason=row.reason, fault=row.fault, note=row.note)

    def _give_up(self, begun: _Begun) -> None:
        """Take back what the host has not been waited for: nobody would fetch it."""
        if begun.queued is not None:
            with contextlib.suppress(X2EditError):
                self.editor.cancel(begun.queued)


@dataclass
class _Begun:
    """A case on its way. `edit` is where its picture goes; a `failure` waits until it is the case's turn."""

    case: Case | CaseError
    outcome: Outcome
    kept: bool = False
    edit: str = ""
    queued: Any = None
    failure: X2EditError | OSError | None = None

    def attempt(self, step: Callable[[], None]) -> None:
        try:
            step()
        except (X2EditError, OSError) as error:
            self.failure = error


def load_results(folder: Path) -> dict[str, Outcome]:
    """Outcomes by name, the newest for each. What a kill left of a line, wherever it was cut, is left out and ended."""
    found: dict[str, Outcome] = {}
    path = folder / RESULTS
    if not path.exists():
        return found
    data = path.read_bytes()
    if data and not data.endswith(b"\n"):
        with path.open("ab") as file:
            file.write(b"\n")
    # Only ends of lines part them: text may hold U+2028 and its like.
    for line in data.split(b"\n"):
        if outcome := _read(line):
            found[outcome.name] = outcome
    return found


def _line(outcome: Outcome) -> bytes:
    """Names of files may hold what is no character, which only escapes can write."""
    told = asdict(outcome)
    try:
        text = json.dumps(told, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError:
        text = json.dumps(told).encode("ascii")
    return text + b"\n"


def _read(line: bytes) -> Outcome | None:
    """The outcome of a line; None for one that was cut, or written by something else."""
    try:
        told = json.loads(line.decode("utf-8"))
        outcome = Outcome(**told)
    except (ValueError, TypeError, RecursionError):
        return None
    scores = outcome.scores
    numbers = isinstance(scores, dict) and all(isinstance(value, int | float) for value in scores.values())
    texts = [value for name, value in told.items() if name != "scores"]
    return outcome if numbers and all(isinstance(value, str) for value in texts) else None


def _answer(case: Case) -> list[str | None]:
    """What is known about the answer, pictures by their content. Scores depend on it and edits do not."""
    pictures = [hashlib.sha256(read()).hexdigest() if read else None for read in (case.target, case.mask)]
    return [*pictures, case.caption]


def _shown(case: Case, source: bytes, folder: Path) -> dict[str, str]:
    """Copies of source and target for the page, which must not lean on files elsewhere."""
    found = {}
    for part, data in (("source", source), ("target", case.target() if case.target else None)):
        if data is not None:
            place = folder / PICTURES / f"{hashlib.sha256(data).hexdigest()[:24]}{_suffix(data)}"
            if not place.exists():
                _write(place, data)
            found[part] = f"{PICTURES}/{place.name}"
    return found


def _named_apart(cases: Iterable[Case | CaseError]) -> Iterator[Case | CaseError]:
    """Names are what results are kept by; a name's second case gets a number."""
    seen: dict[str, int] = {}
    for case in cases:
        if isinstance(case, Case):
            seen[case.name] = seen.get(case.name, 0) + 1
            if seen[case.name] > 1:
                case = replace(case, name=f"{case.name} ({seen[case.name]})")
        yield case


def _there(path: Path) -> bool:
    """Whether a picture was written; a machine that lost its power may leave the name without the content."""
    return path.is_file() and path.stat().st_size > 0


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:8]


def _file_name(name: str) -> str:
    """`name` as a file name that every system takes; different names stay different by their digest."""
    return f"{re.sub(r'[^A-Za-z0-9]+', '_', name).strip('_')[:60]}.{_digest(name)}"


def _suffix(data: bytes) -> str:
    starts = {b"\x89PNG": ".png", b"\xff\xd8": ".jpg", b"RIFF": ".webp", b"BM": ".bmp"}
    return next((suffix for start, suffix in starts.items() if data.startswith(start)), ".img")


def _write(path: Path, data: bytes) -> None:
    with replacing(path) as part:
        part.write_bytes(data)
