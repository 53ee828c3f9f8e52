"""Saved workflows in the API form, and the conversation with a host: what is broken is named."""

from __future__ import annotations

import json
import socket
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from x2edit_core.errors import X2EditError
from x2edit_core.workflow.client import Client, PromptError, ServerError, TimedOut
from x2edit_core.workflow.files import load_graph
from x2edit_core.workflow.graph import GraphError, to_api
from x2edit_core.workflow.websocket import WebSocket, WebSocketClosed

# --- graphs ------------------------------------------------------------------------------------------------------

INFO = {
    "Make": {"input": {"required": {"size": ["INT", {"default": 8}]}}, "output": ["IMAGE"], "display_name": "Make"},
    "Change": {"input": {"required": {"image": ["IMAGE", {}]}}, "output": ["IMAGE"], "display_name": "Change"},
    "Text": {"input": {"required": {"text": ["STRING", {"dynamicPrompts": True}]}}, "output": [], "display_name": ""},
}


def node(identity, kind, *, link=None, values=(), mode=0):
    inputs = [] if link is None else [{"name": "image", "type": "IMAGE", "link": link}]
    return {"id": identity, "type": kind, "mode": mode, "inputs": inputs, "outputs": [], "widgets_values": list(values)}


def test_unknown_node_is_named_unless_it_is_off():
    with pytest.raises(GraphError, match=r"Node 7: .*'Nowhere'"):
        to_api({"nodes": [node(7, "Nowhere")], "links": []}, INFO)
    assert to_api({"nodes": [node(7, "Nowhere", mode=2)], "links": []}, INFO) == {}


def test_broken_links_are_named():
    with pytest.raises(GraphError, match="Node 2: input 'image' names the missing link 5"):
        to_api({"nodes": [node(2, "Change", link=5)], "links": []}, INFO)
    with pytest.raises(GraphError, match="Node 2: input 'image' comes from the missing node 1"):
        to_api({"nodes": [node(2, "Change", link=5)], "links": [[5, 1, 0, 2, 0, "IMAGE"]]}, INFO)


def test_circle_of_bypassed_nodes_is_an_error_instead_of_a_hang():
    nodes = [node(1, "Change", link=2, mode=4), node(2, "Change", link=1, mode=4), node(3, "Change", link=3)]
    links = [[1, 1, 0, 2, 0, "IMAGE"], [2, 2, 0, 1, 0, "IMAGE"], [3, 2, 0, 3, 0, "IMAGE"]]
    with pytest.raises(GraphError, match="circle"):
        to_api({"nodes": nodes, "links": links}, INFO)


@pytest.mark.parametrize(
    ("written", "sent"),
    [
        ("a // comment\nb", "a \nb"),
        ("a /* two\nlines */ b", "a  b"),
        ("a {red|blue} cat", "a red cat"),
        ("{a {b|c}|d}", "a b"),
        (r"\{kept\|so\}", "{kept|so}"),
        ("plain", "plain"),
    ],
)
def test_text_is_read_as_the_page_reads_it(written, sent):
    prompt = to_api({"nodes": [node(1, "Text", values=[written])], "links": []}, INFO)
    assert prompt["1"]["inputs"] == {"text": sent}


MANY = {
    "Many": {
        "input": {
            "required": {"seed": ["INT", {"control_after_generate": True}], "name": ["STRING", {"default": "d"}]},
            "optional": {"mode": [["a", "b"]], "extra": ["FLOAT", {"default": 0.5}]},
        },
        "output": [],
    }
}


def test_values_saved_by_name_are_read_by_name():
    """As VideoHelperSuite saves them; what it adds for the page alone is left out, what it lacks is the default."""
    values = {"name": "clip", "seed": 7, "videopreview": {"hidden": False}, "mode": "b"}
    saved = {"id": 1, "type": "Many", "widgets_values": values}
    expected = {"seed": 7, "name": "clip", "mode": "b", "extra": 0.5}
    assert to_api({"nodes": [saved], "links": []}, MANY)["1"]["inputs"] == expected


def test_a_primitive_and_an_instance_take_values_by_name_too():
    primitive = {"id": 1, "type": "PrimitiveNode", "outputs": [{"type": "INT"}], "widgets_values": {"value": 5}}
    target = {"id": 2, "type": "Make", "widgets_values": {"size": 1},
              "inputs": [{"name": "size", "type": "INT", "link": 9, "widget": {"name": "size"}}]}  # fmt: skip
    graph = {"nodes": [primitive, target], "links": [[9, 1, 0, 2, 0, "INT"]]}
    assert to_api(graph, INFO)["2"]["inputs"] == {"size": 5}


def beside(*others, links=()):
    """A picture made by node 1 and changed by node 2, whose link 5 leads through the other nodes."""
    nodes = [node(1, "Make"), node(2, "Change", link=5), *others]
    return {"nodes": nodes, "links": [*links]}


DIRECT = [[5, 1, 0, 2, 0, "IMAGE"]]
CHANGED = {"image": ["1", 0]}


@pytest.mark.parametrize("properties", [{}, {"fontSize": 12}])
@pytest.mark.parametrize("kind", ["Label (rgthree)", "Bookmark (rgthree)", "A label of a pack that nobody knows"])
def test_a_label_that_nothing_is_connected_to_is_left_out(kind, properties):
    label = {"id": 3, "type": kind, "properties": properties, "outputs": [{"name": "", "type": "*", "links": None}]}
    assert to_api(beside(label, links=DIRECT), INFO)["2"]["inputs"] == CHANGED


def test_a_missing_node_of_a_host_is_no_label():
    missing = {"id": 3, "type": "SaveElsewhere", "properties": {"Node name for S&R": "SaveElsewhere"}}
    with pytest.raises(GraphError, match=r"Node 3: .*'SaveElsewhere'.*API form"):
        to_api(beside(missing, links=DIRECT), INFO)


def test_an_unknown_node_of_the_page_on_the_way_names_the_api_form():
    odd = {**node(3, "Odd", link=6), "properties": {}, "outputs": [{"type": "IMAGE", "links": [5]}]}
    with pytest.raises(GraphError, match=r"Node 3: .*'Odd'.*API form"):
        to_api(beside(odd, links=[[6, 1, 0, 3, 0, "IMAGE"], [5, 3, 0, 2, 0, "IMAGE"]]), INFO)


def test_another_packs_reroute_passes_on():
    reroute = {**node(3, "Reroute (rgthree)", link=6), "outputs": [{"type": "*", "links": [5]}]}
    graph = beside(reroute, links=[[6, 1, 0, 3, 0, "*"], [5, 3, 0, 2, 0, "*"]])
    assert to_api(graph, INFO).keys() == {"1", "2"}
    assert to_api(graph, INFO)["2"]["inputs"] == CHANGED


def named(setter, getter, values, more=()):
    parts = [
        {**node(3, setter, link=6, values=values), "outputs": [{"type": "IMAGE", "links": []}]},
        {
            "id": 4,
            "type": getter,
            "inputs": [],
            "outputs": [{"type": "IMAGE", "links": [5]}],
            "widgets_values": ["a name"],
        },
    ]
    return beside(*parts, *more, links=[[6, 1, 0, 3, 0, "IMAGE"], [5, 4, 0, 2, 0, "IMAGE"]])


@pytest.mark.parametrize(("setter", "getter"), [("SetNode", "GetNode"), ("easy setNode", "easy getNode")])
def test_a_link_by_name_is_a_link(setter, getter):
    assert to_api(named(setter, getter, ["a name"]), INFO)["2"]["inputs"] == CHANGED


def test_a_name_that_is_set_nowhere_or_twice_is_an_error():
    with pytest.raises(GraphError, match="Node 4: 0 nodes set 'a name'"):
        to_api(named("SetNode", "GetNode", ["another"]), INFO)
    twin = {**node(8, "SetNode", values=["a name"]), "inputs": [{"name": "image", "type": "IMAGE", "link": None}]}
    with pytest.raises(GraphError, match="Node 4: 2 nodes set 'a name'"):
        to_api(named("SetNode", "GetNode", ["a name"], [twin]), INFO)


def test_names_that_set_one_another_in_a_circle_are_an_error():
    setter = node(3, "SetNode", link=6, values=["a name"])
    getter = {"id": 4, "type": "GetNode", "outputs": [{"type": "*", "links": [6, 5]}], "widgets_values": ["a name"]}
    with pytest.raises(GraphError, match="circle"):
        to_api(beside(setter, getter, links=[[6, 4, 0, 3, 0, "*"], [5, 4, 0, 2, 0, "*"]]), INFO)


def test_a_getter_inside_a_subgraph_finds_the_setter_around_it():
    link = {"id": 1, "origin_id": 4, "origin_slot": 0, "target_id": 5, "target_slot": 0}
    getter = {"id": 4, "type": "GetNode", "outputs": [{"type": "*", "links": [1]}], "widgets_values": ["a name"]}
    inside = {"id": "sub", "name": "Inside", "links": [link], "nodes": [getter, node(5, "Change", link=1)]}
    nodes = [node(1, "Make"), node(3, "SetNode", link=6, values=["a name"]), {"id": 9, "type": "sub"}]
    graph = {"nodes": nodes, "links": [[6, 1, 0, 3, 0, "IMAGE"]], "definitions": {"subgraphs": [inside]}}
    assert to_api(graph, INFO)["9:5"]["inputs"] == CHANGED


def test_null_links_are_left_out():
    assert to_api(beside(links=[None, *DIRECT, None]), INFO)["2"]["inputs"] == CHANGED


@pytest.mark.parametrize("graph", [{}, {"nodes": None}, {"1": {"class_type": "Make", "inputs": {}}}, [], {"nodes": {}}])
def test_what_is_no_saved_workflow_is_said(graph):
    with pytest.raises(GraphError, match=r"no list of `nodes`.*API form"):
        to_api(graph, INFO)


@pytest.mark.parametrize("depth", [1, 2])
def test_a_subgraph_that_holds_itself_is_an_error(depth):
    definitions = [
        {"id": f"s{index}", "name": f"S{index}", "nodes": [{"id": 1, "type": f"s{(index + 1) % depth}"}]}
        for index in range(depth)
    ]
    with pytest.raises(GraphError, match="'S0' holds itself"):
        to_api({"nodes": [{"id": 1, "type": "s0"}], "definitions": {"subgraphs": definitions}}, INFO)


@pytest.mark.parametrize(
    "graph",
    [
        {"nodes": [{"id": 1}]},
        {"nodes": [None]},
        {"nodes": [node(1, "Make")], "links": [[1, 2]]},
        {"nodes": [node(1, "Make")], "links": [{"id": 3}]},
        {"nodes": [{"id": 1, "type": "Make", "widgets_values": 3}]},
    ],
)
def test_a_damaged_file_is_one_error(graph):
    with pytest.raises(GraphError, match="damaged"):
        to_api(graph, INFO)


# --- the WebSocket client ----------------------------------------------------------------------------------------


def frame(opcode, payload, final=True):
    head = bytes([(0x80 if final else 0) | opcode])
    if len(payload) < 126:
        return head + bytes([len(payload)]) + payload
    if len(payload) < 1 << 16:
        return head + b"\x7e" + len(payload).to_bytes(2, "big") + payload
    return head + b"\x7f" + len(payload).to_bytes(8, "big") + payload


@pytest.fixture
def speak():
    """Serve one connection with the given bytes after the handshake; what the client sent back is returned later."""
    listener = socket.create_server(("127.0.0.1", 0))
    received: list[bytes] = []

    def start(answer, status=b"101 Switching Protocols"):
        def serve():
            peer, _ = listener.accept()
            with peer:
                while not peer.recv(4096).endswith(b"\r\n\r\n"):
                    pass
                peer.sendall(b"HTTP/1.1 " + status + b"\r\nUpgrade: websocket\r\n\r\n" + answer)
                peer.shutdown(socket.SHUT_WR)
                while data := peer.recv(4096):
                    received.append(data)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        return listener.getsockname()[1], thread

    yield start, received
    listener.close()


def test_messages_of_every_length_and_kind_arrive_whole(speak):
    start, _ = speak
    long, longer = "x" * 300, "y" * 70_000
    answer = (
        frame(1, b"short")
        + frame(1, long.encode())
        + frame(1, b"in ", final=False)
        + frame(9, b"ping between the parts")
        + frame(0, "zwei Stücken".encode())
        + frame(2, b"\x00\x01")
        + frame(1, longer.encode())
        + frame(8, b"")
    )
    port, _ = start(answer)
    connection = WebSocket("127.0.0.1", port, "/ws")
    assert list(connection.messages()) == ["short", long, "in zwei Stücken", b"\x00\x01", longer]
    connection.close()


def test_ping_is_answered_masked_with_its_own_payload(speak):
    start, received = speak
    port, thread = start(frame(9, b"are you there") + frame(8, b""))
    connection = WebSocket("127.0.0.1", port, "/ws")
    assert list(connection.messages()) == []
    connection.close()
    thread.join(10)
    sent = b"".join(received)
    assert sent[0] == 0x8A
    assert sent[1] == 0x80 | len(b"are you there")
    mask, body = sent[2:6], sent[6 : 6 + len(b"are you there")]
    assert bytes(b ^ mask[i % 4] for i, b in enumerate(body)) == b"are you there"


def test_cut_connection_ends_the_messages(speak):
    start, _ = speak
    port, _ = start(frame(1, b"whole") + b"\x81\x7e\x01")
    connection = WebSocket("127.0.0.1", port, "/ws")
    assert list(connection.messages()) == ["whole"]


def test_refused_upgrade_is_an_error(speak):
    start, _ = speak
    port, _ = start(b"", status=b"404 Not Found")
    with pytest.raises(WebSocketClosed, match="404"):
        WebSocket("127.0.0.1", port, "/ws")


# --- the client --------------------------------------------------------------------------------------------------


@pytest.fixture
def host():
    """A server that answers each path with the status and the object that `replies` holds for it."""
    replies = {}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            status, body = replies[self.path]
            self.send_response(status)
            self.end_headers()
            self.wfile.write(json.dumps(body).encode())

        def do_POST(self):
            self.rfile.read(int(self.headers["Content-Length"]))
            self.do_GET()

        def log_message(self, format, *args):
            """Quiet."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield replies, Client(f"http://127.0.0.1:{server.server_port}/")
    server.shutdown()
    server.server_close()


def test_an_address_must_be_one():
    with pytest.raises(ServerError, match="something like http://127"):
        Client("127.0.0.1:8188")


def test_a_host_that_is_not_there_is_named():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with pytest.raises(ServerError, match=f"host at http://127.0.0.1:{port} did not answer /object_info"):
        Client(f"http://127.0.0.1:{port}").object_info()


def test_a_refused_graph_names_its_node(host):
    replies, client = host
    errors = [{"message": "Value not in list", "details": "task: 'x'"}]
    replies["/prompt"] = (400, {"error": {}, "node_errors": {"8": {"errors": errors, "class_type": "X2EditTask"}}})
    with pytest.raises(PromptError, match=r"Node 8 \(X2EditTask\): Value not in list: task: 'x'"):
        client.run({"8": {"class_type": "X2EditTask", "inputs": {}}})


def test_a_graph_that_does_not_end_is_given_up(host):
    replies, client = host
    replies["/prompt"], replies["/history/7"] = (200, {"prompt_id": "7"}), (200, {})
    with pytest.raises(TimedOut, match="did not finish the graph within 0 s"):
        client.run({}, timeout=0)


def test_uploads_to_the_temporary_folder_are_marked_for_loading(host):
    replies, client = host
    replies["/upload/image"] = (200, {"name": "a.png", "subfolder": "", "type": "temp"})
    assert client.upload("a.png", b"", "temp") == "a.png [temp]"
    assert client.upload("a.png", b"") == "a.png"


class NoHost:
    """A graph in the API's form needs nothing of the host."""

    def object_info(self):
        raise AssertionError


API_GRAPH = {"1": {"class_type": "LoadImage", "inputs": {"image": "a.png"}}}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_the_apis_form_is_taken_as_it_is(tmp_path, encoding):
    (tmp_path / "a.json").write_text(json.dumps(API_GRAPH), encoding=encoding)
    assert load_graph(tmp_path / "a.json", NoHost()) == API_GRAPH


@pytest.mark.parametrize(
    "text", ["[]", "{}", "3", '["nodes"]', '{"1": {"inputs": {}}}', '{"prompt": 1}', "{", "[" * 100_000]
)
def test_what_is_no_workflow_is_told_by_its_file(tmp_path, text):
    (tmp_path / "a.json").write_text(text, encoding="utf-8")
    with pytest.raises(X2EditError, match=r"a\.json (is no|cannot be read as a) workflow"):
        load_graph(tmp_path / "a.json", NoHost())
