"""From a configuration to everything that makes its set: hosts, recipes, models, measures."""

from __future__ import annotations

from ..evaluate.scenes import round_trip_for
from ..workflow.client import Client
from ..workflow.pool import Host, Pool
from .chain import Workshop
from .config import DatasetConfig
from .edits import Editors
from .endpoints import Asked, Budget, Meter, asked
from .instructions import Instructor
from .recipes import load_recipes
from .run import spent
from .scores import scorers


def pool_of(config: DatasetConfig) -> Pool:
    hosts = [Host(Client(host.address), host.depth, frozenset(host.tags)) for host in config.hosts]
    return Pool(hosts, probe_s=config.probe, patience_s=config.patience)


def workshop(config: DatasetConfig) -> Workshop:
    """Raises `X2EditError` for a recipe, a model or a measure that cannot be used, before anything is made."""
    pool = pool_of(config)
    budget = Budget(config.budget, *spent(config.folder))
    models = _models(config, budget)
    recipes = load_recipes(config.recipes, pool)
    graph = {f"{name}/{key}": node for name, recipe in recipes.items() for key, node in recipe.graph.items()}
    return Workshop(
        config,
        Instructor(config.instructions, config.seed, models.get("writer")),
        Editors(recipes, pool, config.seed),
        scorers(config.scores, models.get("judge"), round_trip_for(graph)),
        models.get("judge"),
    )


def _models(config: DatasetConfig, budget: Budget) -> dict[str, Asked]:
    meter = Meter()
    return {name: asked(one, budget, meter, config.patience) for name, one in config.endpoints.items()}
