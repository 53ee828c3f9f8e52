"""Answers in every shape that servers were reported to send, through a real server: to the judge, the classifier, the score."""

from __future__ import annotations

import gzip
import json
import math
import sys
import zlib

import pytest
import torch

from x2edit_core.chat import ChatError, Message
from x2edit_core.chat.endpoint import EndpointChat
from x2edit_core.chat.transport import Limits
from x2edit_core.choosing.judge import ChatJudge, EditScore, ScoreJudge
from x2edit_core.classify import classify
from x2edit_core.tasks import TASK_NAMES, Task

from .chat_server import Reply, completion, serving

QUICK = Limits(timeout_s=5.0, attempts=3, first_wait_s=0.01, longest_wait_s=0.5, reply_bytes=64 * 1024)
HELLO = [Message("user", "Hello")]
PICTURES = [torch.full((8, 8, 3), shade) for shade in (0.0, 0.4, 0.8)]
MARKS = '{"score": [7, 8], "reason": "it is gone"}'


@pytest.fixture
def server():
    with serving() as server:
        yield server


@pytest.fixture
def chat(server):
    return EndpointChat(server.address, "tiny", vision=True, limits=QUICK)


def words_of(asked):
    """The first question of a request."""
    content = asked["messages"][0]["content"]
    return content if isinstance(content, str) else content[-1]["text"]


def right_words(asked):
    """What a model that understood the question would say."""
    text = words_of(asked)
    if text.startswith("Sort one"):
        return "remove subject"
    if "Rate two things" in text:
        return MARKS
    return "2. The dog is gone."


def judged(chat):
    return ChatJudge(chat, debias=False).compare(*PICTURES, "take the dog away")


def check_everyone(chat):
    """All three get from this server what its model means."""
    verdict = judged(chat)
    assert (verdict.choice, verdict.fault) == ("B", "")
    found = classify("x", chat)
    assert (found.task, found.warning) == (Task.REMOVE, None)
    assert ScoreJudge(chat).rate(*PICTURES[:2], "take the dog away") == EditScore(7, 8, 7, 8, "it is gone")


def check_nobody(chat, match):
    """None of the three takes this for an answer, and each says why."""
    verdict = judged(chat)
    assert verdict.choice == "tie" and match in verdict.fault
    found = classify("remove the dog", chat)
    assert match in (found.warning or "") and "built-in reader decided" in (found.warning or "")
    with pytest.raises(ChatError) as caught:
        ScoreJudge(chat).rate(*PICTURES[:2], "take the dog away")
    assert match in str(caught.value)


def fields(**message):
    return {"choices": [{"message": {"role": "assistant", **message}, "finish_reason": "stop"}]}


def streamed(text, finish="stop", field="content"):
    pieces = [{"choices": [{"delta": {field: c}, "finish_reason": None}]} for c in text]
    events = [*pieces, {"choices": [{"delta": {}, "finish_reason": finish}]}, {"choices": [], "usage": {}}]
    lines = [f"data: {json.dumps(event)}\n\n" for event in events]
    return (": comment\n\n" + "".join(lines) + "data: [DONE]\n\n").encode()


SHAPES = {
    "plain": lambda text: completion(text),
    "parts": lambda text: completion([{"type": "text", "text": text[:3]}, {"type": "output_text", "text": text[3:]}]),
    "thinking part": lambda text: completion(
        [{"type": "thinking", "thinking": [{"type": "text", "text": "1? no"}]}, {"type": "text", "text": text}]
    ),
    "answer in reasoning_content": lambda text: fields(content=None, reasoning_content=text),
    "answer in reasoning": lambda text: fields(content="", reasoning=text),
    "answer behind thoughts in reasoning": lambda text: fields(content=None, reasoning_content=f"1? no</think>{text}"),
    "thoughts apart": lambda text: fields(content=text, reasoning_content="1. Look at edit 1.\n2. Look at edit 2."),
    "legacy text": lambda text: {"choices": [{"text": text, "finish_reason": "stop"}]},
    "error null": lambda text: {"error": None, **completion(text)},
    "byte order mark": lambda text: b"\xef\xbb\xbf" + json.dumps(completion(text)).encode(),
    "stream": streamed,
    "stream with other line ends": lambda text: streamed(text).replace(b"\n", b"\r\n"),
    "stream of one piece": lambda text: b"data: " + json.dumps(completion(f"{text}\u2028"), ensure_ascii=False).encode(),
    "end mark": lambda text: completion(f"{text}<|im_end|>"),
    "escapes": lambda text: completion(f"\x1b[0m{text}".replace("[0m", "")),
    **{
        f"thoughts {opened}": lambda text, opened=opened, closed=closed: completion(f"{opened}1? no, not 1{closed}\n{text}")
        for opened, closed in [
            ("<think>", "</think>"), ("<thinking>", "</thinking>"), ("[THINK]", "[/THINK]"), ("◁think▷", "◁/think▷"),
            ("<seed:think>", "</seed:think>"), ("<|START_THINKING|>", "<|END_THINKING|>"), ("", "</think>"),
            ("", "◁/think▷"), ("<|channel|>analysis<|message|>", "<|end|><|start|>assistant<|channel|>final<|message|>"),
            ("<|channel>thought\n", "<channel|>"), ("<unused94>thought\n", "<unused95>"),
        ]
    },
    **{
        f"box {opened}": lambda text, opened=opened, closed=closed: completion(f"Here: {opened}{text}{closed}")
        for opened, closed in [
            ("<|begin_of_box|>", "<|end_of_box|>"), ("<answer>", "</answer>"),
            ("<|START_RESPONSE|>", "<|END_RESPONSE|>"),
        ]
    },
}  # fmt: skip


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_an_answer_is_found_in_whatever_shape(server, chat, shape):
    server.script = [lambda asked: Reply(shape(right_words(asked)))]
    check_everyone(chat)


@pytest.mark.parametrize(
    ("encoding", "pack"),
    [("gzip", gzip.compress), ("deflate", zlib.compress), ("", gzip.compress)],
    ids=["gzip", "deflate", "undeclared"],
)
def test_compressed_bodies_are_read(server, chat, encoding, pack):
    headers = {"Content-Encoding": encoding} if encoding else {}
    server.script = [lambda asked: Reply(pack(json.dumps(completion(right_words(asked))).encode()), headers=headers)]
    check_everyone(chat)


def test_a_compressed_body_is_bounded_by_what_it_unpacks_to(server, chat):
    server.script = [Reply(gzip.compress(b" " * 10_000_000), headers={"Content-Encoding": "gzip"})]
    with pytest.raises(ChatError) as caught:
        chat.generate(HELLO)
    assert caught.value.fault == "too_large"


NO_ANSWERS = {
    "refusal": (fields(content=None, refusal="I can't rate people."), "I can't rate people."),
    "filter": (completion("", finish_reason="content_filter"), "content filter"),
    "cut off": (completion(None, finish_reason="length"), "ran out of tokens"),
    "cut off thought": (completion("<think>1? or 2", finish_reason="length"), "ran out of tokens"),
    "cut off thoughts apart": (
        {"choices": [{"message": {"content": None, "reasoning_content": "1"}, "finish_reason": "length"}]},
        "ran out of tokens",
    ),
    "no text": (completion(""), "without text"),
    "page": (b"<html><head><title>Sign in</title></head><body>1</body></html>", "not JSON"),
    "broken gzip": (b"\x1f\x8b\x08 broken", "broken"),
    "broken stream": (streamed("2. x").rpartition(b"data: {\"choices\": [{\"delta\": {}")[0], "broke off"),
    "error": ({"error": {"message": "model crashed", "code": 400}}, "model crashed"),
    "error as text": ({"error": "model crashed"}, "model crashed"),
    "error list": ([{"error": {"message": "model crashed"}}], "model crashed"),
    "error beside an answer": ({"error": {"message": "model crashed"}, **completion("1")}, "model crashed"),
    "error in a choice": (
        {"choices": [{"error": {"message": "model crashed", "code": 400}, "message": {"content": "1"}}]}, "model crashed",
    ),
    "error in a stream": (b'data: {"error": {"message": "model crashed"}}\n\ndata: [DONE]\n', "model crashed"),
    "error of vLLM": ({"object": "error", "message": "model crashed", "type": "BadRequestError", "code": 400}, "model crashed"),
    "detail": ({"detail": "model crashed"}, "model crashed"),
}  # fmt: skip


@pytest.mark.parametrize(("body", "match"), NO_ANSWERS.values(), ids=NO_ANSWERS)
def test_what_is_no_answer_is_none_and_says_why(server, chat, body, match):
    server.script = [Reply(body)]
    check_nobody(chat, match)


@pytest.mark.parametrize("piece", ["1.", "<think></think>", '{"score": [', "\n2", "Task: "])
def test_an_endless_reply_is_read_from_its_end(server, piece):
    """Megabytes of what each reader looks for: an answer must come, whatever it is."""
    server.script = [Reply(completion(piece * (2_000_000 // len(piece))))]
    chat = EndpointChat(server.address, "tiny", vision=True, limits=Limits(timeout_s=60.0, attempts=1))
    assert len(chat.generate(HELLO) if piece[0] != "<" else "") <= 100_000
    assert judged(chat).choice in ("A", "B", "tie")
    assert ScoreJudge(chat).compare(*PICTURES, "x").fault
    assert classify("remove the dog", chat).task is Task.REMOVE


# likelihoods


def told(table, text="", **entry):
    top = [{"token": token, "logprob": value} for token, value in table.items()]
    return completion(text, logprobs={"content": [{"token": "x", "logprob": -9.0, "top_logprobs": top, **entry}]})


ALONE = {"token": "2", "logprob": -0.1}


def either(likely, words):
    """A server that answers a question for likelihoods with one reply and any other with words."""
    return lambda asked: Reply(likely if asked.get("logprobs") else completion(words))


def test_a_label_of_several_tokens_is_never_scored_by_its_beginning(server, chat):
    """The likeliest first tokens of "remove subject" begin many labels; `subject` alone is a token."""
    table = {"remove": -0.05, "subject": -3.2, "text": -6.0, "tone": -7.0, "color": -8.0}
    server.script = [either(told(table), "remove subject")]
    found = classify("take the dog away", chat)
    assert (found.task, found.warning) == (Task.REMOVE, None)
    assert chat.score(HELLO, TASK_NAMES) is None
    assert chat.score(HELLO, ["remove", "replace"]) is None


@pytest.mark.parametrize("label", [task.english for task in Task])
def test_every_label_is_found_behind_likelihoods(server, chat, label):
    server.script = [either(told({label.split()[0]: -0.1, "subject": -2.5}), label)]
    assert classify("x", chat).task.english == label


@pytest.mark.parametrize(
    "table",
    [
        {"<think>": -0.001, "2": -16.5, "1": -17.25},
        {"\n\n": -0.01, "The": -5.0, "2": -9.0, "1": -8.0},
        {"**": -0.3, "1": -1.5, "2": -6.0},
        {"1": -1.0, "Edit": -0.5},
        {"1": -0.9999},
    ],
    ids=["thinking", "line break", "bold", "hardly", "alone and hardly"],
)
def test_digits_that_the_model_would_hardly_say_do_not_decide(server, chat, table):
    server.script = [either(told(table), "2. Sharper.")]
    verdict = judged(chat)
    assert (verdict.choice, verdict.reason) == ("B", "Sharper.")


@pytest.mark.parametrize(
    "likely",
    [
        told({"2": -0.1, "1": -3.0}),
        told({" 2": -0.1, " 1": -3.0}),
        told({"▁2": -0.1, "▁1": -3.0}),
        told({"Ġ2": -0.1, "Ġ1": -3.0}),
        told({"2": -0.1}),
        told({}, **ALONE, top_logprobs=[]),
        told({}, **ALONE, top_logprobs=None),
        told({}, top_logprobs=[{"token": "token_id:17", "logprob": -0.1, "bytes": [50]}]),
        completion("2", logprobs={"tokens": ["2"], "token_logprobs": [-0.1], "top_logprobs": [{"2": -0.1, "1": -3.0}]}),
        completion("2", logprobs={"tokens": [" 2"], "token_logprobs": [-0.1], "top_logprobs": None}),
    ],
    ids=[
        "plain",
        "space",
        "sentencepiece",
        "bytes of gpt",
        "short",
        "empty",
        "null",
        "by bytes",
        "legacy",
        "legacy alone",
    ],
)
def test_likelihoods_decide_in_every_form(server, chat, likely):
    server.script = [either(likely, "1")]
    assert judged(chat).choice == "B"
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    "likely",
    [
        completion("1", logprobs={"content": None}),
        completion("1", logprobs={"content": []}),
        completion("1", logprobs={}),
        completion("1", logprobs=[]),
        told({"1": 0.9, "2": 0.1}),
        told({"1": None}),
        told({}, top_logprobs=[{"token": "1", "logprob": -0.1, "bytes": [300]}]),
        told({"1": float("nan"), "2": float("nan")}),
        {"choices": []},
    ],
)
def test_numbers_that_are_none_lead_to_words(server, chat, likely):
    server.script = [either(likely, "2")]
    assert judged(chat).choice == "B"


def test_an_answer_that_was_not_told_gets_the_most_that_it_can_have(server, chat):
    server.script = [Reply(told({"1": math.log(0.9), "x": math.log(0.04)}))]
    one, two = chat.score(HELLO, ["1", "2"])
    assert (one, two) == pytest.approx((math.log(0.9), math.log(0.04)))
    server.script = [Reply(told({"1": math.log(0.9)}))]
    assert chat.score(HELLO, ["1", "2"])[1] == pytest.approx(math.log(0.1))


# refusals


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (403, {"error": {"message": "You are not allowed to request logprobs from this model", "code": None}}),
        (400, [{"error": {"code": 400, "message": "Logprobs is not enabled for models/gemini", "status": "INVALID_ARGUMENT"}}]),
        (400, {"error": {"message": "Unknown name", "param": "top_logprobs"}}),
        (422, {"detail": [{"loc": ["body", "logprobs"], "msg": "extra fields not permitted"}]}),
        (500, {"error": "log probabilities are not implemented"}),
        (501, b"LogProbs: not supported"),
        (200, {"error": {"message": "this provider does not support 'logprobs'"}}),
    ],
    ids=lambda value: str(value) if isinstance(value, int) else "",
)  # fmt: skip
def test_a_server_without_likelihoods_is_asked_in_words_and_not_asked_for_them_again(server, chat, status, body):
    server.script = [
        lambda asked: Reply(body, status) if "logprobs" in asked else Reply(completion(right_words(asked)))
    ]
    for _ in range(2):
        assert judged(chat).choice == "B"
    assert [("logprobs" in asked) for asked in server.requests] == [True, False, False]


def test_a_limit_of_likelihoods_is_kept(server, chat):
    def five(asked):
        if asked.get("top_logprobs", 0) > 5:
            return Reply({"error": {"message": "top_logprobs must be between 0 and 5"}}, 400)
        return Reply(told({"2": -0.1, "1": -3.0}))

    server.script = [five]
    assert judged(chat).choice == judged(chat).choice == "B"
    assert [asked["top_logprobs"] for asked in server.requests] == [20, 5, 5]


REFUSALS = {
    "key": (401, {"error": {"message": "Incorrect API key provided: sk-ab***yz."}}, "authentication", "refused the key"),
    "key of Google": (400, [{"error": {"message": "API key not valid. Pass a valid one."}}], "authentication", "key"),
    "rights": (403, {"error": {"message": "Project lacks access to model gpt-9"}}, "rights", "lacks access to model gpt-9"),
    "quota": (429, {"error": {"message": "You exceeded your current quota", "code": "insufficient_quota"}}, "quota", "quota"),
    "credit": (400, {"error": {"message": "Your credit balance is too low"}}, "quota", "credit balance is too low"),
    "payment": (402, {"error": {"message": "Top up"}}, "quota", "Top up"),
    "quota inside 200": (200, {"error": {"message": "Insufficient credits", "code": 402}}, "quota", "Insufficient credits"),
    "key inside 200": (200, {"error": {"message": "No auth credentials found", "code": 401}}, "authentication", "the key"),
    "field": (400, {"error": {"message": "Unknown value for 'max_tokens'"}}, "rejected", "a field"),
    "missing": (404, {"error": {"message": "no such model"}}, "rejected", "was not found"),
    "page": (403, b"<html><head><title>Just a moment</title><style>x</style></head></html>", "rights", "Just a moment"),
    "page without title": (502, b"<html><body><h1>Bad Gateway</h1></body></html>", "server", "Bad Gateway"),
    "broken model": (500, {"error": "failed to load model: out of memory"}, "server", "out of memory"),
    "size": (413, b"", "too_large", "too large"),
    "blind of llama.cpp": (500, {"error": {"message": "image input is not supported - hint: provide the mmproj"}}, "rejected",
                           "sees no pictures"),
    "blind of OpenRouter": (404, {"error": {"message": "No endpoints found that support image input", "code": 404}}, "rejected",
                            "sees no pictures"),
    "named like a field": (404, {"error": {"message": "The model 'Seed 1.6' does not exist"}}, "rejected", "was not found"),
    "a proxy's": (200, {"error": {"message": "Forbidden", "code": "403"}}, "rights", "Forbidden"),
    "deep": (400, b'{"error":' * 3000, "rejected", "refused the request"),
}  # fmt: skip


@pytest.mark.parametrize(("status", "body", "fault", "match"), REFUSALS.values(), ids=REFUSALS)
def test_refusals_are_told_apart_by_what_they_mean(server, chat, status, body, fault, match):
    server.script = [Reply(body, status)]
    with pytest.raises(ChatError) as caught:
        chat.generate(HELLO)
    assert caught.value.fault == fault
    assert match in str(caught.value)
    assert "sk-ab" not in str(caught.value)
    assert len(server.requests) == (3 if fault == "server" else 1)
    check_nobody(chat, match)


def test_a_quota_of_the_minute_is_waited_for(server, chat):
    message = "You exceeded your current quota, please check your plan and billing details. Please retry in 0.4s."
    server.script = [Reply({"error": {"code": 429, "message": message}}, 429), Reply(completion("at last"))]
    assert chat.generate(HELLO) == "at last"


@pytest.mark.parametrize("code", [429, 503])
def test_a_passing_error_inside_a_reply_is_tried_again(server, chat, code):
    server.script = [Reply({"error": {"message": "busy", "code": code}}), Reply(completion("at last"))]
    assert chat.generate(HELLO) == "at last"


def test_a_server_cannot_write_to_the_terminal(server, chat):
    server.script = [Reply({"error": {"message": "\x1b]0;title\x07\x1b[2J\u202egone"}}, 400)]
    with pytest.raises(ChatError) as caught:
        chat.generate(HELLO)
    assert str(caught.value).isprintable() and "gone" in str(caught.value)
    server.script = [Reply(completion("2. \x1b[2JThe dog\x07 is \u202egone."))]
    assert judged(chat).reason.isprintable()


LOADING = [
    {"error": {"code": 503, "message": "Loading model", "type": "unavailable_error"}},
    {"error": "Model tiny/vision is currently loading", "estimated_time": 20.0},
]


@pytest.mark.parametrize("body", LOADING)
def test_a_server_that_loads_its_model_is_waited_for(server, body):
    """Longer than all its attempts together would wait: loading costs none."""
    chat = EndpointChat(server.address, "tiny", limits=Limits(timeout_s=30.0, attempts=2, first_wait_s=0.01))
    server.script = [*[Reply(body, 503)] * 6, Reply(completion("ready"))]
    assert chat.generate(HELLO) == "ready"
    assert len(server.requests) == 7


def test_patience_with_a_loading_server_ends_with_the_time_out(server):
    chat = EndpointChat(server.address, "tiny", limits=Limits(timeout_s=0.5, attempts=1, first_wait_s=0.1))
    server.script = [Reply(LOADING[0], 503)]
    with pytest.raises(ChatError, match=r"still loading its model.*Loading model") as caught:
        chat.generate(HELLO)
    assert caught.value.fault == "loading"
    assert len(server.requests) > 1


# thinking


def thinker(needed, effort=("none", "low", "medium"), understood=True):
    """A model that needs so many tokens for its thoughts unless a `reasoning_effort` that it knows stops it."""

    def answer(asked):
        wanted = asked.get("reasoning_effort")
        if wanted is not None and wanted not in effort:
            return Reply(
                {"error": {"message": f"Unsupported value: 'reasoning_effort' does not support '{wanted}'"}}, 400
            )
        thoughts = "1. Look at edit 1.\n2. Look at edit 2."
        if not (wanted and understood) and asked["max_tokens"] < needed:
            return Reply({"choices": [{"message": {"content": "", "reasoning": thoughts}, "finish_reason": "length"}]})
        return Reply(fields(content=right_words(asked), reasoning=thoughts))

    return answer


@pytest.mark.parametrize(
    "model",
    [
        thinker(10_000),
        thinker(10_000, effort=("low",)),
        thinker(4_000, effort=()),
        thinker(16_000, understood=False),
    ],
    ids=["none", "low", "refused", "ignored"],
)
def test_a_model_that_thinks_gets_the_room_or_is_kept_from_it(server, chat, model):
    server.script = [model]
    check_everyone(chat)
    asked = len(server.requests)
    judged(chat)
    assert len(server.requests) == asked + 1, "what was learnt is kept"


def test_a_model_that_does_not_think_is_not_told_how_much(server, chat):
    server.script = [lambda asked: Reply(completion(right_words(asked)))]
    check_everyone(chat)
    assert not any("reasoning_effort" in asked for asked in server.requests)
    assert max(asked["max_tokens"] for asked in server.requests) < 1024


def test_room_that_the_server_does_not_have_leaves_the_true_reason(server, chat):
    def small(asked):
        if asked["max_tokens"] > 2048:
            return Reply({"error": {"message": "max_tokens is too large: the context has 2048 tokens"}}, 400)
        return Reply(completion("<think>1?", finish_reason="length"))

    server.script = [small]
    for _ in range(2):
        with pytest.raises(ChatError, match="ran out of tokens"):
            chat.generate(HELLO)


def test_a_refusal_for_lack_of_room_is_given_more(server, chat):
    def strict(asked):
        message = "Could not finish the message because max_tokens or model output limit was reached."
        if asked["max_tokens"] < 4096:
            return Reply({"error": {"message": message}}, 400)
        return Reply(completion(right_words(asked)))

    server.script = [strict]
    check_everyone(chat)


def test_thoughts_alone_are_not_taken_for_an_answer(server, chat):
    server.script = [
        Reply(fields(content="", reasoning_content="1. Look at edit 1.\n2. Look at edit 2.\nHard to say."))
    ]
    assert judged(chat).fault


# one picture at a time


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (500, "This model supports a single image per message"),
        (400, "At most 1 image(s) may be provided in one request."),
        (
            400,
            "You set image=1 (or defaulted to 1) in `--limit-mm-per-prompt`, but passed 3 image items in the same prompt.",
        ),
        (422, "Too many images"),
    ],
)
def test_a_server_of_one_picture_gets_them_on_one_sheet(server, chat, status, message):
    def pictures(asked):
        return [part for part in asked["messages"][0]["content"] if part["type"] == "image_url"]

    def one(asked):
        if isinstance(asked["messages"][0]["content"], list) and len(pictures(asked)) > 1:
            return Reply({"error": {"message": message}}, status)
        return Reply(completion(right_words(asked) if "Sort one" in words_of(asked) else _behind_the_note(asked)))

    def _behind_the_note(asked):
        text = words_of(asked)
        assert ("picture 1 at the top left" in text) == ("one picture that a program made" not in text)
        return MARKS if "Rate two things" in text else "2. The dog is gone."

    server.script = [one]
    check_everyone(chat)
    assert (
        sum(len(pictures(asked)) > 1 for asked in server.requests if isinstance(asked["messages"][0]["content"], list))
        == 1
    )


def test_refusals_of_one_picture_are_not_asked_for_ever(server, chat):
    server.script = [Reply({"error": {"message": "single image per message"}}, 500)]
    assert "single image" in judged(chat).fault
    assert len(server.requests) <= 4


# marks


@pytest.mark.parametrize(
    "reply",
    [
        '{"score": [7, 8], "reason": "the "red" car is gone"}',
        '{"score": [7, 8], "reason": "a raw\nline break"}',
        '{"score": [7, 8], "reason": "",}',
        "{'score': [7, 8], 'reason': 'fine'}",
        'Set {source} beside {edit}: {"score": [7, 8], "reason": "{fine}"}',
        '{"score": [7, 8], "reason": "cut off in the mid',
        '```json\n{\n  "score": [7.0, "8"],\n  "reason": "fine"\n}\n```',
        "{score: [7, 8], reason: fine}",
        '{“score”：［７，８］，“reason”："好"}',
        '{"result": {"score": [7, 8]}}',
        '{"Score": [7, 8]}',
        '{"score": (7, 8)}',
    ],
)
def test_marks_are_read_as_they_stand(server, chat, reply):
    pytest.importorskip("json_repair")
    server.script = [Reply(completion(reply))]
    score = ScoreJudge(chat).rate(*PICTURES[:2], "x")
    assert (score.following, score.preservation, score.naturalness, score.cleanness) == (7, 8, 7, 8)
    assert len(server.requests) == 2


@pytest.mark.parametrize(
    "reply",
    [
        '{"score": [7, 1',
        '{"score": [7, 10',
        '{"score": [7',
        '{"score": [7], "reason": "x",}',
        '{"score": [7, ], "reason": "x"}',
        '{"score": [7,,8], "reason": "x",}',
        '{"score": [7, null], "reason": "x"}',
        '{"score": [7, true], "reason": "x"}',
        '{"score": [7, 11], "reason": "x",}',
        '{"score": [-7, 8], "reason": "x",}',
        '{"score": [7-8, 8], "reason": "x",}',
        '{"score": [1,000, 8], "reason": "x",}',
        '{"score": ["seven", "eight"], "reason": "x"}',
        '{"score": "7, 8"}',
        '{"score": [first, second], "reason": "one short sentence"}',
        '{"score": [7, 8]} or rather {"score": [3, 8]}',
        '{"reason": "the score is [7, 8]"}',
        "[7, 8]",
        '{"score": [1e400, 3]}',
        '{"score":' * 3000,
    ],
)
def test_a_repair_invents_no_mark(server, chat, reply):
    server.script = [Reply(completion(reply))]
    with pytest.raises(ChatError, match="no usable answer"):
        ScoreJudge(chat).rate(*PICTURES[:2], "x")
    assert ScoreJudge(chat).compare(*PICTURES, "x").fault


def test_without_the_repairing_package_plain_json_is_read_and_nothing_else(server, chat, monkeypatch):
    monkeypatch.setitem(sys.modules, "json_repair", None)
    server.script = [Reply(completion(MARKS))]
    assert ScoreJudge(chat).rate(*PICTURES[:2], "x").overall == 7
    server.script = [Reply(completion("{'score': [7, 8]}"))]
    with pytest.raises(ChatError, match="no usable answer"):
        ScoreJudge(chat).rate(*PICTURES[:2], "x")


# numbers of edits


@pytest.mark.parametrize("reply", ["２", "②. Sharper.", "２。更清晰", "**2**", "<answer>2</answer>", "\\boxed{2}"])
def test_a_digit_in_other_type_is_the_digit(server, chat, reply):
    server.script = [Reply(completion(reply))]
    assert judged(chat).choice == "B"


@pytest.mark.parametrize(
    "reply",
    [
        "1: 7/10, 2: 9/10",
        "1. Edit 1 is dull.\n2. Edit 2 is sharp.",
        "1) dull 2) sharp\n2) it is",
        "**1.** dull\n**2.** sharp",
        "Two.",
        "The second one",
        "1 2",
    ],
)
def test_lists_and_words_are_asked_for_again(server, chat, reply):
    server.script = [Reply(completion(reply))]
    assert "no usable answer" in judged(chat).fault
