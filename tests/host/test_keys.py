"""Keys on a real host: bound in a file that it never serves, named by graphs, and sent to their own server only."""

from __future__ import annotations

import http.client
import json
import urllib.parse

import pytest

from x2edit_core.workflow.client import PromptError

from ..core.chat_server import Reply, completion, serving
from .runs import node

KEY = "sk-do-not-show-this"


@pytest.fixture
def llm():
    with serving() as fake:
        fake.script = [Reply(completion("remove subject"))]
        yield fake


@pytest.fixture
def bound(server, llm):
    """Writes the file as a person would."""
    file = server.base / "user" / "__x2edit" / "endpoints.json"
    file.parent.mkdir(parents=True, exist_ok=True)

    def write(content=None):
        content = {"office": {"url": llm.address, "key": KEY}} if content is None else content
        file.write_text(content if isinstance(content, str) else json.dumps(content))
        file.chmod(0o600)

    write()
    yield write
    file.unlink()


def offered(server):
    groups = server.object_info("X2EditChatFromEndpoint")["X2EditChatFromEndpoint"]["input"]
    return groups["optional"]["endpoint"][1]["options"]


def classify(instruction="take the dog away", **chat):
    inputs = {"base_url": "http://127.0.0.1:9/v1", "model": "m", "timeout": 5.0, "attempts": 1, **chat}
    return {
        "chat": node("X2EditChatFromEndpoint", **inputs),
        "task": node("X2EditClassify", instruction=instruction, chat=["chat", 0]),
        "name": node("PreviewAny", source=["task", 1]),
    }


def test_names_are_offered_and_keys_are_not(server, bound):
    assert offered(server) == ["none", "office"]
    assert KEY not in server.request("/object_info").decode() + server.log
    bound("not json")
    assert offered(server) == ["none"]
    assert "endpoints.json" in server.log and "cannot be used" in server.log


@pytest.mark.parametrize("header", [None, "__x2edit", "default", "../__x2edit", "__X2EDIT"])
def test_the_file_is_served_by_no_route(server, bound, header):
    places = [
        "endpoints.json",
        "__x2edit/endpoints.json",
        "../__x2edit/endpoints.json",
        "/../../user/__x2edit/endpoints.json",
    ]
    quoted = [urllib.parse.quote(place, safe="") for place in places]
    paths = [f"/userdata/{place}" for place in quoted]
    paths += [f"/{version}userdata?{key}={place}&recurse=true&full_info=true&split=false"
              for place in ["", *urllib_folders()] for version, key in (("", "dir"), ("v2/", "path"))]  # fmt: skip
    paths += [f"/view?filename=endpoints.json&subfolder={folder}&type={kind}"
              for folder in urllib_folders() for kind in ("output", "input", "temp")]  # fmt: skip
    paths += [f"/view?filename={place}&type=output" for place in quoted]
    paths += ["/user/__x2edit/endpoints.json", "/extensions/../user/__x2edit/endpoints.json"]
    for path in [*paths, *(f"/api{path}" for path in paths)]:
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
        connection.request("GET", path, headers={"Comfy-User": header} if header else {})
        body = connection.getresponse().read().decode("utf-8", "replace")
        connection.close()
        assert KEY not in body and "office" not in body, path


def urllib_folders():
    return [
        urllib.parse.quote(folder, safe="")
        for folder in ("__x2edit", "../__x2edit", "../user/__x2edit", "../../user/__x2edit")
    ]


def test_a_graph_that_names_an_endpoint_is_answered_by_it(server, bound, llm):
    result = server.run(classify(endpoint="office"))
    assert result.outputs["name"]["text"] == ["remove subject"]
    assert llm.headers[0]["Authorization"] == f"Bearer {KEY}"
    assert KEY not in json.dumps(server.history(result.prompt_id)) + server.log
    assert server.log.count("gets its key unencrypted") == 1, "it is said once in the log"


def test_an_endpoint_bound_anew_is_asked_at_its_new_address(server, bound, llm):
    with serving() as other:
        server.run(classify(endpoint="office"))
        bound({"office": {"url": other.address, "key": "another"}})
        server.run(classify("make it red", endpoint="office"))
        assert other.headers[0]["Authorization"] == "Bearer another"
    assert all(asked["Authorization"] == f"Bearer {KEY}" for asked in llm.headers)


def test_an_endpoint_that_is_not_bound_here_is_explained_before_the_run(server, bound):
    with pytest.raises(
        PromptError, match=r"No endpoint 'lab' is bound on this server; bound are: office\..*endpoints\.json"
    ):
        server.run(classify(endpoint="lab"))


@pytest.mark.parametrize("variable", ["OPENAI_API_KEY", "X2EDIT_SOMETHING", "X2EDIT_ENDPOINT_OFFICE_KEY"])
def test_a_strangers_graph_gets_no_key(pack, llm, monkeypatch, variable):
    monkeypatch.setenv(variable, KEY)
    with pytest.raises(ValueError, match=r"is not bound to|choose the name") as caught:
        pack.run("X2EditChatFromEndpoint", base_url=llm.address, model="m", key_variable=variable)
    assert KEY not in str(caught.value) and llm.requests == []


def test_an_old_graph_goes_on_where_its_address_is_bound(server, bound, llm):
    server.run(classify("old graph", base_url=llm.address, key_variable="LAN_API_KEY"))
    assert llm.headers[0]["Authorization"] == f"Bearer {KEY}"
    with pytest.raises(PromptError, match="LAN_API_KEY is not bound to http://127"):
        server.run(classify("old graph", base_url=f"{llm.address}/other", key_variable="LAN_API_KEY"))


def test_values_of_an_old_page_graph_keep_their_places(server):
    """The page stores them by position."""
    definition = server.object_info("X2EditChatFromEndpoint")["X2EditChatFromEndpoint"]
    order = [name for group in ("required", "optional") for name in definition["input"].get(group, {})]
    assert order == [
        "base_url", "model", "key_variable", "vision", "timeout", "attempts", "longest_image_side", "endpoint",
    ]  # fmt: skip


def test_without_system_folders_the_file_lies_beside_the_base_directory(pack, monkeypatch):
    import folder_paths

    endpoints = pack.core("comfy_bridge.endpoints")
    assert endpoints.endpoints_file().parent.name == "__x2edit"
    monkeypatch.delattr(folder_paths, "get_system_user_directory")
    found = endpoints.endpoints_file()
    assert found.parent.joinpath(pack.base.name).samefile(pack.base)
    assert found.name == "x2edit_endpoints.json"
