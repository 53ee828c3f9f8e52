"""Who edits: a saved workflow, where it takes an edit, and which kinds of edits it is for."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import X2EditError
from ..evaluate.config import PlacesConfig
from ..evaluate.places import Place, PlaceError, Places, complete, filled, place_of
from ..tasks import Task
from ..workflow.client import Graph
from ..workflow.files import load_graph
from ..workflow.pool import Pool
from .config import RecipeConfig

_HERE = Path(__file__).resolve().parent / "recipes"
_SHIPPED = Path(__file__).resolve().parents[2] / "workflows"
SHIPPED: Mapping[str, Path] = {
    "edit": _SHIPPED / "X2Edit (all nodes).json",
    "icedit": _SHIPPED / "ICEdit experts (all nodes).json",
    "qwen": _SHIPPED / "Qwen-Image (all nodes).json",
    "demo": _HERE / "demo.json",
    "inpaint": _HERE / "inpaint.json",
    "draw": _HERE / "draw.json",
}
"""Recipes that come with the pack, by the name that `workflow` takes."""
_FILES = ("unet_name", "ckpt_name", "adapter_name", "adapter", "lora_name", "vae_name", "clip_name", "clip_name1",
          "clip_name2", "base")  # fmt: skip
"""Inputs that name files of models."""


@dataclass(frozen=True)
class Recipe:
    """A workflow in the API form and its places; `models` are the files that it names."""

    name: str
    config: RecipeConfig
    graph: Graph
    places: Places
    mask: tuple[Place, ...]

    @property
    def models(self) -> str:
        found = [str(value) for node in self.graph.values() for name, value in node["inputs"].items()
                 if name in _FILES and isinstance(value, str)]  # fmt: skip
        return self.config.model or ", ".join(dict.fromkeys(found))

    @property
    def digest(self) -> str:
        return hashlib.sha256(json.dumps(self.graph, sort_keys=True).encode()).hexdigest()

    def does(self, task: Task) -> bool:
        return not self.config.tasks or task in [Task.from_name(name) for name in self.config.tasks]

    def filled(self, image: str, mask: str, instruction: str, task: Task, seed: int) -> Graph:
        """The graph with one edit in it; raises `PlaceError` where it needs a mask and there is none."""
        if self.mask and not mask:
            raise PlaceError(f"The recipe {self.name!r} needs a mask, and the picture has none.")
        graph = filled(self.graph, self.places, image, instruction, task, seed)
        for node, name in self.mask:
            graph[node]["inputs"][name] = mask
        return graph


def load_recipes(configs: Mapping[str, RecipeConfig], pool: Pool) -> dict[str, Recipe]:
    """Every recipe, converted by a host of the pool where it is in the page's form; raises `X2EditError`."""
    return {name: _loaded(name, config, pool) for name, config in configs.items()}


def _loaded(name: str, config: RecipeConfig, pool: Pool) -> Recipe:
    path = SHIPPED.get(config.workflow, Path(config.workflow))
    graph = pool.run(lambda client: load_graph(path, client), config.tag)
    given = PlacesConfig(config.image, config.instruction, config.task, config.seed, config.output).parsed()
    masks = tuple(map(place_of, config.mask)) or _masks(graph)
    try:
        places = _without_picture(graph, given) if name == "draw" else complete(_unmasked(graph, masks), given)
    except PlaceError as error:
        raise X2EditError(f"recipes.{name}: {error}") from error
    return Recipe(name, config, graph, places, masks)


def _masks(graph: Graph) -> tuple[Place, ...]:
    """The node that loads a mask from a file of its own."""
    return tuple((key, "image") for key, node in graph.items() if node["class_type"] == "LoadImageMask")


def _unmasked(graph: Graph, masks: tuple[Place, ...]) -> Graph:
    """The graph without nodes that take the mask, which are no source."""
    nodes = {node for node, _ in masks}
    return {key: node for key, node in graph.items() if key not in nodes}


def _without_picture(graph: Graph, given: Places) -> Places:
    """Places of a graph that draws from words alone: what stands for the source is a node that does not matter."""
    held: dict[str, Any] = {"x": {"class_type": "LoadImage", "inputs": {"image": ""}}}
    found = complete({**copy.deepcopy(graph), **held}, given)
    return Places((), found.instruction, found.task, found.seed, found.output)


def recipe_for(recipes: Mapping[str, Recipe], task: Task) -> Recipe | None:
    """The first recipe that names the task, else the first that names none."""
    able = [recipe for name, recipe in recipes.items() if name != "draw" and recipe.does(task)]
    return next((recipe for recipe in able if recipe.config.tasks), able[0] if able else None)
