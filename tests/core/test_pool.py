"""Hosts that share work: how much each is given, who takes over, and who is left out and comes back."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from x2edit_core.evaluate.pooled import PooledEditor
from x2edit_core.evaluate.run import Evaluation
from x2edit_core.evaluate.scenes import scene_case
from x2edit_core.evaluate.scores import Scorer
from x2edit_core.scenes import make_case
from x2edit_core.tasks import Task
from x2edit_core.workflow.client import Client, HttpError, PromptError, ServerError
from x2edit_core.workflow.pool import Host, NoHostError, Pool

from .edit_server import GRAPH, editing


class Named(Client):
    """A host that is told apart by its name and answers its probe as it is set to."""

    def __init__(self, name):
        super().__init__(f"http://{name}")
        self.up = True

    def get_json(self, path):
        if not self.up:
            raise ServerError("down")
        return {}


def pool_of(*names, **options):
    return Pool(
        [Host(Named(name)) for name in names], **{"break_s": 0.0, "patience_s": 0.3, "probe_s": 0.05, **options}
    )


def test_another_host_takes_what_one_could_not_do_and_the_failing_one_is_left_out():
    pool, tried = pool_of("one", "two", probe_s=60.0), []

    def work(client):
        tried.append(client.url)
        if client.url == "http://one":
            raise ServerError("gone")
        return client.url

    assert {pool.run(work) for _ in range(20)} == {"http://two"}
    assert tried.count("http://one") == 3, "three faults in a row, and then no more"
    assert pool.hosts[0].away and (pool.hosts[1].done, pool.hosts[1].faults) == (20, 0)


def test_a_host_that_is_back_gets_work_again():
    pool = pool_of("one", patience_s=5.0)
    host, calls = pool.hosts[0], []

    def work(client):
        calls.append(client.up)
        if len(calls) <= 3:
            client.up = False
            raise ServerError("gone")
        return "done"

    threading.Timer(0.2, lambda: setattr(host.client, "up", True)).start()
    assert pool.run(work) == "done"
    assert calls == [True, False, False, True] and not host.away, "not asked for work before its probe answered"


def test_work_waits_no_longer_than_the_pools_patience():
    pool = pool_of("one", "two")

    def work(client):
        client.up = False
        raise ServerError("gone")

    with pytest.raises(NoHostError, match=r"http://one, http://two.*goes on"):
        pool.run(work)


def test_a_refusal_is_believed_when_a_second_host_says_the_same():
    pool, tried = pool_of("one", "two", "three"), []

    def work(client):
        tried.append(client.url)
        raise PromptError("no such model")

    with pytest.raises(PromptError, match="no such model"):
        pool.run(work)
    assert len(set(tried)) == len(tried) == 2 and not any(host.faults for host in pool.hosts)
    assert (
        pool_of("one", "two").run(lambda client: client.url if client.url == "http://two" else refuse()) == "http://two"
    )


def refuse():
    raise PromptError("here only")


def test_what_the_host_calls_a_bad_request_is_the_works_own_fault():
    def work(client):
        raise HttpError("/upload/image", 413, b"too large")

    pool = pool_of("one")
    with pytest.raises(PromptError, match="413"):
        pool.run(work)
    assert not pool.hosts[0].faults


def test_no_host_holds_more_than_its_depth_and_all_are_used():
    pool, running, most = pool_of("one", "two"), {"http://one": 0, "http://two": 0}, {}
    lock = threading.Lock()

    def work(client):
        with lock:
            running[client.url] += 1
            most[client.url] = max(most.get(client.url, 0), running[client.url])
        time.sleep(0.01)
        with lock:
            running[client.url] -= 1

    with ThreadPoolExecutor(12) as threads:
        list(threads.map(lambda _: pool.run(work), range(40)))
    assert most == {"http://one": 2, "http://two": 2}


def test_a_tag_that_no_host_carries_is_told_by_name():
    pool = Pool([Host(Named("one"), tags=frozenset({"flux"})), Host(Named("two"))])
    assert pool.run(lambda client: client.url, "flux") == "http://one"
    with pytest.raises(NoHostError, match=r"'kontext'.*carry: flux"):
        pool.run(lambda client: client.url, "kontext")


def test_an_evaluation_spreads_over_its_hosts_and_outlives_one_of_them(tmp_path):
    cases = [scene_case(make_case(seed, Task.TONE, "heldout", 32)) for seed in range(8)]
    with editing() as one, editing() as two:
        one.delay_s = two.delay_s = 0.02
        two.fault = lambda path: 0 if len(two.edits) >= 2 else None
        pool = Pool([Host(Client(server.url)) for server in (one, two)], break_s=0.0, patience_s=20.0)
        found = Evaluation(PooledEditor(pool, GRAPH), Scorer(lambda picture: picture), tmp_path).run(cases)
        assert [outcome.name for outcome in found] == [case.name for case in cases], "in the order of the cases"
        assert all(outcome.done for outcome in found) and len(two.edits) <= 3
        kept = len(one.edits)
        Evaluation(PooledEditor(pool, GRAPH), Scorer(lambda picture: picture), tmp_path).run(cases)
        assert len(one.edits) == kept
