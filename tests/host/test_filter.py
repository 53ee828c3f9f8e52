"""The early filter with the host's samplers: the winner is KSampler's own result, bit for bit, and costs what is said."""

from __future__ import annotations

import json
from itertools import pairwise

import comfy.samplers
import pytest
import torch
from devkit.running import Running, shown, wait_for

from ..core.chat_server import Reply, completion, serving
from .graphs import conditioning, golden_adapter, golden_cases, golden_models
from .runs import filter_graph

CASE = golden_cases("x2edit")[0]["tensors"]
STEPS = 7
SEED = 40


class Liking:
    """A judge with a favourite number of the question: it prefers the picture nearest to what it was told to like."""

    name, remote = "a test", False

    def __init__(self, favourite=None, remote=False):
        self.favourite, self.remote, self.seen = favourite, remote, []

    def compare(self, source, a, b, instruction):
        verdict = self.verdict
        self.seen.append((source, a, b, instruction))
        if self.favourite is None:
            return verdict("A")
        return verdict("A" if (a - self.favourite).abs().sum() <= (b - self.favourite).abs().sum() else "B", "closer")

    def questions(self, source, instruction):
        return [f"Was {instruction!r} done?", "Is it good?", "Is the rest the same?"]

    def answers(self, source, edit, instruction, questions):
        """Surest of the favourite; sure enough of every edit that is finished well."""
        self.seen.append((source, edit, instruction))
        sure = (
            0.9 if self.favourite is None else 0.5 + 0.4 * float(torch.exp(-(edit - self.favourite).abs().mean() * 20))
        )
        return [sure] * len(questions)


@pytest.fixture(scope="module")
def models(pack):
    Liking.verdict = pack.core("choosing.judge").Verdict
    return golden_models(pack)


@pytest.fixture(scope="module")
def applied(pack, models):
    adapter = golden_adapter(pack)
    (task,) = pack.run("X2EditTask", task="style")
    return pack.run("X2EditApply", model=models[0], adapter=adapter, task=task)[0]


@pytest.fixture(scope="module")
def graph(pack, models, applied):
    """What both samplers share: the inputs of an edit of 64 × 64 pixels."""
    source = torch.rand(1, 64, 64, 3, generator=torch.Generator().manual_seed(1))
    text = conditioning(CASE["context"], CASE["pooled"])
    positive, latent, layout = pack.run("X2EditReference", conditioning=text, vae=models[2], image=source, size="keep")
    negative = conditioning(CASE["context"].flip(1), CASE["pooled"])
    return {"model": applied, "positive": positive, "negative": negative, "latent": latent, "source": source,
            "layout": layout, "vae": models[2]}  # fmt: skip


def masked(latent):
    """An inpainting latent: a picture of its own and a mask over half of it."""
    noise = torch.rand(1, 16, 8, 8, generator=torch.Generator().manual_seed(5))
    mask = torch.zeros(1, 64, 64)
    mask[..., 32:] = 1
    return {**latent, "samples": noise, "noise_mask": mask}


def run_filter(pack, graph, judge=None, **changes):
    settings = {"seed": SEED, "seeds": 3, "early_steps": 2, "steps": STEPS, "cfg": 1.0, "sampler": "euler",
                "scheduler": "simple", "mode": "continue", "instruction": "make it red"}  # fmt: skip
    return pack.run("X2EditEarlyFilter", judge=judge or Liking(), **{**graph, **settings, **changes})


def plain(pack, graph, seed, **changes):
    """KSampler on the same inputs."""
    settings = {"steps": STEPS, "cfg": 1.0, "sampler_name": "euler", "scheduler": "simple", "denoise": 1.0, **changes}
    inputs = {name: graph[name] for name in ("model", "positive", "negative")}
    latent = settings.pop("latent", graph["latent"])
    model = settings.pop("model", inputs.pop("model"))
    return pack.run("KSampler", model=model, **inputs, latent_image=latent, seed=seed, **settings)[0]["samples"]


def favourite_of(pack, graph, seed, steps=STEPS, **changes):
    """The picture that a run of `seed` ends in; a judge that likes it should choose that seed."""
    return graph["vae"].decode(plain(pack, graph, seed, steps=steps, **changes))[0].float().cpu()


def evaluations(report):
    line = next(line for line in report.splitlines() if line.startswith("Evaluations"))
    return int(line.split()[1])


@pytest.fixture
def calls(pack, graph):
    """How often the model is asked, counted at the host's own function."""
    base = graph["model"].model
    count = []
    inner = base.apply_model
    base.apply_model = lambda *args, **kwargs: (count.append(1), inner(*args, **kwargs))[1]
    yield count
    del base.apply_model


@pytest.mark.parametrize("sampler", ["euler", "ddim", "heun", "dpm_2"])
@pytest.mark.parametrize(("mode", "spent"), [("paper", 6 + 7), ("continue", 6 + 5), ("halving", 3 + 6)])
def test_the_result_is_ksamplers_own_bit_for_bit(pack, graph, calls, sampler, mode, spent):
    latent, seed, _, _, report = run_filter(pack, graph, sampler=sampler, mode=mode)
    assert evaluations(report) == len(calls)
    if sampler in ("euler", "ddim"):
        assert len(calls) == spent
    assert "run again" not in report
    assert torch.equal(latent["samples"], plain(pack, graph, seed, sampler_name=sampler))


@pytest.mark.parametrize(("sampler", "cfg"), [("euler", 1.0), ("euler", 3.0), ("heun", 1.0), ("dpmpp_2m", 1.0)])
def test_depth_first_is_ksamplers_own_bit_for_bit(pack, graph, calls, sampler, cfg):
    """Taken further in parts, with looks after 1, 3 and 5 of 9 steps; a sampler that remembers is run again and counted."""
    inputs = {**graph, "latent": masked(graph["latent"])} if cfg > 1 else graph
    favourite = favourite_of(pack, inputs, SEED + 1, 9, latent=inputs["latent"], sampler_name=sampler, cfg=cfg)
    calls.clear()
    latent, seed, noise, _, report = run_filter(
        pack, inputs, Liking(favourite), sampler=sampler, mode="adaptive", steps=9, cfg=cfg
    )
    assert cfg > 1 or evaluations(report) == len(calls)
    assert ("run again" in report) == (sampler == "dpmpp_2m")
    if sampler == "euler" and cfg == 1.0:
        assert len(calls) <= 3 + 2 * 4 + 8 and "Was 'make it red' done?" in report and seed == SEED + 1
    assert noise.seed == seed
    expected = plain(pack, inputs, seed, sampler_name=sampler, steps=9, cfg=cfg, latent=inputs["latent"])
    assert torch.equal(latent["samples"], expected)


def test_depth_first_of_few_steps_ends_with_the_first_that_passes(pack, graph, calls):
    latent, seed, _, _, report = run_filter(pack, graph, mode="adaptive", steps=4)
    assert seed == SEED and len(calls) == 4 and "leave nothing to prune" in report
    assert torch.equal(latent["samples"], plain(pack, graph, seed, steps=4))


def test_a_person_answers_no_questions(pack, graph):
    (judge,) = pack.run("X2EditHumanJudge", timeout=1.0)
    with pytest.raises(ValueError, match="which a person does not answer"):
        run_filter(pack, graph, judge, mode="adaptive")


def test_a_server_writes_questions_and_answers_them(server):
    """Through the real endpoint node: questions once, then one reply for each look."""
    with serving() as fake:
        fake.script = [
            Reply(completion('{"questions": ["Is it red?", "Is all of it?", "Is it sharp?"]}')),
            *(Reply(completion(json.dumps({"answers": [number, 8, 8]}))) for number in (7, 9, 8)),
            Reply(completion('{"answers": [9, 9, 9]}')),
        ]
        graph_ = filter_graph(fake.address, steps=8)
        graph_["filter"]["inputs"].update(mode="adaptive", seeds=3)
        result = server.run(graph_)
    report = shown(result, "report")
    assert "1: Is it red?" in report and "passed" in report, report
    assert "WARNING" not in report


@pytest.mark.parametrize("mode", ["paper", "continue", "halving"])
@pytest.mark.parametrize("scheduler", comfy.samplers.SCHEDULER_NAMES)
def test_the_result_is_ksamplers_own_with_every_schedule(pack, graph, calls, scheduler, mode):
    """ddim_uniform has eight steps where seven are asked for, beta fewer where two fall together."""
    latent, seed, _, _, report = run_filter(pack, graph, scheduler=scheduler, mode=mode)
    assert evaluations(report) == len(calls)
    assert torch.equal(latent["samples"], plain(pack, graph, seed, scheduler=scheduler))


@pytest.mark.parametrize("sampler", ["euler", "ddim", "heun"])
@pytest.mark.parametrize("mode", ["continue", "halving"])
def test_cfg_and_inpainting_hold_too(pack, graph, sampler, mode):
    inputs = {**graph, "latent": masked(graph["latent"])}
    latent, seed, *_ = run_filter(pack, inputs, sampler=sampler, mode=mode, cfg=3.0)
    expected = plain(pack, inputs, seed, sampler_name=sampler, cfg=3.0)
    assert torch.equal(latent["samples"], expected)
    assert not torch.equal(expected, plain(pack, inputs, seed, sampler_name=sampler, cfg=1.0)), "cfg is at work"
    assert torch.equal(latent["noise_mask"], inputs["latent"]["noise_mask"])


@pytest.mark.parametrize("sampler", ["euler_ancestral", "dpmpp_2m", "uni_pc", "dpmpp_2m_sde", "lms"])
@pytest.mark.parametrize("mode", ["continue", "halving"])
def test_other_samplers_are_run_again_counted_and_said(pack, graph, calls, sampler, mode):
    latent, seed, _, _, report = run_filter(pack, graph, sampler=sampler, mode=mode)
    assert evaluations(report) == len(calls)
    assert "run again from its seed" in report
    assert torch.equal(latent["samples"], plain(pack, graph, seed, sampler_name=sampler))


@pytest.mark.parametrize("mode", ["paper", "continue", "halving"])
@pytest.mark.parametrize("order", ["champion", "tournament", "halving"])
def test_the_judges_favourite_wins(pack, graph, mode, order):
    for seed in (SEED, SEED + 2):
        steps = 2 if mode == "paper" else STEPS
        latent, won, noise, _, _ = run_filter(
            pack, graph, Liking(favourite_of(pack, graph, seed, steps)), mode=mode, order=order
        )
        assert won == noise.seed == seed
        assert torch.equal(latent["samples"], plain(pack, graph, seed))


def test_same_inputs_same_winner_and_picture(pack, graph):
    judge = Liking(favourite_of(pack, graph, SEED + 1))
    one, other = (run_filter(pack, graph, judge) for _ in range(2))
    assert one[1] == other[1]
    assert torch.equal(one[0]["samples"], other[0]["samples"])
    assert torch.equal(one[3], other[3])


def test_a_batch_of_pictures_and_an_early_look_at_the_end(pack, graph):
    """Two pictures per candidate, and an early look that is already the end."""
    latent = {"samples": torch.zeros(2, 16, 8, 8)}
    inputs = {**graph, "latent": latent}
    found, seed, *_ = run_filter(pack, inputs, early_steps=STEPS)
    assert torch.equal(found["samples"], plain(pack, inputs, seed))


def test_a_batch_of_candidates_is_close_and_says_so(pack, graph, calls):
    latent, seed, _, _, report = run_filter(pack, graph, batched=True, mode="halving")
    assert "last bits" in report
    assert evaluations(report) == 3 + 6
    assert len(calls) == 1 + 6, "all candidates in one call"
    assert torch.allclose(latent["samples"], plain(pack, graph, seed), rtol=1e-3, atol=1e-4)


def test_works_without_an_adapter_and_with_another_model(pack, models, graph):
    """The bare base, and the Fill base with its inpainting conditioning."""
    for model in (models[0], golden_models(pack, "fill")[0]):
        extra = {"concat_latent_image": torch.rand(1, 16, 8, 8), "concat_mask": torch.ones(1, 1, 64, 64)}
        text = [[graph["positive"][0][0], {**conditioning(CASE["context"], CASE["pooled"])[0][1], **extra}]]
        inputs = {**graph, "model": model, "positive": text, "negative": text}
        latent, seed, *_ = run_filter(pack, inputs)
        assert torch.equal(latent["samples"], plain(pack, inputs, seed))


@pytest.mark.parametrize("mode", ["paper", "continue", "halving"])
def test_the_advanced_node_equals_the_custom_sampler(pack, graph, mode):
    (guider,) = pack.run("CFGGuider", **{name: graph[name] for name in ("model", "positive", "negative")}, cfg=2.0)
    (sampler,) = pack.run("KSamplerSelect", sampler_name="heun")
    (sigmas,) = pack.run("BasicScheduler", model=graph["model"], scheduler="beta", steps=STEPS, denoise=1.0)
    before = dict(vars(guider))
    inputs = {name: graph[name] for name in ("latent", "source", "layout", "vae")}
    latent, seed, noise, _, report = pack.run(
        "X2EditEarlyFilterAdvanced", guider=guider, sampler=sampler, sigmas=sigmas, judge=Liking(), instruction="x",
        seed=SEED, seeds=3, early_steps=2, mode=mode, **inputs,
    )  # fmt: skip
    assert vars(guider) == before, "the connected guider is left alone"
    expected, _ = pack.run(
        "SamplerCustomAdvanced",
        noise=noise,
        guider=guider,
        sampler=sampler,
        sigmas=sigmas,
        latent_image=graph["latent"],
    )
    assert torch.equal(latent["samples"], expected["samples"])
    assert noise.seed == seed
    assert f"of {STEPS}" in report


def test_the_advanced_node_takes_a_short_schedule(pack, graph, calls):
    (guider,) = pack.run("BasicGuider", model=graph["model"], conditioning=graph["positive"])
    (sampler,) = pack.run("KSamplerSelect", sampler_name="euler")
    long, short = (
        pack.run("BasicScheduler", model=graph["model"], scheduler="simple", steps=steps, denoise=1.0)[0]
        for steps in (STEPS, 3)
    )
    inputs = {name: graph[name] for name in ("latent", "source", "vae")}
    report = pack.run(
        "X2EditEarlyFilterAdvanced", guider=guider, sampler=sampler, sigmas=long, early_sigmas=short, judge=Liking(),
        instruction="x", seed=SEED, seeds=2, early_steps=10, mode="paper", **inputs,
    )[4]  # fmt: skip
    assert evaluations(report) == len(calls) == 2 * 3 + STEPS


def test_a_cache_on_the_model_is_noticed(pack, graph):
    """EasyCache remembers earlier steps: going on in a second call would differ, so the winner is run again."""
    (cached,) = pack.run(
        "EasyCache", model=graph["model"], reuse_threshold=0.2, start_percent=0.0, end_percent=1.0, verbose=False
    )
    latent, seed, _, _, report = run_filter(pack, {**graph, "model": cached})
    assert "wraps the whole of sampling" in report
    assert torch.equal(latent["samples"], plain(pack, graph, seed, model=cached))


@pytest.mark.parametrize("mode", ["paper", "continue", "halving"])
def test_a_broken_candidate_is_dropped(pack, graph, mode, monkeypatch):
    bridge = pack.core("comfy_bridge.filter")
    draw = bridge.SeedNoise.generate_noise

    def spoiled(self, latent):
        noise = draw(self, latent)
        return noise * float("nan") if self.seed == SEED else noise

    monkeypatch.setattr(bridge.SeedNoise, "generate_noise", spoiled)
    latent, seed, _, _, report = run_filter(pack, graph, mode=mode)
    assert seed == SEED + 1
    assert f"candidate 1 (seed {SEED}) came out as not a number" in report
    monkeypatch.undo()
    assert torch.equal(latent["samples"], plain(pack, graph, seed))


def test_a_judge_that_fails_keeps_the_first(pack, graph):
    class Failing(Liking):
        def compare(self, *_):
            raise RuntimeError("the server is gone")

    latent, seed, _, _, report = run_filter(pack, graph, Failing())
    assert seed == SEED
    assert "the server is gone" in report
    assert torch.equal(latent["samples"], plain(pack, graph, seed))


@pytest.mark.parametrize("remote", [False, True])
def test_an_interrupt_ends_it_within_one_step(pack, graph, calls, remote):
    from comfy import model_management

    stop_at = 4
    calls_before = len(calls)

    class Stopping(Liking):
        """Stops while it is asked, in the background if it is remote."""

        def compare(self, *_):
            model_management.interrupt_current_processing()
            stopped.append(len(calls))
            model_management.throw_exception_if_processing_interrupted()

    stopped = []
    with pytest.raises(model_management.InterruptProcessingException):
        run_filter(pack, graph, Stopping(remote=remote), seeds=5, early_steps=2)
    assert len(stopped) == 1
    assert len(calls) - calls_before <= stopped[0] + 2
    assert stopped[0] >= (stop_at if remote else 10)
    model_management.interrupt_current_processing(False)
    assert run_filter(pack, graph)[1] == SEED, "the next run is whole"


def test_progress_and_previews_of_every_candidate(pack, graph, monkeypatch):
    import comfy.utils

    seen = []
    monkeypatch.setattr(comfy.utils, "PROGRESS_BAR_HOOK", lambda *args, **_: seen.append(args))
    run_filter(pack, graph)
    assert seen[-1][:2] == (3 * 2 + STEPS - 2,) * 2
    assert [value for value, _, _ in seen] == sorted(value for value, _, _ in seen)
    decoded = [preview[1] for _, _, preview in seen if preview is not None and preview[1].size == (64, 64)]
    assert len(decoded) == 3


def test_what_the_judge_is_shown(pack, graph):
    judge = Liking()
    run_filter(pack, {**graph, "source": torch.rand(2, 50, 70, 4)}, judge)
    source, a, b, instruction = judge.seen[0]
    assert instruction == "make it red"
    assert source.shape == (50, 70, 3)
    assert a.shape == b.shape == (64, 64, 3)
    assert a.device.type == "cpu" and a.dtype == torch.float32


def test_of_a_diptych_the_judge_sees_the_edit(pack, graph):
    geometry = pack.core("geometry")
    judge = Liking()
    layout = geometry.DiptychLayout(geometry.Size(64, 32), geometry.Size(64, 32), "right")
    run_filter(pack, {**graph, "layout": layout}, judge)
    whole = Liking()
    run_filter(pack, {**graph, "layout": None}, whole)
    assert judge.seen[0][1].shape == (64, 32, 3)
    assert torch.allclose(judge.seen[0][1], whole.seen[0][1][:, 32:], atol=1e-6)


def test_the_judges_memory_is_given_back_before_the_final_steps(pack, graph, calls):
    class Chat:
        name, vision, released = "a chat", True, None

        def score(self, messages, answers):
            return [-0.1, -3.0] if self.released is None else pytest.fail("asked after it was dismissed")

        def release(self):
            self.released = len(calls)

    chat = Chat()
    (judge,) = pack.run("X2EditJudge", chat=chat, debias=False)
    run_filter(pack, graph, judge)
    assert chat.released == 3 * 2


@pytest.mark.parametrize(("remote", "times"), [(False, 2), (True, 2 * 3)])
def test_flux_and_vae_change_places_once_beside_a_local_judge(pack, graph, monkeypatch, remote, times):
    """Counted where the host is asked for a model: between the two there may be room for one of them only."""
    from comfy import model_management

    asked, load = [], model_management.load_models_gpu

    def counted(models, *args, **kwargs):
        asked.append("vae" if any(model.model is graph["vae"].first_stage_model for model in models) else "flux")
        return load(models, *args, **kwargs)

    monkeypatch.setattr(model_management, "load_models_gpu", counted)
    run_filter(pack, graph, Liking(remote=remote))
    assert sum(one != other for one, other in pairwise(asked)) == times
    assert asked.count("vae") == 3


def test_the_sheet_and_the_report(pack, graph):
    *_, sheet, report = run_filter(pack, graph, Liking(favourite_of(pack, graph, SEED + 1)))
    assert sheet.shape[0] == 1 and sheet.shape[-1] == 3
    assert sheet.min() >= 0 and sheet.max() <= 1
    assert f"Winner: seed {SEED + 1}, candidate 2 of 3" in report
    assert report.count("→") == 2


def test_wrong_inputs_are_explained(pack, graph):
    with pytest.raises(ValueError, match="early_steps is 9"):
        run_filter(pack, graph, early_steps=9)


def human_graph(timeout, seeds=3):
    """An API graph in which a person chooses."""
    return {
        "models": {"class_type": "X2EditDemoModels", "inputs": {"base": "x2edit"}},
        "text": {"class_type": "CLIPTextEncode", "inputs": {"clip": ["models", 1], "text": "make it red"}},
        "latent": {"class_type": "EmptySD3LatentImage", "inputs": {"width": 64, "height": 64, "batch_size": 1}},
        "source": {"class_type": "EmptyImage", "inputs": {"width": 64, "height": 64, "batch_size": 1, "color": 99}},
        "judge": {"class_type": "X2EditHumanJudge", "inputs": {"timeout": timeout}},
        "filter": {
            "class_type": "X2EditEarlyFilter",
            "inputs": {
                "model": ["models", 0], "positive": ["text", 0], "negative": ["text", 0], "latent": ["latent", 0],
                "vae": ["models", 2], "judge": ["judge", 0], "source": ["source", 0], "instruction": "make it red",
                "seed": 7, "seeds": seeds, "early_steps": 1, "steps": 2, "cfg": 1.0, "sampler": "euler",
                "scheduler": "simple", "mode": "continue", "order": "champion",
            },
        },
        "seed": {"class_type": "PreviewAny", "inputs": {"source": ["filter", 1]}},
        "report": {"class_type": "PreviewAny", "inputs": {"source": ["filter", 4]}},
    }  # fmt: skip


def test_a_program_answers_in_a_persons_place(server):
    running = Running(server, human_graph(0))
    question = wait_for(lambda: server.get_json("/x2edit/choices"), 60)[0]
    assert (question["title"], question["count"], question["remaining_s"]) == ("make it red", 3, None)
    path = f"/x2edit/choices/{question['id']}"
    pictures = [server.request(f"{path}/{index}") for index in (-1, 0, 1, 2)]
    assert all(picture.startswith(b"\x89PNG") for picture in pictures)
    assert len(set(pictures)) == 4
    for wrong in ({"choice": 3}, {"choice": "1"}, {}, []):
        with pytest.raises(Exception, match="status 40"):
            server.post_json(path, wrong)
    with pytest.raises(Exception, match="status 404"):
        server.request(f"{path}/x")
    server.post_json(path, {"choice": 2})
    running.join(60)
    assert running.error is None
    assert shown(running.result, "seed") == "9"
    assert "chosen by hand" in shown(running.result, "report")
    assert server.get_json("/x2edit/choices") == []


def test_time_takes_the_first(server):
    running = Running(server, human_graph(0.4, seeds=2))
    running.join(60)
    assert running.error is None
    assert shown(running.result, "seed") == "7"
    assert "nobody chose within 0.4 s" in shown(running.result, "report")


@pytest.mark.parametrize(
    "reply",
    [
        Reply({"error": {"message": "not allowed to use this model"}}, 403),
        Reply({"error": "no such model"}),
        Reply(b"<html>"),
    ],
    ids=["rights", "inside 200", "page"],
)
def test_a_judge_that_never_worked_is_told_on_the_node_and_first(server, reply):
    with serving() as fake:
        fake.script = [reply]
        result = server.run(filter_graph(fake.address, steps=2))
    assert shown(result, "seed") == "7"
    for node in ("filter", "report"):
        assert shown(result, node).startswith("WARNING: no verdict in any comparison; the first seed was kept.")


def test_a_judge_that_works_leaves_no_warning_on_the_node(server):
    with serving() as fake:
        fake.script = [Reply(completion("2. It is red."))]
        result = server.run(filter_graph(fake.address, steps=2))
    assert shown(result, "seed") == "9"
    assert "filter" not in result.outputs and "WARNING" not in shown(result, "report")


def test_a_deep_answer_to_a_question_is_refused_like_any_other(server):
    with pytest.raises(Exception, match="status 400"):
        server.request("/x2edit/choices/none", b"[" * 100_000, "application/json")


def test_interrupting_closes_the_question(server):
    running = Running(server, human_graph(0, seeds=4))
    wait_for(lambda: server.get_json("/x2edit/choices"), 60)
    server.interrupt()
    running.join(60)
    assert type(running.error).__name__ == "PromptInterrupted"
    assert server.get_json("/x2edit/choices") == []


def test_a_released_chat_leaves_the_hosts_memory(pack):
    """The way a folder's model takes; the sampling model beside it stays."""
    from comfy import model_management

    cpu = torch.device("cpu")
    one, other = (pack.core("comfy_bridge.chat").HostResident(torch.nn.Linear(4, 4), cpu) for _ in range(2))
    for resident in (one, other):
        resident.ready(0)
    one.release()
    loaded = [entry.model for entry in model_management.current_loaded_models]
    assert other.patcher in loaded
    assert one.patcher not in loaded
    assert one.ready(0) == cpu, "the next question brings it back"
