"""How good a judge of edits is: accuracy, preference for a place, ties and unusable answers, on pairs whose better is known.

    python3 tools/dev.py bench judges --folder FOLDER --profile EditScore
    python3 tools/dev.py bench judges --base-url http://127.0.0.1:8000/v1 --model NAME --pairs PARQUET

Without --pairs the pairs are exact scenes; with it those of a published benchmark in local parquet files. Each pair is asked
in both orders, whatever the judge does itself; --once asks each order once, which shows a judge's own preference for a place.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Iterable
from pathlib import Path

import torch

from bench.judge_pairs import of_files, of_scenes
from bench.measure import machine, write_json
from x2edit_core.chat import Chat
from x2edit_core.chat.endpoint import EndpointChat
from x2edit_core.chat.folder import FolderChat
from x2edit_core.chat.keys import written_by_hand
from x2edit_core.chat.transport import Limits
from x2edit_core.choosing.agreement import Asked, ask, figures
from x2edit_core.choosing.profiles import PLAIN, PROFILES


def _chat(args: argparse.Namespace) -> Chat:
    if args.folder:
        return FolderChat(args.folder, dtype=getattr(torch, args.dtype))
    pair = written_by_hand(args.base_url, args.key_variable)
    return EndpointChat(args.base_url, args.model, vision=True, limits=Limits(args.timeout), pair=pair)


def _progress(one: Asked) -> None:
    print(f"{one.pair.name}: {', '.join(one.outcomes)}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, help="a transformers folder, or a LoRA beside its base")
    parser.add_argument("--dtype", default="float32", choices=("float32", "bfloat16"))
    parser.add_argument("--base-url", default="", help="a server that speaks chat completions, up to /v1")
    parser.add_argument("--model", default="", help="the model's name there")
    parser.add_argument("--key-variable", default="", help="the environment variable that holds the key")
    parser.add_argument("--timeout", type=float, default=120.0)
    parser.add_argument("--profile", default=PLAIN, choices=list(PROFILES))
    parser.add_argument("--once", action="store_true", help="let the judge look in one order alone")
    parser.add_argument("--scenes", type=int, default=60)
    parser.add_argument("--side", type=int, default=256)
    parser.add_argument("--pairs", type=Path, help="parquet files of a published benchmark")
    parser.add_argument("--limit", type=int, help="at most so many pairs")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    args = parser.parse_args()
    if bool(args.folder) == bool(args.base_url):
        parser.error("name a judge: either --folder or --base-url with --model")
    judge = PROFILES[args.profile].make(_chat(args), not args.once, "")
    pairs: Iterable = of_files(args.pairs) if args.pairs else of_scenes(args.scenes, args.side)
    asked = ask(judge, itertools.islice(pairs, args.limit), _progress)
    kinds = {} if args.pairs else _by_kind(asked)
    found = {"machine": machine(torch.device("cpu")), "judge": judge.name, "profile": args.profile, "once": args.once}
    found |= {"all": figures(asked), "by_wrong": kinds}
    for name, row in {"all": found["all"], **kinds}.items():
        print(name, "  ".join(f"{key} {value:.3g}" for key, value in row.items()))
    write_json(args.json, found)


def _by_kind(asked: list[Asked]) -> dict[str, dict[str, float]]:
    kinds = sorted({one.pair.name.split(", ")[1] for one in asked})
    return {kind: figures([one for one in asked if one.pair.name.endswith(f", {kind}")]) for kind in kinds}


if __name__ == "__main__":
    main()
