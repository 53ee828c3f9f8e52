"""What the builder promises: nothing lost, nothing twice, and nothing asked again, whatever happens to it."""

from __future__ import annotations

import errno
import os
import random
import signal
import threading
import time
from collections import Counter
from dataclasses import replace

import pytest

from x2edit_core.dataset import journal as journals
from x2edit_core.dataset import shards
from x2edit_core.dataset.faults import RunStoppedError, StoreError
from x2edit_core.dataset.release import write_release
from x2edit_core.dataset.run import Run, spent
from x2edit_core.dataset.shop import workshop
from x2edit_core.dataset.sources import read_sources
from x2edit_core.errors import X2EditError
from x2edit_core.workflow.pool import NoHostError

from .dataset_sets import Runs, config_file, loaded, made, noise, outcomes
from .edit_server import editing

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="kills are sent to forked processes")


@pytest.fixture(scope="module")
def runs():
    found = Runs()
    yield found
    found.close()


VISION = """
[instructions]
writer = "vision"
per_picture = 1
reflect = {reflect}
extra = "{extra}"
[instructions.tasks]
tone = 1
[endpoints.writer]
base_url = "{address}/v1"
model = "writer"
at_once = 3
price_in = 10.0
price_out = 20.0
{more}
"""
EDITS = '{"edits": [{"task": "tone", "possible": true, "en": "Make it brighter", "zh": "变亮", "object": "all"}]}'
RIGHT = '{"visible": true, "unambiguous": true, "feasible": true, "task": true, "same": true, "reason": "fine"}'


def writer(body):
    last = body["messages"][-1]["content"]
    text = last if isinstance(last, str) else last[-1]["text"]
    return RIGHT if "strictly" in text else EDITS


def vision(server, reflect="true", extra="", more=""):
    server.answer = writer
    return VISION.format(address=server.url, reflect=reflect, extra=extra, more=more)


def test_every_source_is_edited_once_and_again_is_nothing(tmp_path):
    with editing() as server:
        config = loaded(config_file(tmp_path, server.url, count=7))
        progress = made(config)
        assert (progress.shards, progress.records, progress.accepted) == (4, 7, 7)
        assert [one["key"] for one in outcomes(config)] == [f"set-{n // 2:05d}-{n % 2:05d}-0-0" for n in range(7)]
        assert {one["task"] for one in outcomes(config)} == {"tone"}
        assert (len(server.edits), len(set(server.edits))) == (7, 7)
        again = made(config)
        assert (again.before, again.records, len(server.edits)) == (4, 0, 7)


@pytest.mark.parametrize("seed", [pytest.param(1), *(pytest.param(n, marks=pytest.mark.full) for n in (2, 3))])
def test_killed_at_five_random_moments_it_makes_exactly_what_was_expected(tmp_path, runs, seed):
    """Paid calls repeated are at most those under way at the kills; no record is lost, none is there twice."""
    draw, count, workers = random.Random(seed), 36, 4
    with editing() as server:
        server.delay_s = 0.02
        path = config_file(tmp_path, server.url, count, shard=6, workers=workers, more=vision(server))
        for _ in range(5):
            process, wanted = runs.start(path), len(server.edits) + draw.randrange(1, 6)
            end = time.monotonic() + 60
            while len(server.edits) < wanted and time.monotonic() < end:
                time.sleep(0.002)
            time.sleep(draw.random() * 0.05)
            assert runs.kill(process) == -signal.SIGKILL, "it ended before it could be killed"
        assert runs.wait(runs.start(path)) == 0
        edits, asked = len(server.edits), len(server.asked)
    found = outcomes(loaded(path))
    expected = [f"set-{n // 6:05d}-{n % 6:05d}-0-0" for n in range(count)]
    assert [one["key"] for one in found] == expected and all(one["kept"] for one in found)
    assert count <= edits <= count + 5 * workers
    assert 2 * count <= asked <= 2 * count + 5 * workers


def test_a_host_killed_in_the_middle_loses_nothing(tmp_path):
    with editing() as one, editing() as other:
        more = f'[[hosts]]\naddress = "{other.url}"\n'
        config = loaded(config_file(tmp_path, one.url, 16, shard=8, workers=4, more=more))
        one.delay_s = other.delay_s = 0.02
        other.fault = lambda path: 0 if len(other.edits) >= 3 else None
        progress = made(config)
        assert progress.accepted == 16 and all(found["kept"] for found in outcomes(config))
        assert 3 <= len(other.edits) <= 4 and len(one.edits) >= 12
        hosts = {found["provenance"][-1]["host"] for found in outcomes(config)}
        assert one.url in hosts


def test_a_host_holds_no_more_than_its_depth(tmp_path):
    with editing() as server:
        server.delay_s = 0.02
        made(loaded(config_file(tmp_path, server.url, 12, shard=12, workers=8)))
        assert server.most_at_once == 2


def test_a_changed_limit_asks_nobody_and_a_changed_prompt_only_what_follows_from_it(tmp_path):
    with editing() as server:
        path = config_file(tmp_path, server.url, 4, more=vision(server))
        made(loaded(path))
        assert (len(server.edits), len(server.asked)) == (4, 8)
        strict = replace(loaded(path), limits={"all": replace_limits(least={"changed": 0.9})})
        made(strict)
        assert not any(one["kept"] for one in outcomes(strict))
        assert {reason.split()[0] for one in outcomes(strict) for reason in one["reasons"]} == {"changed"}
        assert (len(server.edits), len(server.asked)) == (4, 8)

        path.write_text(path.read_text().replace('extra = ""', 'extra = "Be brief."'))
        made(loaded(path))
        assert (len(server.edits), len(server.asked)) == (4, 12), "the same words: neither reflected nor edited again"
        server.answer = lambda body: writer(body).replace("Make it brighter", "Make it much brighter")
        path.write_text(path.read_text().replace("Be brief.", "Be very brief."))
        made(loaded(path))
        assert (len(server.edits), len(server.asked)) == (8, 20)


def replace_limits(**values):
    from x2edit_core.dataset.config import LimitsConfig

    return LimitsConfig(**values)


def test_two_processes_never_share_a_shard(tmp_path, runs):
    with editing() as server:
        server.delay_s = 0.02
        path = config_file(tmp_path, server.url, 24, shard=3, workers=3)
        processes = [runs.start(path), runs.start(path)]
        assert [runs.wait(process) for process in processes] == [0, 0]
        made(loaded(path))
        assert Counter(server.edits).most_common(1)[0][1] == 1 and len(server.edits) == 24
    assert len(outcomes(loaded(path))) == 24


def test_parts_share_the_shards_between_them(tmp_path):
    with editing() as server:
        config = loaded(config_file(tmp_path, server.url, 10, shard=2))
        counts = [made(config, part=shards.Part(index, 3)).records for index in (1, 2, 3)]
        assert counts == [4, 4, 2] and len(server.edits) == 10


def test_it_stops_at_the_end_of_the_shard_that_brings_enough(tmp_path):
    with editing() as server:
        config = loaded(config_file(tmp_path, server.url, 40, shard=4, workers=2, more="accepted = 6\n"))
        progress = made(config)
        assert progress.accepted >= 6 and progress.records <= 16
        assert write_release(config).pairs == 8, "whole shards, and only those up to the one that was enough"


def test_a_full_disk_ends_the_run_and_nothing_is_lost(tmp_path, monkeypatch):
    with editing() as server:
        config = loaded(config_file(tmp_path, server.url, 8, shard=4, workers=2))
        real, lines = journals.append, []

        def full(path, line):
            if len(lines) >= 5:
                raise StoreError(f"{path} could not be written ({os.strerror(errno.ENOSPC)}).")
            lines.append(line)
            real(path, line)

        monkeypatch.setattr(journals, "append", full)
        with pytest.raises(StoreError, match="No space left"):
            made(config)
        made_before = len(server.edits)
        monkeypatch.setattr(journals, "append", real)
        made(config)
        assert len(outcomes(config)) == 8
        assert len(server.edits) <= 8 + made_before - 2, "edits that were kept are not made again"


def test_half_a_line_of_a_full_disk_is_taken_back(tmp_path):
    """The file system takes some bytes of a line and no more: what stays ends where a line ends."""
    path = tmp_path / "journal.jsonl"
    journals.append(path, b'{"one": 1}\n')

    class Full:
        def __init__(self, file):
            self.file = file

        def __enter__(self):
            return self

        def __exit__(self, *_):
            self.file.close()

        def tell(self):
            return self.file.tell()

        def write(self, data):
            self.file.write(data[:5])
            self.file.flush()
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    class Path(type(path)):
        def open(self, *args, **options):
            return Full(super().open(*args, **options))

    with pytest.raises(StoreError, match="No space left"):
        journals.append(Path(path), b'{"two": 2}\n')
    assert path.read_bytes() == b'{"one": 1}\n'


def test_an_unreadable_picture_costs_itself_alone(tmp_path):
    with editing() as server:
        path = config_file(tmp_path, server.url, 5)
        (tmp_path / "sources" / "1.png").write_bytes(b"no picture")
        (tmp_path / "sources" / "3.png").unlink()
        config = loaded(path)
        made(config)
        ended = {one["record"][-11:]: (one["stage"], one["reasons"]) for one in outcomes(config) if not one["kept"]}
        assert {stage for stage, _ in ended.values()} == {"sources"} and len(ended) == 2
        assert len(outcomes(config)) == 5 and len(server.edits) == 3


def test_an_endpoint_that_is_busy_broken_or_slow_is_asked_again(tmp_path):
    with editing() as server:
        path = config_file(tmp_path, server.url, 4, more=vision(server, reflect="false"))
        failures = iter([429, 500, 0, 503, 429])
        server.fault = lambda path: next(failures, None) if path.endswith("completions") else None
        made(loaded(path))
        assert all(one["kept"] for one in outcomes(loaded(path))) and len(server.asked) == 4


def test_a_refused_key_ends_the_run_at_once_and_is_written_nowhere(tmp_path, monkeypatch, caplog):
    value = "sk-not-for-any-file-4711"
    monkeypatch.setenv("X2EDIT_TEST_API_KEY", value)
    with editing() as server:
        more = vision(server, more='key_variable = "X2EDIT_TEST_API_KEY"')
        path = config_file(tmp_path, server.url, 4, more=more)
        made(loaded(path))
        assert any(seen.get("Authorization") == f"Bearer {value}" for seen in server.headers_seen)
        write_release(loaded(path))
        server.fault = lambda path: 401 if path.endswith("completions") else None
        changed = path.read_text().replace('extra = ""', 'extra = "Anew."')
        path.write_text(changed)
        with pytest.raises(RunStoppedError) as error:
            made(loaded(path))
    files = [file for file in tmp_path.rglob("*") if file.is_file()]
    assert len(files) > 20 and not [file for file in files if value.encode() in file.read_bytes()]
    assert value not in str(error.value) + caplog.text


def test_the_budget_ends_the_run_before_the_next_call(tmp_path):
    """100 tokens in at 10 and 10 out at 20 for a million: 0.0012 a call."""
    with editing() as server:
        more = vision(server, reflect="false") + "\n[budget]\nmax_cost = 0.003\n"
        path = config_file(tmp_path, server.url, 12, workers=1, more=more)
        with pytest.raises(RunStoppedError, match="max_cost"):
            made(loaded(path))
        assert len(server.asked) == 3, "what was under way is paid, the next one is not asked"
        assert spent(loaded(path).folder) == (pytest.approx(0.0036), 330)
        with pytest.raises(RunStoppedError, match="max_cost"):
            made(loaded(path))
        assert len(server.asked) == 3, "what earlier runs paid counts"
        path.write_text(path.read_text().replace("max_cost = 0.003", "max_cost = 1.0"))
        made(loaded(path))
        assert len(server.asked) == 12


def test_a_budget_cannot_be_kept_with_a_server_that_does_not_count(tmp_path):
    with editing() as server:
        server.usage = None
        more = vision(server, reflect="false") + "\n[budget]\nmax_tokens = 1000000\n"
        with pytest.raises(RunStoppedError, match="does not say what its answers cost"):
            made(loaded(config_file(tmp_path, server.url, 6, workers=1, more=more)))


def test_hosts_that_are_gone_end_the_run_after_its_patience(tmp_path):
    with editing() as server:
        config = loaded(config_file(tmp_path, server.url, 2, patience=0.5))
        shop = workshop(config)
        server.fault = lambda path: 0
        with pytest.raises(NoHostError, match=server.url):
            Run(shop).run(read_sources(config.sources))
        server.fault = lambda path: None
        assert made(config).accepted == 2


def test_an_edit_of_another_shape_and_one_that_changes_nothing_are_told_and_left_out(tmp_path):
    with editing() as server:
        server.edit = lambda picture, seed: picture if seed % 2 else picture[:, : len(picture)]
        config = loaded(config_file(tmp_path, server.url, 8))
        made(config)
        told = Counter((one["stage"], one["reasons"][0].split()[0]) for one in outcomes(config))
        assert set(told) == {("edits", "the"), ("decide", "changed")} and sum(told.values()) == 8
        with_shape = next(one for one in outcomes(config) if one["stage"] == "edits")
        assert "of another shape than its source of 24 × 16" in with_shape["reasons"][0]


def test_pictures_of_a_pair_are_of_one_size(tmp_path):
    """An editor that answers larger pictures makes pairs at the source's size, and one of smaller ones at its own."""
    with editing() as server:
        for scale, size in ((2, [24, 16]), (0.75, [18, 12])):
            server.edit = lambda picture, seed, scale=scale: resized(255 - picture, scale)
            config = loaded(config_file(tmp_path / str(scale), server.url, 1))
            made(config)
            (found,) = outcomes(config)
            assert found["size"] == size and found["kept"], found["reasons"]
            store = journals.Journal(shards.folder_of(config.folder, 0))
            assert {picture_size(store.blob(found[part])) for part in ("source", "edit")} == {tuple(size)}


def resized(picture, scale):
    import numpy as np
    from PIL import Image

    image = Image.fromarray(picture)
    return np.asarray(image.resize((round(image.width * scale), round(image.height * scale))))


def picture_size(data):
    import io

    from PIL import Image

    return Image.open(io.BytesIO(data)).size


def test_pictures_without_a_licence_are_refused_unless_that_is_waived(tmp_path):
    with editing() as server:
        path = config_file(tmp_path, server.url, 2)
        path.write_text(path.read_text().replace('licence = "CC0-1.0"\n', ""))
        made(loaded(path))
        assert [one["stage"] for one in outcomes(loaded(path))] == ["licence", "licence"] and not server.edits
        path.write_text(path.read_text().replace("[sources]", "[sources]\nallow_unknown_licence = true"))
        made(loaded(path))
        assert all(one["kept"] for one in outcomes(loaded(path)))


def test_of_several_seeds_one_is_kept_and_the_set_is_the_same_each_time(tmp_path):
    with editing() as server:
        path = config_file(tmp_path, server.url, 3)
        path.write_text(path.read_text().replace("[recipes.bright]", "[recipes.bright]\nseeds = 3"))
        made(loaded(path))
        first = outcomes(loaded(path))
        assert Counter(one["stage"] for one in first) == {"kept": 3, "seeds": 6} and len(server.edits) == 9
        assert write_release(loaded(path)).preferences == 6
        second = replace(loaded(path), output=str(tmp_path / "second"))
        made(second)
        assert [strip(one) for one in outcomes(second)] == [strip(one) for one in first]


def strip(outcome):
    return {name: value for name, value in outcome.items() if name != "provenance"}


def test_a_source_that_was_exchanged_is_edited_anew(tmp_path):
    from PIL import Image

    with editing() as server:
        config = loaded(config_file(tmp_path, server.url, 2))
        made(config)
        Image.fromarray(noise(99)).save(tmp_path / "sources" / "1.png")
        made(config)
        assert len(server.edits) == 3 and len(outcomes(config)) == 2


def test_a_damaged_line_in_the_middle_costs_itself(tmp_path):
    with editing() as server:
        config = loaded(config_file(tmp_path, server.url, 2))
        made(config)
        place = shards.folder_of(config.folder, 0)
        lines = (place / "journal.jsonl").read_bytes().splitlines(keepends=True)
        (place / "journal.jsonl").write_bytes(lines[0][: len(lines[0]) // 2] + b"\n" + b"".join(lines[1:]) + b'{"torn')
        (place / shards.FINISHED).unlink()
        made(config)
        assert len(outcomes(config)) == 2 and len(server.edits) <= 3
        assert (place / "journal.jsonl").read_bytes().endswith(b"\n")


def test_an_interrupt_leaves_nobody_waiting(tmp_path):
    with editing() as server:
        server.delay_s = 0.05
        config = loaded(config_file(tmp_path, server.url, 20, shard=20, workers=4))
        run = Run(workshop(config))
        run.on_progress = lambda progress: (_ for _ in ()).throw(KeyboardInterrupt)
        before = threading.active_count()
        with pytest.raises(KeyboardInterrupt):
            run.run(read_sources(config.sources))
        assert threading.active_count() <= before + 6
        assert made(config).accepted == 20


def test_a_recipe_that_cannot_take_an_edit_is_told_before_anything_is_made(tmp_path):
    with editing() as server:
        path = config_file(tmp_path, server.url, 2)
        (tmp_path / "graph.json").write_text('{"1": {"class_type": "SaveImage", "inputs": {"images": ["2", 0]}}}')
        with pytest.raises(X2EditError, match=r"recipes\.bright"):
            made(loaded(path))


@pytest.mark.full
def test_memory_stays_level_over_many_records(tmp_path, monkeypatch):
    """100,000 records through the run, of which each ends at once: what grows with their number would show."""
    import tracemalloc

    from x2edit_core.data.faults import SampleError

    with editing() as server:
        config = replace(loaded(config_file(tmp_path, server.url, 1)), shard=256)
        shop = workshop(config)
    monkeypatch.setattr(shards, "finish", lambda *args: None)
    monkeypatch.setattr(Run, "_count", lambda *args: None)
    marks = []

    def sources():
        for number in range(100_000):
            if number % 20_000 == 0:
                marks.append(tracemalloc.get_traced_memory()[0])
            yield SampleError(f"record {number}")

    tracemalloc.start()
    try:
        assert Run(shop).run(sources()).records == 100_000
    finally:
        tracemalloc.stop()
    assert marks[-1] - marks[1] < 1 << 20, marks
