"""Every reader of what others wrote, as a function of bytes: it may return, or raise the project's own error."""

from __future__ import annotations

import contextlib
import io
import json
import pickle
import re
import tarfile
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from x2edit_core.adapters.checkpoint import load_adapter
from x2edit_core.alignnet import load_alignnet
from x2edit_core.chat import Message, answers, likelihoods, transport
from x2edit_core.chat.thinking import strip_thinking
from x2edit_core.choosing.judge import ANSWERS, ChatJudge, ScoreJudge
from x2edit_core.classify import answer
from x2edit_core.classify import read as read_words
from x2edit_core.errors import X2EditError
from x2edit_core.evaluate.cases import CaseError, decoded_mask
from x2edit_core.evaluate.readers import read_cases
from x2edit_core.settings import to_toml
from x2edit_core.train import checkpoints, sources
from x2edit_core.train.config import load_config
from x2edit_core.train.journal import read_table

from . import seeds
from .guard import Guard

_DATA_END = re.compile(rb'"data_offsets":\[\d+,(\d{1,9})\]')
_MOST_DATA = 1 << 20
_URL = "http://127.0.0.1/v1"


@dataclass(frozen=True)
class Reader:
    """`read(data, folder)` puts `data` where its reader finds it, inside `folder`, and reads it there."""

    name: str
    read: Callable[[bytes, Path], None]
    seeds: Callable[[], list[bytes]]


def check(reader: Reader, data: bytes, folder: Path, guard: Guard) -> None:
    """One call; raises whatever it does that a reader must not do. `folder` is left with this call's files."""
    with guard.over(folder), contextlib.suppress(X2EditError):
        reader.read(data, folder)


def _adapter(data: bytes, folder: Path) -> None:
    load_adapter(_written(folder / "lora.safetensors", data))


def _adapter_header(data: bytes, folder: Path) -> None:
    """A safetensors file whose lengths are right, so that what is drawn is the header alone."""
    ends = [int(end) for end in _DATA_END.findall(data)]
    size = max((end for end in ends if end < _MOST_DATA), default=0)
    _adapter(len(data).to_bytes(8, "little") + data + bytes(size), folder)


def _header(file: bytes) -> bytes:
    return file[8 : 8 + int.from_bytes(file[:8], "little")]


def _task_table(data: bytes, folder: Path) -> None:
    _written(folder / "lora.safetensors", seeds.released_x2edit_file())
    _written(folder / "task_embeddings.bin", data)
    load_adapter(folder)


def _zipped_task_table(data: bytes, folder: Path) -> None:
    _task_table(_archive(data), folder)


def _alignnet(data: bytes, folder: Path) -> None:
    load_alignnet(_written(folder / "alignnet.bin", data))


def _alignnet_safetensors(data: bytes, folder: Path) -> None:
    load_alignnet(_written(folder / "alignnet.safetensors", data))


def _state(data: bytes, folder: Path) -> None:
    _written(folder / "state-0000003.pt", _archive(data))
    checkpoints.load_newest(folder)


def _table(data: bytes, folder: Path) -> None:
    for row in read_table(_written(folder / "losses.csv", data)):
        int(row["step"])


def _config(data: bytes, folder: Path) -> None:
    """What is read is written so that it reads back equal, NaN aside."""
    config = load_config(_written(folder / "run.toml", data))
    again = load_config(_written(folder / "again.toml", to_toml(config).encode("utf-8")))
    assert repr(again) == repr(config)


def _pairs(data: bytes, folder: Path, words: bytes = b"Remove the dog", name: str = "data") -> None:
    folder = folder / name
    folder.mkdir(exist_ok=True)
    _written(folder / "0_source.png", data)
    _written(folder / "0_target.png", seeds.picture())
    _written(folder / "0.txt", words)
    _read_all(folder)


def _words(data: bytes, folder: Path) -> None:
    _pairs(seeds.picture(), folder, data)


def _jsonl(data: bytes, folder: Path) -> None:
    for name in ("0_source.png", "0_target.png"):
        _written(folder / name, seeds.picture())
    _read_all(_written(folder / "pairs.jsonl", data))


def _tar(data: bytes, folder: Path) -> None:
    _read_all(_written(folder / "pairs.tar", data))


def _parquet(data: bytes, folder: Path) -> None:
    (folder / "data").mkdir(exist_ok=True)
    _written(folder / "data" / "part.parquet", data)
    _read_all(folder / "data")


def _listed_cases(kind: str, listed: str) -> Callable[[bytes, Path], None]:
    """A benchmark whose list of edits is drawn, with one picture that it may name."""

    def read(data: bytes, folder: Path) -> None:
        (folder / "images" / "1").mkdir(parents=True, exist_ok=True)
        (folder / "dog").mkdir(exist_ok=True)
        for place in ("images/1/1-a.png", "1.png", "dog/0.png"):
            _written(folder / place, seeds.picture())
        _written(folder / listed, data)
        _read_cases(kind, folder)

    return read


def _parquet_cases(data: bytes, folder: Path) -> None:
    _written(folder / "part.parquet", data)
    for kind in ("gedit", "emu_edit", "magicbrush"):
        with contextlib.suppress(X2EditError):
            _read_cases(kind, folder)


def _read_cases(kind: str, path: Path) -> None:
    for case in read_cases(kind, path):
        if isinstance(case, CaseError):
            continue
        for read in filter(None, (case.source, case.target, case.mask)):
            with contextlib.suppress(CaseError):
                decoded_mask(read(), case.name)


def _read_all(path: Path) -> None:
    broken: list[sources.SampleError] = []
    for entry in sources.entries(sources.detect_kind(path), path, broken.append):
        try:
            entry.pictures()
        except sources.SampleError as error:
            broken.append(error)


class _Saying:
    """A language model that says one thing, whatever it is asked."""

    name, vision = "a test", True

    def __init__(self, reply: str, scores: list[float] | None = None) -> None:
        self._reply, self._scores = reply, scores

    def generate(self, messages: Sequence[Message], max_tokens: int = 256) -> str:
        del messages, max_tokens
        return strip_thinking(self._reply)

    def score(self, messages: Sequence[Message], answers: Sequence[str]) -> list[float] | None:
        del messages, answers
        return self._scores


def _replies(data: bytes, folder: Path) -> None:
    del folder
    chat: Any = _Saying(data.decode("utf-8", "replace"))
    for judge in (ChatJudge(chat), ScoreJudge(chat)):
        assert judge.compare(None, None, None, "make it red").choice in ("A", "B", "tie")
    assert 0 <= answer.ask("make it red", chat).confidence <= 1


def _instruction(data: bytes, folder: Path) -> None:
    del folder
    assert 0 <= read_words(data.decode("utf-8", "replace")).confidence <= 1


def _completion(data: bytes, folder: Path) -> None:
    """The body of an endpoint's answer, as far as a judge's and a classifier's verdict."""
    reply = transport._content(data, _URL, str)
    scores = likelihoods.scores_of(likelihoods.first_token(reply), ANSWERS)
    ChatJudge(_Saying("1", scores)).compare(None, None, None, "make it red")  # pyright: ignore[reportArgumentType]
    _replies(answers.read_answer(reply, _URL).text.encode("utf-8", "replace"), folder)


def _archive(pickled: bytes) -> bytes:
    """torch's file form with `pickled` as its content, and one tensor's worth of storage."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for name, content in (
            ("data.pkl", pickled),
            ("byteorder", b"little"),
            ("data/0", bytes(256)),
            ("version", b"3\n"),
        ):
            file.writestr(f"archive/{name}", content)
    return buffer.getvalue()


def _pickle_of(content: Any) -> bytes:
    with zipfile.ZipFile(io.BytesIO(seeds.torch_file(content, archive=True))) as file:
        return next(file.read(name) for name in file.namelist() if name.endswith("data.pkl"))


def _written(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


class _Payload:
    """A pickle that would make a folder beside the data."""

    def __reduce__(self) -> tuple[Any, ...]:
        return __import__("os").mkdir, ("/x2edit-fuzz-was-here",)


def _adapter_seeds() -> list[bytes]:
    return [
        *(seeds.own_file(kind) for kind in ("x2edit", "lora", "icedit_moe")),
        seeds.released_x2edit_file("moe"),
        *(seeds.released_icedit_file(kind) for kind in ("icedit", "icedit_moe")),
    ]


def _torch_seeds(content: Any) -> list[bytes]:
    return [*(seeds.torch_file(content, archive) for archive in (True, False)), pickle.dumps({"weight": _Payload()})]


def _pickle_seeds(content: Any) -> list[bytes]:
    return [_pickle_of(content), *(pickle.dumps({"weight": _Payload()}, protocol) for protocol in (0, 2, 4))]


def _completion_seeds() -> list[bytes]:
    table = [{"token": "1", "logprob": -0.1}, {"token": " 2", "logprob": -3}]
    choice = {"message": {"content": "1, it is red"}, "logprobs": {"content": [{"top_logprobs": table}]}}
    parts = {"message": {"content": [{"type": "text", "text": "2"}]}, "finish_reason": "length"}
    return [json.dumps({"choices": [item]}).encode() for item in (choice, parts)]


_DREAMBENCH = b"""subject_name,class
dog,dog
Object Prompts
 'a {0} {1} in the jungle'.format(unique_token, class_token),
Live Subject Prompts
 'a {0} {1} in a chef outfit'.format(unique_token, class_token),
"""
_TURN = {"input": "1-a.png", "output": "1-a.png", "mask": "../1-a.png", "instruction": "make it red"}
_EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\nshowpage\n"

READERS = {
    reader.name: reader
    for reader in (
        Reader("adapter", _adapter, _adapter_seeds),
        Reader("adapter_header", _adapter_header, lambda: [_header(file) for file in _adapter_seeds()]),
        Reader("task_table", _task_table, lambda: _torch_seeds(seeds.task_table())),
        Reader("zipped_task_table", _zipped_task_table, lambda: _pickle_seeds(seeds.task_table())),
        Reader("alignnet", _alignnet, lambda: _torch_seeds({"config": {}, "state_dict": seeds.alignnet()})),
        Reader("alignnet_safetensors", _alignnet_safetensors, lambda: [seeds.alignnet_file()]),
        Reader("state", _state, lambda: _pickle_seeds(seeds.state())),
        Reader("table", _table, lambda: [b"step,loss\r\n1,0.5\r\n2,0.25\r\n"]),
        Reader("config", _config, lambda: [seeds.config_file(kind) for kind in ("x2edit", "icedit_moe")]),
        Reader(
            "picture", _pairs, lambda: [*(seeds.picture(kind) for kind in ("PNG", "JPEG", "WEBP", "BMP", "GIF")), _EPS]
        ),
        Reader(
            "words", _words, lambda: ["把天空变成橙色\nremoval".encode(name) for name in ("utf-8", "utf-16", "gbk")]
        ),
        Reader(
            "jsonl", _jsonl, lambda: [seeds.jsonl_file(), b'{"source": "../../a", "target": "/etc", "instruction": 1}']
        ),
        Reader(
            "tar",
            _tar,
            lambda: [
                *(seeds.tar_file(form) for form in (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT)),
                *seeds.compressed(seeds.tar_file(tarfile.USTAR_FORMAT)),
            ],
        ),
        Reader("parquet", _parquet, lambda: [seeds.parquet_file(kind) for kind in ("magicbrush", "omniedit")]),
        Reader(
            "cases_list",
            _listed_cases("imgedit", "basic_edit.json"),
            lambda: [
                json.dumps({"a": {"id": name, "prompt": "add", "edit_type": "add"}}).encode()
                for name in ("1.png", "../1")
            ],
        ),
        Reader(
            "cases_turns",
            _listed_cases("magicbrush", "edit_turns.json"),
            lambda: [json.dumps([{**_TURN, "mask": "1-a.png"}, _TURN]).encode()],
        ),
        Reader("cases_prompts", _listed_cases("dreambench", "prompts_and_classes.txt"), lambda: [_DREAMBENCH]),
        Reader("cases_parquet", _parquet_cases, lambda: [seeds.parquet_file(kind) for kind in ("magicbrush", "gedit")]),
        Reader(
            "replies",
            _replies,
            lambda: [
                b"<think>so</think>1. It is red",
                b'{"score": [7, 8.5], "reason": "good"}',
                b"Answer is 2",
                b"removal",
            ],
        ),
        Reader("instruction", _instruction, lambda: [b"Make the red car blue", "把天空变成橙色".encode()]),
        Reader("completion", _completion, _completion_seeds),
    )
}
"""By name; parquet needs pyarrow."""

torch.set_num_threads(1)
