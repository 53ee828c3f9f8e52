"""An evaluation from configuration to page: resumed, never ended by one case, and safe to open."""

from __future__ import annotations

import csv
import io
import json
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from x2edit_core.chat import ChatError
from x2edit_core.choosing.judge import ScoreJudge
from x2edit_core.evaluate.cases import Case, CaseError, png
from x2edit_core.evaluate.config import EvaluateConfig, load_config, scoring_key
from x2edit_core.evaluate.editor import Editor, load_graph
from x2edit_core.evaluate.places import Places
from x2edit_core.evaluate.report import columns, page, summary, table, write_report
from x2edit_core.evaluate.run import RESULTS, Evaluation, load_results
from x2edit_core.evaluate.scenes import run_scenes, scene_case, score_scene
from x2edit_core.evaluate.scores import Scorer
from x2edit_core.scenes import make_case
from x2edit_core.settings import ConfigError, parse_settings, to_toml
from x2edit_core.tasks import Task
from x2edit_core.workflow.client import PromptError, Result, ServerError

GRAPH = {
    "1": {"class_type": "LoadImage", "inputs": {"image": "example.png"}},
    "2": {"class_type": "CLIPTextEncode", "inputs": {"text": "old words", "clip": ["9", 0]}},
    "3": {"class_type": "KSampler", "inputs": {"seed": 1, "positive": ["2", 0]}},
    "4": {"class_type": "SaveImage", "inputs": {"images": ["3", 0], "filename_prefix": "x"}},
}


def exact(picture):
    return picture


class Host:
    """Answers as a host would that edits by `edit(graph, uploaded picture)`."""

    def __init__(self, edit):
        self.edit, self.uploads, self.graphs, self.canceled = edit, {}, [], []

    def upload(self, name, content, folder):
        self.uploads[f"{name} [{folder}]"] = content
        return f"{name} [{folder}]"

    def queue(self, graph):
        self.graphs.append(graph)
        return str(len(self.graphs) - 1)

    def wait_for(self, prompt_id, timeout):
        pass

    def result(self, prompt_id):
        graph = self.graphs[int(prompt_id)]
        return Result(prompt_id, {}, [("4", self.edit(graph, self.uploads[graph["1"]["inputs"]["image"]]))])

    def cancel(self, prompt_id):
        self.canceled.append(prompt_id)


def same(graph, picture):
    return picture


def picture(value, size=16):
    buffer = io.BytesIO()
    Image.fromarray(np.full((size, size, 3), value, np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


HALF = png(np.repeat(np.array([[0], [255]], np.uint8), 8, 0).repeat(16, 1))


def case(name="a", words="make it red", label="color", value=100, **more):
    return Case(name, words, label, Task.COLOR, lambda: picture(value), **more)


def evaluation(folder, edit=same, judge=None, **changes):
    host = Host(edit)
    return Evaluation(Editor(host, GRAPH), Scorer(exact, judge=judge), folder, **changes), host


def test_a_case_is_put_into_the_graph_scored_and_kept(tmp_path):
    run, host = evaluation(tmp_path, lambda graph, source: picture(110), seed=5)
    (outcome,) = run.run([case(target=lambda: picture(110), mask=lambda: picture(255))])
    (graph,) = host.graphs
    assert graph["2"]["inputs"]["text"] == "make it red"
    assert graph["3"]["inputs"]["seed"] == 5
    assert graph["4"] == {"class_type": "PreviewImage", "inputs": {"images": ["3", 0]}}, (
        "nothing is written to the output"
    )
    assert outcome.done and outcome.scores["l1_target"] == 0 and outcome.scores["changed_inside"] == 1
    assert "changed_outside" not in outcome.scores, "there is no outside"
    for path, data in ((outcome.edit, 110), (outcome.source, 100), (outcome.target, 110)):
        assert (tmp_path / path).read_bytes() == picture(data)
    assert load_results(tmp_path) == {"a": outcome}


def test_what_is_done_is_not_done_again(tmp_path):
    cases = [case("a"), case("b", value=50)]
    first, _ = evaluation(tmp_path)
    outcomes = first.run(cases)
    again, host = evaluation(tmp_path)
    heard = []
    assert again.run(cases, lambda outcome, kept: heard.append(kept)) == outcomes
    assert heard == [True, True]
    assert host.graphs == []


@pytest.mark.parametrize("change", ["seed", "words", "source", "graph"])
def test_another_edit_is_made_anew(tmp_path, change):
    evaluation(tmp_path)[0].run([case()])
    host = Host(same)
    graph = {**GRAPH, "3": {"class_type": "KSampler", "inputs": {"seed": 1, "positive": ["2", 0], "steps": 2}}}
    editor = Editor(host, graph if change == "graph" else GRAPH)
    changed = case(words="make it blue") if change == "words" else case(value=9) if change == "source" else case()
    Evaluation(editor, Scorer(exact), tmp_path, seed=int(change == "seed")).run([changed])
    assert len(host.graphs) == 1


def test_other_measures_score_the_kept_edits_anew(tmp_path):
    evaluation(tmp_path, scored_by={"judge": "one"})[0].run([case()])
    run, host = evaluation(tmp_path, scored_by={"judge": "two"}, judge=ScoreJudge(Chat('{"score": [9, 9]}')))
    (outcome,) = run.run([case()])
    assert host.graphs == []
    assert outcome.scores["overall"] == pytest.approx(9)


@pytest.mark.parametrize("part", ["target", "mask", "caption"])
def test_a_corrected_answer_scores_the_kept_edit_anew(tmp_path, part):
    def read(value):
        return lambda: picture(value)

    wrong = {"target": read(0), "mask": read(255), "caption": "a blue hat"}
    right = {**wrong, part: {"target": read(100), "mask": lambda: HALF, "caption": "a red hat"}[part]}
    evaluation(tmp_path)[0].run([case(**wrong)])
    run, host = evaluation(tmp_path)
    heard = []
    (outcome,) = run.run([case(**right)], lambda outcome, kept: heard.append(kept))
    assert (heard, host.graphs) == ([False], [])
    if part == "target":
        assert outcome.scores["l1_target"] == 0
        assert (tmp_path / outcome.target).read_bytes() == picture(100)
    if part == "mask":
        assert outcome.scores["changed_outside"] == 0, "there is an outside now"
    run.run([case(**right)], lambda outcome, kept: heard.append(kept))
    assert heard == [False, True]


def test_a_kill_in_the_middle_of_a_line_costs_only_that_line(tmp_path):
    cases = [case("a"), case("b")]
    evaluation(tmp_path)[0].run(cases)
    text = (tmp_path / RESULTS).read_text(encoding="utf-8")
    (tmp_path / RESULTS).write_text(text[:-30], encoding="utf-8")
    run, host = evaluation(tmp_path)
    heard = []
    run.run(cases, lambda outcome, kept: heard.append(kept))
    assert heard == [True, False]
    assert host.graphs == [], "the picture of the lost line is still there"
    assert set(load_results(tmp_path)) == {"a", "b"}


@pytest.mark.parametrize("words", ["把天空变成橙色", "🐈 red", "one\u2028two\x85three\x0b"])
def test_a_line_that_was_cut_anywhere_costs_only_itself(tmp_path, words):
    """Also in the middle of a character, as a kill and a full disk leave it."""
    cases = [case("a", words), case("b", words)]
    evaluation(tmp_path)[0].run(cases)
    data = (tmp_path / RESULTS).read_bytes()
    first, last = data.index(b"\n") + 1, len(data)
    assert set(load_results(tmp_path)) == {"a", "b"}, "only ends of lines part lines"
    start = data.index(words.encode()[:4], first)
    for cut in [*range(start, start + 8), first + 1, last - 2, last - 1]:
        (tmp_path / RESULTS).write_bytes(data[:cut])
        assert set(load_results(tmp_path)) == ({"a", "b"} if cut == last - 1 else {"a"})
        run, host = evaluation(tmp_path)
        assert all(outcome.done for outcome in run.run(cases)) and host.graphs == []
        assert set(load_results(tmp_path)) == {"a", "b"}


@pytest.mark.parametrize("line", [b"\0" * 64, b"\xff\xfe", b"[]", b"3", b'{"name": 3, "label": "x"}', b"[" * 100_000,
                                  b'{"name": "a", "label": "x", "scores": {"success": "yes"}}',
                                  b'{"name": "a", "label": "x", "colour": "of a later version"}'])  # fmt: skip
def test_lines_of_something_else_are_left_out(tmp_path, line):
    evaluation(tmp_path)[0].run([case("b")])
    with (tmp_path / RESULTS).open("ab") as file:
        file.write(line + b"\n")
    assert set(load_results(tmp_path)) == {"b"}


def test_a_name_that_is_no_text_is_written_and_read(tmp_path):
    name = b"caf\xe9".decode("utf-8", "surrogateescape")
    outcomes = evaluation(tmp_path)[0].run([case(name)])
    write_report(outcomes, tmp_path, name)
    run, host = evaluation(tmp_path)
    assert run.run([case(name)]) == outcomes and host.graphs == []


def test_an_edit_whose_content_was_lost_is_made_again(tmp_path):
    (outcome,) = evaluation(tmp_path)[0].run([case()])
    (tmp_path / outcome.edit).write_bytes(b"")
    run, host = evaluation(tmp_path)
    assert run.run([case()])[0].done and len(host.graphs) == 1


@pytest.mark.parametrize("part", ["target", "mask"])
def test_an_answer_of_another_shape_is_an_error_and_never_squashed(tmp_path, part):
    wide = png(np.full((16, 32, 3), 100, np.uint8))
    (outcome,) = evaluation(tmp_path)[0].run([case(**{part: lambda: wide})])
    assert f"the {part} of a is 32 × 16" in outcome.error and "16 × 16" in outcome.error and not outcome.scores


def test_an_edit_of_another_shape_is_told(tmp_path):
    wide = png(np.full((16, 32, 3), 100, np.uint8))
    outcomes = evaluation(tmp_path, lambda graph, source: wide)[0].run([case()])
    assert outcomes[0].done and "the edit is 32 × 16" in outcomes[0].note
    assert "the edit is 32 × 16" in page(outcomes, summary(outcomes), "t") and "32 × 16" in table(outcomes)


def test_a_kill_during_a_run_keeps_what_was_done(tmp_path):
    def killed(graph, source):
        if graph["2"]["inputs"]["text"] == "second":
            raise KeyboardInterrupt
        return source

    cases = [case("a", "first"), case("b", "second")]
    with pytest.raises(KeyboardInterrupt):
        evaluation(tmp_path, killed)[0].run(cases)
    run, host = evaluation(tmp_path)
    assert all(outcome.done for outcome in run.run(cases))
    assert [graph["2"]["inputs"]["text"] for graph in host.graphs] == ["second"]


def test_a_failing_case_is_recorded_and_tried_again(tmp_path):
    def fails(graph, source):
        if graph["2"]["inputs"]["text"] == "too much":
            raise PromptError("out of memory", "3", "KSampler")
        return source

    unreadable = Case("c", "w", "color", Task.COLOR, lambda: b"no picture")
    cases = [case("a", "too much"), CaseError("row 7 is empty"), case("b"), unreadable]
    outcomes = evaluation(tmp_path, fails)[0].run(cases)
    assert [bool(outcome.error) for outcome in outcomes] == [True, True, False, True]
    assert "Node 3 (KSampler): out of memory" in outcomes[0].error
    retried = evaluation(tmp_path)[0].run(cases)
    assert [bool(outcome.error) for outcome in retried] == [False, True, False, True]


def test_a_lost_host_ends_the_run_with_its_reason(tmp_path):
    def gone(graph, source):
        raise ServerError("The host did not answer.")

    with pytest.raises(ServerError):
        evaluation(tmp_path, gone)[0].run([case()])


class Chat:
    name, vision = "a test", True

    def __init__(self, reply):
        self.reply = reply

    def generate(self, messages, max_tokens=256):
        if isinstance(self.reply, Exception):
            raise self.reply
        return self.reply


def test_a_judge_that_fails_costs_its_marks_and_is_asked_again(tmp_path):
    silent = ScoreJudge(Chat(ChatError("timeout", "no answer")))
    (outcome,) = evaluation(tmp_path, judge=silent)[0].run([case()])
    assert (outcome.fault, outcome.error) == ("no answer", "")
    assert "ssim_source" in outcome.scores and "overall" not in outcome.scores
    run, host = evaluation(tmp_path, judge=ScoreJudge(Chat('{"score": [4, 9], "reason": "so"}')))
    (outcome,) = run.run([case()])
    assert (outcome.scores["sc"], outcome.reason, host.graphs) == (4.0, "so", [])


class Watching(Chat):
    """A judge that notes what the host has been given by the time it is asked."""

    def __init__(self, host=None, stops_at=None):
        super().__init__('{"score": [9, 9]}')
        self.host, self.stops_at, self.seen = host, stops_at, []

    def generate(self, messages, max_tokens=256):
        self.seen.append(len(self.host.graphs))
        if len(self.seen) == self.stops_at:
            raise KeyboardInterrupt
        return self.reply


def watched(folder, edit=same, stops_at=None):
    judge = Watching(stops_at=stops_at)
    run, judge.host = evaluation(folder, edit, ScoreJudge(judge))
    return run, judge


def test_the_host_has_the_next_case_while_one_is_scored(tmp_path):
    """One ahead and no more, whatever lies between; told in the order of the cases."""
    done = case("b", value=5)
    evaluation(tmp_path)[0].run([done])
    run, judge = watched(tmp_path)
    heard = []
    cases = [case("a"), done, CaseError("row 7 is empty"), case("c"), case("d")]
    outcomes = run.run(cases, lambda outcome, kept: heard.append((outcome.name, kept)))
    assert heard == [("a", False), ("b", True), ("row 7 is empty", False), ("c", False), ("d", False)]
    assert sorted(set(judge.seen)) == [1, 3], "a beside b, which needs no edit; c and d beside d"
    run, judge = watched(tmp_path / "new")
    assert [outcome.name for outcome in run.run([case("a"), case("b"), case("c")])] == ["a", "b", "c"]
    assert sorted(set(judge.seen)) == [2, 3]
    assert list(load_results(tmp_path / "new")) == ["a", "b", "c"]
    assert list(load_results(tmp_path)) == ["b", "a", "row 7 is empty", "c", "d"] and len(outcomes) == 5


def test_a_kill_while_one_is_scored_takes_the_next_back(tmp_path):
    run, judge = watched(tmp_path, stops_at=1)
    with pytest.raises(KeyboardInterrupt):
        run.run([case("a"), case("b")])
    assert judge.host.canceled == ["1"] and load_results(tmp_path) == {}
    again, judge = watched(tmp_path)
    assert all(outcome.done for outcome in again.run([case("a"), case("b")]))
    assert len(judge.host.graphs) == 1, "the first edit is still there"
    assert judge.host.canceled == []


@pytest.mark.parametrize(("error", "ends"), [(ServerError("gone"), True), (PromptError("invalid", "3", "K"), False)])
def test_what_the_host_says_of_the_next_case_is_told_in_its_turn(tmp_path, error, ends):
    run, host = evaluation(tmp_path)
    queue = host.queue

    def refusing(graph):
        if graph["2"]["inputs"]["text"] == "second":
            raise error
        return queue(graph)

    host.queue, heard = refusing, []
    cases = [case("a"), case("b", "second"), case("c")]
    if ends:
        with pytest.raises(ServerError, match="gone"):
            run.run(cases, lambda outcome, kept: heard.append(outcome))
    else:
        run.run(cases, lambda outcome, kept: heard.append(outcome))
    assert [bool(outcome.error) for outcome in heard] == ([False] if ends else [False, True, False])
    assert len(load_results(tmp_path)) == len(heard)
    assert len(host.graphs) == (1 if ends else 2), "nothing is asked of a host that is gone"


def test_a_host_that_is_gone_does_not_hide_why_a_run_ended(tmp_path):
    def gone(prompt_id):
        raise ServerError("gone")

    run, judge = watched(tmp_path, stops_at=1)
    judge.host.cancel = gone
    with pytest.raises(KeyboardInterrupt):
        run.run([case("a"), case("b")])


def test_cases_of_one_name_stay_apart(tmp_path):
    outcomes = evaluation(tmp_path)[0].run([case("a", value=1), case("a", value=2)])
    assert [outcome.name for outcome in outcomes] == ["a", "a (2)"]
    assert outcomes[0].edit != outcomes[1].edit


# --- scenes ------------------------------------------------------------------------------------------------------


def test_scenes_are_scored_by_scenebench():
    tasks = (Task.REMOVE, Task.TONE)
    answers = {
        made.instruction: scene_case(made).target()
        for made in (make_case(seed, task, "heldout", 64) for task in tasks for seed in (3, 4))
    }

    def right_for_one_seed(graph, source):
        words = graph["2"]["inputs"]["text"]
        if words == make_case(4, Task.REMOVE, "heldout", 64).instruction:
            raise PromptError("out of memory")
        return answers[words] if graph["3"]["inputs"]["seed"] == 3 else source

    host = Host(right_for_one_seed)
    heard = []
    found = run_scenes(host, GRAPH, 2, 3, tasks, 64, on_score=lambda case, score: heard.append(case.name))
    assert heard == ["remove subject 3", "remove subject 4", "tone 3", "tone 4"]
    assert found["tasks"]["remove"]["success"] == found["tasks"]["tone"]["success"] == 0.5
    assert found["average"]["count"] == 4


def test_an_edit_of_another_size_is_scored_at_the_scenes():
    made = scene_case(make_case(3, Task.BACKGROUND, "heldout", 64))
    larger = Image.fromarray(made.scene.target).resize((256, 256), Image.Resampling.NEAREST)
    buffer = io.BytesIO()
    larger.save(buffer, "PNG")
    assert score_scene(made, buffer.getvalue(), exact).psnr_db > 30


# --- the report --------------------------------------------------------------------------------------------------

EVIL = '"><script>alert(1)</script><img src="http://evil.example/x.png" onerror=alert(1)>'


class Tags(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.found = []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))


def evil_outcomes(folder):
    judge = ScoreJudge(Chat(json.dumps({"score": [9, 9], "reason": EVIL})))
    cases = [case(EVIL, EVIL, EVIL), CaseError(EVIL), case("plain", label="style", target=lambda: picture(100))]
    return evaluation(folder, judge=judge)[0].run(cases)


def test_the_page_runs_nothing_and_fetches_nothing(tmp_path):
    outcomes = evil_outcomes(tmp_path)
    text = page(outcomes, summary(outcomes), EVIL)
    tags = Tags(text).found
    assert {tag for tag, _ in tags}.isdisjoint({"script", "link", "iframe", "object", "base", "a", "form"})
    for tag, attributes in tags:
        assert not any(
            name.startswith("on") or "http" in (value or "") for name, value in attributes.items() if name != "src"
        )
        if tag == "img":
            assert (tmp_path / attributes["src"]).is_file()
    assert "url(" not in text and "@import" not in text
    assert text.count("&lt;script&gt;") >= 5, "title, label, name, instruction and reason are shown as they are"


def test_pictures_stand_side_by_side(tmp_path):
    outcomes = evil_outcomes(tmp_path)
    sources = [
        attributes["src"] for tag, attributes in Tags(page(outcomes, summary(outcomes), "t")).found if tag == "img"
    ]
    plain = outcomes[-1]
    assert sources[-3:] == [plain.source, plain.edit, plain.target]


def test_the_table_has_a_row_for_each_case_and_no_formulas(tmp_path):
    outcomes = evaluation(tmp_path)[0].run([case("=1+1", "你好, world", value=3), case("b")])
    first, second = csv.DictReader(io.StringIO(table(outcomes)))
    assert (first["name"], first["instruction"], second["name"]) == ("'=1+1", "你好, world", "b")
    assert float(first["l1_source"]) == 0


def test_the_summary_averages_each_label_and_then_the_labels(tmp_path):
    def shift(graph, source):
        if graph["2"]["inputs"]["text"] == "fail":
            raise PromptError("no")
        return picture(int(graph["2"]["inputs"]["text"]))

    given = [("a", "100", "color"), ("b", "151", "color"), ("c", "fail", "color"), ("d", "202", "style")]
    outcomes = evaluation(tmp_path, shift)[0].run([case(name, words, label) for name, words, label in given])
    found = summary(outcomes)
    assert found["tasks"]["color"]["l1_source"] == pytest.approx(0.1)
    assert (found["tasks"]["color"]["count"], found["tasks"]["color"]["failed"]) == (3, 1)
    assert found["average"]["l1_source"] == pytest.approx((0.1 + 0.4) / 2)
    assert (found["average"]["count"], found["average"]["failed"]) == (4, 1)


def test_the_report_of_scenes_has_scenebenchs_own_summary(tmp_path):
    scene = scene_case(make_case(3, Task.REMOVE, "heldout", 64))
    outcomes = evaluation(tmp_path, lambda graph, source: scene.target())[0].run([scene])
    write_report(outcomes, tmp_path, "scenes")
    found = json.loads((tmp_path / "summary.json").read_text(encoding="utf-8"))
    assert found["scenebench"]["tasks"]["remove"]["success"] == found["tasks"]["remove subject"]["success"] == 1
    assert columns(outcomes)[0] == "success"
    assert (tmp_path / "index.html").is_file() and (tmp_path / "results.csv").is_file()


def test_nothing_but_failures_still_makes_a_report(tmp_path):
    outcomes = evaluation(tmp_path)[0].run([CaseError("row 1 is empty")])
    write_report(outcomes, tmp_path, "t")
    assert "row 1 is empty" in (tmp_path / "index.html").read_text(encoding="utf-8")


# --- the configuration -------------------------------------------------------------------------------------------

LEAST = {"workflow": "w.json", "output": "out", "cases": {"limit": 1}}


def test_a_saved_configuration_reads_back_equal(tmp_path):
    given = {
        **LEAST,
        "places": {"image": ["5.image"], "output": "9"},
        "judge": {"base_url": "http://x/v1", "model": "m"},
    }
    config = parse_settings(EvaluateConfig, given)
    path = tmp_path / "evaluate.toml"
    path.write_text(to_toml(config), encoding="utf-8")
    assert load_config(path) == config
    assert load_config(path, address="http://other", workflow=None).address == "http://other"
    assert config.places.parsed() == Places(image=(("5", "image"),), output="9")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"output": ""}, "output is empty"),
        ({"cases": {}}, "how many scenes"),
        ({"cases": {"limit": 1, "labels": ["dance"]}}, "cases.labels: Task 'dance' is not known"),
        ({"cases": {"kind": "gedit"}}, "cases.path is empty"),
        ({"cases": {"kind": "other"}}, "one of scenes, folder, gedit"),
        ({"places": {"image": ["5"]}}, "places: '5' names no place"),
        ({"judge": {"base_url": "http://x", "folder": "y"}}, "one model judges"),
        ({"timeout": 0.0}, "above 0"),
        ({"metrics": {}}, "metrics is not known"),
    ],
)
def test_faults_of_a_configuration_are_named(change, told):
    with pytest.raises(ConfigError) as caught:
        parse_settings(EvaluateConfig, {**LEAST, **change})
    assert told in str(caught.value)


def test_scores_depend_on_judge_and_encoders_alone():
    one = parse_settings(EvaluateConfig, LEAST)
    assert scoring_key(one) == scoring_key(parse_settings(EvaluateConfig, {**LEAST, "output": "elsewhere"}))
    assert scoring_key(one) != scoring_key(parse_settings(EvaluateConfig, {**LEAST, "judge": {"folder": "qwen"}}))


@pytest.mark.parametrize("text", ["no json", "[]", "{}", '{"a": 1}'])
def test_a_file_that_is_no_workflow_is_refused(tmp_path, text):
    from x2edit_core.errors import X2EditError

    (tmp_path / "w.json").write_text(text)
    with pytest.raises(X2EditError, match=r"w\.json"):
        load_graph(tmp_path / "w.json", None)
