"""Pictures before and after, through a recipe on whichever host is free."""

from __future__ import annotations

import hashlib
import io
import random
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from PIL import Image

from ..data.picture_files import opened
from ..data.pictures import MOST_STRETCH, size_of, stretch
from ..errors import X2EditError
from ..evaluate.editor import finished_pictures
from ..tasks import Task
from ..workflow.client import Client, Graph, PromptError, ServerError
from ..workflow.pool import Pool
from .faults import RefusedError, StoreError
from .instructions import Words
from .journal import Made, Memory, key_of
from .recipes import Recipe, recipe_for

VERSION = 1
SEEDS = 1 << 32


@dataclass(frozen=True)
class Given:
    """A picture to edit as the journal keeps it: its PNG's digest, itself, and the mask's digest where it has one."""

    digest: str
    picture: Image.Image
    mask: str = ""


@dataclass(frozen=True)
class Edited:
    """An edit as the journal keeps it; both digests are of PNGs of one size."""

    source: str
    edit: str
    recipe: str
    seed: int
    by: str
    date: str
    mask: str = ""


@dataclass
class Editors:
    """The recipes and the hosts that run them; `seed` is the set's."""

    recipes: Mapping[str, Recipe]
    pool: Pool
    seed: int = 0

    def seeds(self, record: str, words: Words) -> list[int]:
        """The noise's seeds for an edit: as many as its recipe wants, the same whenever it is asked."""
        recipe = self.recipe(words.task)
        draw = random.Random(f"{self.seed}/{record}/{words.task.id}/{words.said}")
        return [draw.randrange(SEEDS) for _ in range(recipe.config.seeds)]

    def recipe(self, task: Task) -> Recipe:
        recipe = recipe_for(self.recipes, task)
        if recipe is None:
            raise RefusedError("edits", f"no recipe is for {task.english}")
        return recipe

    def edit(self, memory: Memory, given: Given, words: Words, seed: int) -> Edited:
        """The edit of a picture with this seed. Raises `RefusedError` where the graph refuses it."""
        recipe = self.recipe(words.task)
        try:
            graph = recipe.filled(given.digest, given.mask, words.said, words.task, seed)
        except X2EditError as error:
            raise RefusedError("edits", str(error)) from error
        key = key_of("edit", VERSION, graph)
        entry = memory.entry("edit", key, lambda: self._made(memory, recipe, given, words, seed))
        value = entry["value"]
        if "refused" in value:
            raise RefusedError("edits", value["refused"])
        held = (recipe.name, seed, entry["by"], entry["date"], value.get("mask", ""))
        return Edited(value["source"], value["edit"], *held)

    def draw(self, memory: Memory, prompt: str) -> bytes:
        """A source drawn from words by the recipe `draw`; the file that the host wrote."""
        recipe = self.recipes["draw"]
        seed = random.Random(f"{self.seed}/{memory.record}/draw").randrange(SEEDS)
        graph = recipe.filled("", "", prompt, Task.OTHER, seed)

        def made() -> Made:
            try:
                data, host = self.pool.run(
                    lambda client: (_run(client, recipe, graph)[0], client.url), recipe.config.tag
                )
            except PromptError as error:
                return Made({"refused": _reason(error)})
            return Made({"picture": memory.keep(data)}, host)

        value = memory.remember("draw", key_of("draw", VERSION, graph), made)
        if "refused" in value:
            raise RefusedError("sources", value["refused"])
        return memory.blob(value["picture"])

    def _made(self, memory: Memory, recipe: Recipe, given: Given, words: Words, seed: int) -> Made:
        def work(client: Client) -> tuple[list[bytes], str]:
            image = _sent(client, memory.blob(given.digest), given.digest)
            mask = _sent(client, memory.blob(given.mask), given.mask) if given.mask and recipe.mask else ""
            graph = recipe.filled(image, mask, words.said, words.task, seed)
            return _run(client, recipe, graph), client.url

        try:
            pictures, host = self.pool.run(work, recipe.config.tag)
            source, edit = fitted(given.picture, opened(pictures[0]).convert("RGB"))
        except (ServerError, StoreError):
            raise
        except X2EditError as error:
            return Made({"refused": _reason(error)})
        value = {"source": memory.keep(png_of(source)), "edit": memory.keep(png_of(edit))}
        if len(pictures) > 1:
            value["mask"] = memory.keep(png_of(opened(pictures[1]).convert("L").resize(source.size)))
        return Made(value, host)


def fitted(source: Image.Image, edit: Image.Image) -> tuple[Image.Image, Image.Image]:
    """Both at the smaller one's size, so that no pixel is invented. Raises `X2EditError` for another shape."""
    if stretch(size_of(source), size_of(edit)) > MOST_STRETCH:
        raise X2EditError(f"the edit is {size_of(edit)}, of another shape than its source of {size_of(source)}")
    size = min((source.size, edit.size), key=lambda sides: sides[0] * sides[1])
    first, second = (one if one.size == size else one.resize(size, Image.Resampling.LANCZOS) for one in (source, edit))
    return first, second


def png_of(picture: Image.Image) -> bytes:
    """The same bytes for the same pixels."""
    buffer = io.BytesIO()
    Image.fromarray(np.asarray(picture)).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def _sent(client: Client, data: bytes, digest: str) -> str:
    return client.upload(f"x2edit_{hashlib.sha256(digest.encode()).hexdigest()[:24]}.png", data, "temp")


def _run(client: Client, recipe: Recipe, graph: Graph) -> list[bytes]:
    """The edited picture, and the mask where the recipe shows one."""
    return finished_pictures(client, graph, [recipe.places.output, recipe.config.mask_output], recipe.config.timeout)


def _reason(error: X2EditError) -> str:
    return " ".join(str(error).split())[:300]
