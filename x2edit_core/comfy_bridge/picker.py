"""The person's judge on the host: routes for the page, an event that tells it to look, and the wait.

`GET /x2edit/choices?clientId=PAGE` lists the questions of the page that queued the run, without `clientId` those of all,
for programs; `GET /x2edit/choices/ID/K` is picture K of one as PNG, -1 the source; `POST /x2edit/choices/ID` with
`{"choice": K}` answers. The event `x2edit.choices` says how many are open, to every page, whenever that changes.
"""

from __future__ import annotations

from typing import Any

from ..choosing.judge import HumanJudge
from ..choosing.picker import WaitingRoom
from ..errors import X2EditError
from .host import comfy, server

EVENT = "x2edit.choices"
PATH = "/x2edit/choices"


def _notify() -> None:
    running = server()
    if running is not None:
        running.send_sync(EVENT, {"open": room.count()})


def _owner() -> str | None:
    """The page that queued what runs now; the host sets it before a prompt runs."""
    return getattr(server(), "client_id", None)


def _present(owner: str) -> bool:
    return owner in getattr(server(), "sockets", ())


room = WaitingRoom(
    _notify, lambda: comfy.model_management.throw_exception_if_processing_interrupted(), _owner, _present
)


def human_judge(timeout_s: float) -> HumanJudge:
    """A judge that asks in the page; raises `X2EditError` at the question where no page can be."""

    def ask(*question: Any) -> int | None:
        if server() is None:
            raise X2EditError("A person can be asked only while ComfyUI's server runs.")
        return room.ask(*question)

    return HumanJudge(ask, timeout_s)


def register_routes() -> None:
    """Add the routes to the server that is about to start; nothing happens without one."""
    running = server()
    if running is not None:
        running.routes.get(PATH)(_list)
        running.routes.get(PATH + "/{id}/{index}")(_picture)
        running.routes.post(PATH + "/{id}")(_answer)


async def _list(request: Any) -> Any:
    from aiohttp import web

    return web.json_response(room.questions(request.query.get("clientId")), headers={"X2Edit-Open": str(room.count())})


async def _picture(request: Any) -> Any:
    from aiohttp import web

    try:
        png = room.picture(request.match_info["id"], int(request.match_info["index"]))
    except ValueError as error:  # not a number, or an X2EditError
        return web.json_response({"error": str(error)}, status=404)
    return web.Response(body=png, content_type="image/png", headers={"Cache-Control": "no-store"})


async def _answer(request: Any) -> Any:
    from aiohttp import web

    try:
        choice = (await request.json())["choice"]
        if type(choice) is not int:
            raise TypeError
    except (ValueError, KeyError, TypeError, RecursionError):
        return web.json_response({"error": 'Expected JSON such as {"choice": 0}.'}, status=400)
    try:
        room.answer(request.match_info["id"], choice)
    except X2EditError as error:
        return web.json_response({"error": str(error)}, status=404)
    return web.json_response({"choice": choice})
