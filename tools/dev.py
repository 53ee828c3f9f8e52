#!/usr/bin/env python3
"""One entry point for everything around the code.

host | demo | teach | test | serve | bench | gpu | evaluate | dataset | graph | miniature | classifier | record | compat |
mutants

Needs only Python 3.10 or newer; installs the pinned ComfyUI into a cache folder on first use. Written for Linux,
macOS and Windows; run so far on Linux only. COMFYUI_PATH and COMFYUI_PYTHON make every command use a ComfyUI of your
own; X2EDIT_CACHE moves the cache folder.
"""

from __future__ import annotations

import argparse
import json
import signal
import subprocess
import sys
from pathlib import Path

import bench
from devkit import bundle, compat, gpu, miniature, mutants, pins, records, testing
from devkit.dataset import DEMO, command_alone, run_dataset
from devkit.demo import DEFAULT_WORKFLOW, run_demo
from devkit.evaluate import run_evaluation
from devkit.host import DevError, find_host, is_own, log
from devkit.layout import OUT
from devkit.replace import with_demo_models
from devkit.server import Server, fill_input
from devkit.teach import run_teach

from x2edit_core.errors import X2EditError
from x2edit_core.workflow.files import load_graph


def _host(args: argparse.Namespace) -> int:
    host = find_host(args.version)
    if args.bundle is not None:
        bundle.write(host, args.bundle, args.bundle_python)
    elif args.json:
        print(host.to_json())
    else:
        print(f"ComfyUI {host.version}\n  in      {host.comfyui}\n  python  {host.python}")
    return 0


def _demo(args: argparse.Namespace) -> int:
    return run_demo(find_host(args.host), device=args.device, workflow=args.workflow, picture=args.picture)


def _teach(args: argparse.Namespace) -> int:
    return run_teach(find_host(args.host), args.lesson, args.minutes, args.picture)


def _test(args: argparse.Namespace) -> int:
    host = find_host(args.host)
    if args.install_tools:
        testing.install_tools(host)
    pinned = args.host == pins.DEFAULT_HOST
    options = {"full": args.full, "record": args.record}
    status = testing.run_tests(host, expression=args.k, tiers=args.tier, pinned=pinned, **options)
    if args.k or args.tier or not pinned or is_own():
        return status
    if not args.full:
        return testing.run_smoke(find_host(pins.OLDEST_HOST)) or status
    others = [find_host(version) for version in pins.HOSTS if version != pins.DEFAULT_HOST]
    return max([status, *(testing.run_tests(other, pinned=False, **options) for other in others)])


def _compat(args: argparse.Namespace) -> int:
    del args
    print(compat.write())
    return 0


def _mutants(args: argparse.Namespace) -> int:
    return mutants.run(find_host(args.host), args.module, args.limit, args.survivors)


def _serve(args: argparse.Namespace) -> int:
    host = find_host(args.host)
    server = Server(host, device=args.device, port=args.port, base=args.base, flags=args.flags)
    fill_input(host, args.base)
    with server:
        log(f"Models, inputs and outputs are in {args.base}; the log is {args.base / 'host.log'}. Ctrl-C stops it.")
        print(server.url, flush=True)
        return server.wait()


def _bench(args: argparse.Namespace) -> int:
    if args.name is None:
        print("\n".join(bench.names()))
        return 0
    return bench.run(find_host(args.host), args.name, args.arguments)


def _gpu(args: argparse.Namespace) -> int:
    host = find_host(args.host)
    return gpu.table(host) if args.table else gpu.run(host, args.part, args.rehearse)


def _evaluate(args: argparse.Namespace) -> int:
    return run_evaluation(
        find_host(args.host),
        args.config,
        args.workflow,
        args.output,
        adapter=args.adapter,
        device=args.device,
        demo_models=args.demo_models,
        base=args.base,
    )


def _dataset(args: argparse.Namespace) -> int:
    host = find_host(args.host)
    valued = {"--output": args.output, "--limit": args.limit, "--part": args.part}
    flags = [part for flag, value in valued.items() if value is not None for part in (flag, str(value))]
    if args.status or args.release:
        return command_alone(host, args.config, [*flags, "--status" if args.status else "--release"])
    flags += ["--dry-run"] if args.dry_run else []
    return run_dataset(host, args.config, args.hosts, args.device, args.base, flags)


def _graph(args: argparse.Namespace) -> int:
    with Server(find_host(args.host)) as server:
        prompt = load_graph(args.workflow, server)
        if args.demo_models:
            prompt = with_demo_models(prompt)
    print(json.dumps(prompt, indent=2, ensure_ascii=False))
    return 0


def _miniature(args: argparse.Namespace) -> int:
    return miniature.make(find_host(args.host), minutes=args.minutes, device=args.device, install=args.install)


def _classifier(args: argparse.Namespace) -> int:
    host, script = find_host(args.host), Path(__file__).with_name("classifier") / "train.py"
    return subprocess.run([host.python, str(script)], check=False).returncode


def _record(args: argparse.Namespace) -> int:
    with Server(find_host(args.host)) as server:
        print(*records.write(server, accept_breaking=args.accept_breaking), sep="\n")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)

    def command(name: str, run, text: str) -> argparse.ArgumentParser:  # noqa: ANN001
        added = commands.add_parser(name, help=text, description=text)
        added.set_defaults(run=run)
        if name not in ("host", "compat"):
            added.add_argument("--host", default=pins.DEFAULT_HOST, metavar="VERSION", help="the ComfyUI to use")
        return added

    host = command("host", _host, "find or install the pinned ComfyUI")
    host.add_argument("--version", default=pins.DEFAULT_HOST, choices=pins.HOSTS)
    host.add_argument("--json", action="store_true", help="print one line of JSON")
    host.add_argument("--bundle", type=Path, metavar="DIR", help="write a copy for a machine without network")
    host.add_argument("--bundle-python", metavar="X.Y", help="the Python of that machine (default: this one)")

    demo = command("demo", _demo, "edit a picture with the embedded models in the real host")
    demo.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    demo.add_argument("--workflow", type=Path, default=DEFAULT_WORKFLOW)
    demo.add_argument("--picture", type=Path, metavar="PNG", help="also write the contact sheet there")

    teach = command("teach", _teach, "teach the miniature an edit that it does not know, and show it on unseen photos")
    teach.add_argument("--lesson", default="channels", help="which one; docs/training.md names them under `lesson`")
    teach.add_argument("--minutes", type=float, default=4.5, help="stop after this long")
    teach.add_argument("--picture", type=Path, metavar="JPG", help="also write the sheet there")

    test = command("test", _test, "lint, types and all tests, then smoke tests on the oldest host: what CI runs")
    test.add_argument("--full", action="store_true", help="also what is too long for CI, on every host")
    test.add_argument("-k", metavar="EXPRESSION", help="only tests that match, without lint and types")
    test.add_argument(
        "--tier",
        action="append",
        default=[],
        choices=(*testing.TIERS, testing.DEVICE_TIER),
        help="only this tier of tests",
    )
    test.add_argument("--record", action="store_true", help="keep what the host's tests found, for `compat`")
    test.add_argument("--install-tools", action="store_true", help="first put the test tools into that environment")

    command("compat", _compat, "write COMPATIBILITY.md from the records of `test --record`")

    mutate = command(
        "mutants", _mutants, "put small faults into modules and see whether tests notice; goes on where it was"
    )
    mutate.add_argument("--module", action="append", default=[], choices=mutants.MODULES, help="only this one")
    mutate.add_argument("--limit", type=int, default=mutants.MOST, help="at most so many of each module, the same draw")
    mutate.add_argument("--survivors", action="store_true", help="tests were only added: try again what had survived")

    serve = command("serve", _serve, "run the host with only this pack until Ctrl-C")
    serve.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    serve.add_argument("--port", type=int, help="default: a free one")
    serve.add_argument("--base", type=Path, default=OUT / "serve", metavar="DIR", help="its base directory")
    serve.add_argument("flags", nargs=argparse.REMAINDER, help="after --: more flags for ComfyUI")

    bench_ = command("bench", _bench, "run a benchmark, or list them")
    bench_.add_argument("name", nargs="?")
    bench_.add_argument("arguments", nargs=argparse.REMAINDER)

    on_gpu = command("gpu", _gpu, "all that wants a GPU, in eight minutes at most, into out/gpu")
    on_gpu.add_argument("--part", action="append", default=[], choices=gpu.names(), help="only this one")
    on_gpu.add_argument("--rehearse", action="store_true", help="the same on the CPU, with tiny sizes")
    on_gpu.add_argument("--table", action="store_true", help="print the computed memory of the recipes, and stop")

    evaluate = command("evaluate", _evaluate, "edit many pictures in a host started for it, and score the edits")
    evaluate.add_argument("config", type=Path, help="a TOML file, see docs/evaluate.md")
    evaluate.add_argument("--workflow", type=Path, help="instead of the one that the TOML file names")
    evaluate.add_argument("--output", type=Path, metavar="DIR", help="folder to write to, instead of the TOML file's")
    evaluate.add_argument(
        "--adapter", type=Path, metavar="PATH", help="an adapter's file or folder, instead of the workflow's adapter"
    )
    evaluate.add_argument("--demo-models", action="store_true", help="with the embedded models in place of the loaders")
    evaluate.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    evaluate.add_argument("--base", type=Path, metavar="DIR", help="the host's base directory, with its models")

    dataset = command(
        "dataset", _dataset, "make a data set in hosts started for it; scenes and the embedded models by default"
    )
    dataset.add_argument("config", type=Path, nargs="?", default=DEMO, help="a TOML file, see docs/dataset.md")
    dataset.add_argument("--output", type=Path, metavar="DIR", help="folder to write to, instead of the TOML file's")
    dataset.add_argument("--hosts", type=int, default=2, help="how many to start; default: 2")
    dataset.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    dataset.add_argument("--base", type=Path, metavar="DIR", help="the host's base directory, with its models")
    dataset.add_argument("--limit", type=int, metavar="N", help="at most so many sources")
    dataset.add_argument("--part", metavar="I/N", help="only these shards, such as 2/8")
    dataset.add_argument("--dry-run", action="store_true", help="check everything, name the first sources, and stop")
    dataset.add_argument("--status", action="store_true", help="tell how far it is; starts no host")
    dataset.add_argument("--release", action="store_true", help="only write the release; starts no host")

    graph = command("graph", _graph, "print a saved workflow in the API form")
    graph.add_argument("workflow", type=Path)
    graph.add_argument("--demo-models", action="store_true", help="with the embedded models in place of the loaders")

    mini = command("miniature", _miniature, "make the embedded models again from seeds, in resumable stages")
    mini.add_argument("--minutes", type=float, help="stop after this long; the same command goes on")
    mini.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    mini.add_argument("--install", action="store_true", help="replace the shipped models when all stages are done")

    command("classifier", _classifier, "train the classifier's weights from the labelled instructions, in minutes")

    record = command("record", _record, "record the nodes' schemas: the public contract and the English locale")
    record.add_argument("--accept-breaking", action="store_true", help="even what breaks saved graphs")
    return parser


def _stop(*_: object) -> None:
    raise KeyboardInterrupt


def main() -> int:
    args = _parser().parse_args()
    if getattr(args, "flags", None) and args.flags[0] == "--":
        del args.flags[0]
    # A terminated command must stop the host it started, as Ctrl-C does.
    signal.signal(signal.SIGTERM, _stop)
    try:
        return args.run(args)
    except (DevError, X2EditError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
