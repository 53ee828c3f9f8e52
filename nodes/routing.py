"""A look at the gates."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from comfy_api.latest import io

from ..x2edit_core.adapters.routing_map import describe_routing, draw_routing
from ..x2edit_core.comfy_bridge.notices import show_on_node
from ..x2edit_core.comfy_bridge.routing import PROJECTIONS, watch_routing


class X2EditRoutingMap(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="X2EditRoutingMap",
            display_name="X2Edit Routing Map",
            category="X2Edit/analysis",
            description="Shows which expert serves which patch of the picture at one layer and one moment of sampling. Left "
            "is the target, right the references.",
            search_aliases=["expert map", "gate", "moe visualisation"],
            inputs=[
                io.Model.Input("model", tooltip="A model with an adapter applied."),
                io.Conditioning.Input("conditioning", tooltip="With its reference, as it goes into the sampler."),
                io.Latent.Input("latent", tooltip="The latent of that moment; an empty one for the start."),
                io.Float.Input(
                    "sigma",
                    default=0.7,
                    min=0.001,
                    max=1.0,
                    step=0.001,
                    tooltip="The moment of sampling: 1 is pure noise, 0 the finished picture. The latent is noised to it.",
                ),
                io.Combo.Input("stream", options=["double", "single"], tooltip="Which kind of block to look into."),
                io.Int.Input("block", default=-1, min=-64, max=63, tooltip="Which block; -1 is the last one."),
                io.Combo.Input(
                    "projection", options=list(PROJECTIONS), tooltip="Whose gate: each projection has its own."
                ),
            ],
            hidden=[io.Hidden.unique_id],
            outputs=[
                io.Image.Output("image", display_name="image", tooltip="The map, with a legend of expert numbers."),
                io.String.Output("report", display_name="report", tooltip="Usage of each expert in figures."),
            ],
        )

    @classmethod
    def execute(
        cls,
        model: Any,
        conditioning: Any,
        latent: dict[str, Any],
        sigma: float,
        stream: str,
        block: int,
        projection: str,
    ) -> io.NodeOutput:
        routing = watch_routing(model, conditioning, latent, sigma, stream, block, projection)
        maps = [np.asarray(draw_routing(gate, routing.grids)) for gate in routing.gate]
        image = torch.from_numpy(np.stack(maps)).float() / 255.0
        report = describe_routing(routing.gate.flatten(0, 1), routing.place)
        show_on_node(report, cls.hidden.unique_id)
        return io.NodeOutput(image, report)


NODES = [X2EditRoutingMap]
