"""Cases through the workflow on several hosts: each goes to whichever is free, and to another one where a host fails."""

from __future__ import annotations

import contextlib
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

from ..errors import X2EditError
from ..workflow.client import Client, Graph
from ..workflow.pool import Pool
from .cases import Case
from .editor import Editor, Queued
from .places import Places


@dataclass
class Begun:
    """A case on its way to a host, and once one has it, what to take back there."""

    result: Future[bytes] | None = None
    at: tuple[Editor, Queued] | None = None


@dataclass
class PooledEditor:
    """Edits as `Editor` does, on all hosts of `pool`; raises as it does, and `NoHostError` where none answers."""

    pool: Pool
    graph: Graph
    places: Places = field(default_factory=Places)
    timeout: float = 900.0

    def __post_init__(self) -> None:
        self._plain = self._on(self.pool.hosts[0].client)
        self._threads = ThreadPoolExecutor(self.ahead, "x2edit-evaluate")

    @property
    def ahead(self) -> int:
        """Cases that are begun while another one is scored."""
        return sum(host.depth for host in self.pool.hosts)

    def key(self, case: Case, source: bytes, seed: int) -> str:
        return self._plain.key(case, source, seed)

    def edit(self, case: Case, source: bytes, seed: int) -> bytes:
        return self.finish(self.begin(case, source, seed))

    def begin(self, case: Case, source: bytes, seed: int) -> Begun:
        begun = Begun()

        def work(client: Client) -> bytes:
            editor = self._on(client)
            begun.at = editor, editor.begin(case, source, seed)
            return editor.finish(begun.at[1])

        begun.result = self._threads.submit(self.pool.run, work)
        return begun

    def finish(self, begun: Begun) -> bytes:
        assert begun.result is not None
        return begun.result.result()

    def cancel(self, begun: Begun) -> None:
        """End its prompt, waiting or running, and begin no other one."""
        self.pool.stop()
        if begun.result is not None and not begun.result.cancel() and begun.at is not None:
            editor, queued = begun.at
            with contextlib.suppress(X2EditError):
                editor.cancel(queued)

    def _on(self, client: Client) -> Editor:
        return Editor(client, self.graph, self.places, self.timeout)
