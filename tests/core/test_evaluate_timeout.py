"""A case that takes too long ends its own prompt and nobody else's, whatever the host's version."""

from __future__ import annotations

import json

import pytest

from x2edit_core.evaluate.cases import Case
from x2edit_core.evaluate.editor import Editor
from x2edit_core.tasks import Task
from x2edit_core.workflow.client import Client, PromptError

GRAPH = {
    "1": {"class_type": "LoadImage", "inputs": {"image": "example.png"}},
    "2": {"class_type": "CLIPTextEncode", "inputs": {"text": "old words", "clip": ["9", 0]}},
    "3": {"class_type": "KSampler", "inputs": {"seed": 1, "positive": ["2", 0]}},
    "4": {"class_type": "SaveImage", "inputs": {"images": ["3", 0], "filename_prefix": "x"}},
}
MINE, OTHER = "mine", "another user's"


class SlowHost(Client):
    """Never finishes a prompt. `targeted`: its /interrupt heeds a prompt_id, as that of newer hosts does."""

    def __init__(self, running, targeted):
        super().__init__("http://127.0.0.1:1")
        self.running, self.waiting, self.targeted, self.interrupted = running, [], targeted, []

    def request(self, path, body=None, content_type=None):
        given = json.loads(body or b"{}") if content_type == "application/json" else {}
        if path == "/prompt":
            self.waiting += [MINE] if self.running else []
            self.running = self.running or MINE
            return b'{"prompt_id": "mine"}'
        if path == "/interrupt" and (not self.targeted or given.get("prompt_id") in (None, self.running)):
            self.interrupted.append(self.running)
        if path == "/queue" and body:
            self.waiting = [prompt for prompt in self.waiting if prompt not in given["delete"]]
        listed = {
            "queue_running": [[0, self.running, {}]],
            "queue_pending": [[1, prompt, {}] for prompt in self.waiting],
        }
        return json.dumps(listed if path == "/queue" else {"name": "a.png"} if "upload" in path else {}).encode()


def edit(host):
    case = Case("a", "make it red", "color", Task.COLOR, lambda: b"")
    with pytest.raises(PromptError, match="did not finish the graph within 0 s"):
        Editor(host, GRAPH, timeout=0).edit(case, b"", 0)


@pytest.mark.parametrize("targeted", [True, False], ids=["newer", "older"])
def test_while_another_prompt_runs_the_own_one_leaves_the_queue(targeted):
    host = SlowHost(OTHER, targeted)
    edit(host)
    assert (host.interrupted, host.waiting) == ([], [])


@pytest.mark.parametrize("targeted", [True, False], ids=["newer", "older"])
def test_the_own_prompt_is_stopped_where_it_runs(targeted):
    host = SlowHost(None, targeted)
    edit(host)
    assert host.interrupted == [MINE]


def test_interrupting_without_a_prompt_still_stops_whatever_runs():
    host = SlowHost(OTHER, targeted=True)
    host.interrupt()
    assert host.interrupted == [OTHER]
