"""Procedural scenes as cases: their edits are known exactly, so success needs no judge."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import cache, partial

import numpy as np
from safetensors.torch import load_file

from ..miniature import AUTOENCODER, autoencoder
from ..pixels import Size, resize
from ..scenes import TASKS, EditCase, Language, make_case, scenebench
from ..scenes.scenebench import RoundTrip, Score
from ..tasks import Task
from ..workflow.client import Client, Graph, PromptError
from .cases import Case, decoded, png
from .editor import Editor

DEMO_MODELS = "X2EditDemoModels"


def scene_cases(
    count: int, seed: int = 0, tasks: Sequence[Task] = TASKS, size: int = 128, language: Language | None = None
) -> Iterator[Case]:
    """`count` held-out scenes of each task, seeds from `seed` on."""
    for task in tasks:
        for number in range(seed, seed + count):
            yield scene_case(make_case(number, task, "heldout", size, language))


def scene_case(scene: EditCase) -> Case:
    source, target, mask = (
        partial(png, pixels) for pixels in (scene.source, scene.target, scene.region.astype(np.uint8) * 255)
    )
    label = scene.task.english
    given = (scene.instruction, label, scene.task, source, target, mask)
    return Case(f"{label} {scene.seed}", *given, language=scene.language, scene=scene)


def score_scene(case: Case, edit: bytes, round_trip: RoundTrip) -> Score:
    """SceneBench's score of an edited picture, brought to the scene's size where it has another."""
    assert case.scene is not None
    picture = resize(decoded(edit, case.name), Size(*case.scene.target.shape[:2]))
    pixels = (picture[0] * 255).round().byte().numpy()
    return scenebench.score(case.scene, pixels, round_trip)


def round_trip_for(graph: Graph) -> RoundTrip:
    """That of the embedded autoencoder where the graph uses it. Of another one nothing is known, and nothing excused."""
    embedded = any(node["class_type"] == DEMO_MODELS for node in graph.values())
    return embedded_round_trip if embedded else lambda picture: picture


def embedded_round_trip(picture: autoencoder.NDArray[np.uint8]) -> autoencoder.NDArray[np.uint8]:
    return autoencoder.round_trip(_embedded(), picture)


@cache
def _embedded() -> autoencoder.Autoencoder:
    network = autoencoder.Autoencoder()
    network.load_state_dict(load_file(AUTOENCODER))
    return network.eval()


def run_scenes(
    client: Client,
    graph: Graph,
    count: int,
    seed: int = 0,
    tasks: Sequence[Task] = TASKS,
    size: int = 128,
    told: Callable[[Task], Task] = lambda task: task,
    on_score: Callable[[Case, Score | PromptError], None] = lambda case, score: None,
) -> dict[str, object]:
    """Edit `count` held-out scenes of each task by `graph` (API form) and summarise as `scenebench.summary` does.

    The noise's seed is the scene's; `told` is the task that the graph hears of. `on_score` hears of every case as it
    ends. One that fails counts as an edit without success; raises `ServerError` when the host is gone.
    """
    editor, round_trip = Editor(client, graph), round_trip_for(graph)
    scores: list[tuple[Task, Score]] = []
    for case in scene_cases(count, seed, tasks, size):
        assert case.scene is not None
        try:
            edit = editor.edit(replace(case, task=told(case.task)), case.source(), case.scene.seed)
            score = score_scene(case, edit, round_trip)
        except PromptError as error:
            on_score(case, error)
            score = Score(False, None, 0.0)
        else:
            on_score(case, score)
        scores.append((case.task, score))
    return scenebench.summary(scores)
