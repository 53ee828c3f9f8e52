"""This project's own layout: one safetensors file that says everything about itself in its metadata.

Tensors: `<site name>.down_gate`, `.up`, `.task_gate` (task-aware gates only) and `task_table`. Metadata: `x2edit_format`,
`x2edit_family`, the model's kind (a file without is of FLUX.1), and `x2edit`, a JSON object with the other fields of
`AdapterSpec`.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from torch import Tensor

from ...errors import CheckpointError, X2EditError, name_some
from ...families import FLUX1, Site, family_named
from ...files import TensorFile, account, columns, not_finite
from ...tasks import TASK_COUNT
from ..adapter import Adapter, AdapterSpec
from ..moe import RoutedDelta

FORMAT = "1"


def recognises(file: TensorFile) -> bool:
    return "x2edit_format" in file.metadata


def metadata(spec: AdapterSpec) -> dict[str, str]:
    """The metadata entries that make a file read back as `spec`."""
    fields = asdict(spec)
    family = fields.pop("family")
    return {"x2edit_format": FORMAT, "x2edit_family": family, "x2edit": json.dumps(fields, sort_keys=True)}


def tensors(adapter: Adapter) -> dict[str, Tensor]:
    """The adapter's tensors under this layout's names, detached and on the CPU."""
    named: dict[str, Tensor] = {}
    for index, site in enumerate(adapter.sites):
        for name, tensor in adapter.delta(index).named_parameters():
            named[f"{site.name}.{name}"] = tensor.detach().cpu()
    if adapter.task_table is not None:
        named["task_table"] = adapter.task_table.detach().cpu()
    return named


def read(file: TensorFile) -> Adapter:
    """The adapter in `file`; raises `CheckpointError` listing every problem found."""
    source = str(file.path)
    spec = _spec(file, source)
    task_aware = "task_table" in file
    expected = _shapes(spec, columns(file, "task_table") if task_aware else 0)
    if problems := account(file, expected):
        raise CheckpointError(source, problems, f"Its metadata describes {spec.kind} for a {spec.model}.")
    deltas = [_delta(file, site, spec, problems) for site in spec.sites]
    table = file.tensor("task_table").clone() if task_aware else None
    problems += [] if table is None else not_finite("task_table", table)
    if problems:
        raise CheckpointError(source, [name_some(problems)], "The file is damaged or its training diverged.")
    return Adapter(spec, deltas, table, source)


def _delta(file: TensorFile, site: Site, spec: AdapterSpec, problems: list[str]) -> RoutedDelta:
    """What the file holds at `site`, in memory of its own, so that nothing leans on a file that others may write to."""
    names = spec.shapes_at(site, int("task_table" in file))
    found = {name: file.tensor(f"{site.name}.{name}").clone() for name in names}
    for name, tensor in found.items():
        problems.extend(not_finite(f"{site.name}.{name}", tensor))
    return spec.pack(site, found["down_gate"], found.get("task_gate"), found["up"])


def _spec(file: TensorFile, source: str) -> AdapterSpec:
    if file.metadata["x2edit_format"] != FORMAT:
        raise CheckpointError(
            source,
            [f"its format is {file.metadata['x2edit_format']!r}, this version reads {FORMAT!r}"],
            "Update the X2Edit node pack.",
        )
    try:
        fields: dict[str, Any] = json.loads(file.metadata.get("x2edit", ""))
        fields["family"] = file.metadata.get("x2edit_family", FLUX1.name)
        fields["shape"] = family_named(fields["family"]).shape(**fields["shape"])
        fields["offsets"] = tuple(fields["offsets"])
        spec = AdapterSpec(**fields)
        _ = spec.sites, spec.routing, spec.scale
        return spec
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError, X2EditError) as error:
        raise CheckpointError(source, [f"its metadata does not describe an adapter ({error})"]) from error


def _shapes(spec: AdapterSpec, task_width: int) -> dict[str, tuple[int, ...]]:
    """Key → shape of everything a file of this spec holds."""
    shapes = {
        f"{site.name}.{name}": shape for site in spec.sites for name, shape in spec.shapes_at(site, task_width).items()
    }
    if task_width:
        shapes["task_table"] = (TASK_COUNT, task_width)
    return shapes
