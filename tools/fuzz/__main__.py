"""Fuzz the readers one after the other: `cd tools && python -m fuzz [NAME…] [--minutes M]`.

Runs in the host's Python with the package atheris (libFuzzer for Python; Linux) added. `M` is the time for all of them
together. Corpora and findings stay under out/fuzz, so that a later run goes on. Findings are told apart by their
exception and the place it came from; the first input of each is kept, and fuzzing goes on. A hang or a death ends that
reader's process; libFuzzer keeps the input and the reader starts again. The exit status is 1 if anything was found.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path

import atheris  # pyright: ignore[reportMissingImports]
import torch  # noqa: F401  # ahead, so that it is not instrumented along
from devkit.layout import OUT, REPO

sys.path.append(str(REPO))
with atheris.instrument_imports(include=["x2edit_core", "tarfile"]):  # pyright: ignore[reportAttributeAccessIssue]
    from fuzz.guard import Guard
    from fuzz.readers import READERS, Reader, check

HANG_S = 60
MEMORY_MIB = 4096
LONGEST = 1 << 15
_STATUS = re.compile(r"^#(\d+)\s+\w+.*cov: (\d+) ft: (\d+) corp: (\d+)", re.MULTILINE)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help=f"default: all of {', '.join(READERS)}")
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--folder", type=Path, default=OUT / "fuzz")
    options = parser.parse_args()
    names = options.names or list(READERS)
    for name in names:
        _fuzz(READERS[name], options.folder / name, options.minutes * 60 / len(names))
    found = sorted(path for name in names for path in (options.folder / name / "findings").iterdir())
    for path in found:
        print(f"finding: {path}")
    return bool(found)


def _fuzz(reader: Reader, folder: Path, seconds: float) -> None:
    """One reader for `seconds`, in a process of its own, started again after whatever ended it."""
    corpus, findings = folder / "corpus", folder / "findings"
    for path in (corpus, findings):
        path.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(reader.seeds()):
        (corpus / f"seed-{number}").write_bytes(seed)
    deadline, total, last = time.monotonic() + seconds, 0, ("0",) * 4
    while (left := deadline - time.monotonic()) > 1:
        said = _in_a_child(folder / "log.txt", lambda: _under_libfuzzer(reader, corpus, findings, int(left)))
        statuses = _STATUS.findall(said)
        if not statuses:
            print(f"{reader.name} did not run:\n{said[-2000:]}", flush=True)
            return
        last = statuses[-1]
        total += int(last[0])
    _, coverage, features, kept = last
    print(f"{reader.name}: {total} executions, {coverage} edges, {features} features, corpus of {kept}", flush=True)


def _in_a_child(log: Path, work: Callable[[], None]) -> str:
    """Forked, since importing takes longer than many a run; returns what it printed."""
    sys.stdout.flush()
    if child := os.fork():
        os.waitpid(child, 0)
        return log.read_text(encoding="utf-8", errors="replace")
    with log.open("wb") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    try:
        work()
    finally:
        os._exit(1)


def _under_libfuzzer(reader: Reader, corpus: Path, findings: Path, seconds: int) -> None:
    guard = Guard()
    memory = Path("/dev/shm") if Path("/dev/shm").is_dir() else None  # noqa: S108 (a fresh folder in it)
    with tempfile.TemporaryDirectory(dir=memory) as scratch:

        def once(data: bytes) -> None:
            try:
                check(reader, data, Path(scratch), guard)
            except BaseException as error:
                _keep(error, data, findings)

        arguments = [
            f"-max_total_time={seconds}", f"-timeout={HANG_S}", f"-rss_limit_mb={MEMORY_MIB}", f"-max_len={LONGEST}",
            "-len_control=0", f"-artifact_prefix={findings}/", str(corpus),
        ]  # fmt: skip
        atheris.Setup([sys.argv[0], *arguments], once)
        atheris.Fuzz()


def _keep(error: BaseException, data: bytes, findings: Path) -> None:
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if "x2edit_core" in frame.filename]
    where = f"{Path(frames[-1].filename).stem}-{frames[-1].lineno}" if frames else "elsewhere"
    path = findings / f"{type(error).__name__}-{where}"
    if not path.exists():
        path.write_bytes(data)
        path.with_suffix(".txt").write_text("".join(traceback.format_exception(error)), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
