"""Training, in a graph."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, get_args

from comfy_api.latest import io

from ..x2edit_core.errors import X2EditError
from ..x2edit_core.train.config import GoOn, Kind
from .sockets import Adapter

if TYPE_CHECKING:
    from ..x2edit_core.comfy_bridge.models import ManagedAdapter

KINDS = [kind for kind in get_args(Kind) if kind != "base"]
GO_ON, NEW_NAME = "go on", "new name"
AGAIN: Mapping[str, GoOn] = {
    GO_ON: "same",
    NEW_NAME: "same",
    "go on with other rates": "rates",
    "go on with fresh moments": "fresh",
}


class X2EditTrain(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="X2EditTrain",
            display_name="Train X2Edit Adapter",
            category="X2Edit/training",
            description=(
                "Trains an editing adapter on pairs of pictures with instructions. It saves as it goes: cancelling keeps the "
                "work, and running it again with the same name and more steps goes on."
            ),
            search_aliases=["x2edit", "fine-tune", "train lora", "moe lora training", "finetune", "训练", "微调"],
            is_output_node=True,
            inputs=[
                io.Model.Input(
                    "model", tooltip="The FLUX.1, Qwen-Image or FLUX.2 model to adapt; FLUX Fill for the kinds of ICEdit."
                ),
                io.Clip.Input("clip", tooltip="The text encoder that will be used with the adapter."),
                io.Vae.Input("vae", tooltip="The autoencoder of the model: FLUX.1's, Qwen-Image's or FLUX.2's."),
                io.String.Input(
                    "dataset",
                    default="scenes",
                    tooltip="Where the pairs lie, in the input folder or where the server's owner allowed it: a folder, a "
                    ".jsonl, a folder of WebDataset tars or of MagicBrush or OmniEdit parquet. `scenes` draws simple pictures "
                    "with exact edits.",
                ),
                io.String.Input(
                    "name",
                    default="my_edit",
                    tooltip="The adapter becomes models/x2edit/NAME.safetensors, or NAME_2 where another file has that name; "
                    "states and losses go to the output folder.",
                ),
                io.Combo.Input(
                    "kind",
                    options=KINDS,
                    default="x2edit",
                    tooltip="x2edit: experts chosen by task and token. moe: by token alone. lora: one plain LoRA at the same "
                    "places. icedit, icedit_moe: on diptychs, with FLUX Fill.",
                ),
                io.Int.Input("steps", default=1000, min=1, max=1000000, tooltip="Optimiser steps in all."),
                io.Int.Input("batch", default=1, min=1, max=512, tooltip="Samples per step."),
                io.Float.Input(
                    "learning_rate", default=1e-4, min=0.0, max=10.0, step=1e-6, round=False,
                    tooltip="How far a step goes, above 0; 1e-4 suits AdamW, Prodigy needs 1.",
                ),
                io.Int.Input("rank", default=64, min=1, max=1024, tooltip="Rank of every expert."),
                io.Int.Input("experts", default=12, min=1, max=64, tooltip="Experts per gate; X2Edit has 12, ICEdit 4."),
                io.Int.Input(
                    "size", default=512, min=16, max=1024, step=16,
                    tooltip="512 and 1024 sort pictures into aspect buckets; any other number makes squares of that side.",
                ),
                io.Int.Input("seed", default=0, min=0, max=0xFFFFFFFF, tooltip="Decides weights, order, noise and times."),
                io.String.Input(
                    "further", default="", multiline=True, optional=True, advanced=True,
                    tooltip="Any entries of a training configuration, as TOML; docs/training.md lists them.",
                ),
                io.Combo.Input(
                    "again", options=list(AGAIN), default=GO_ON, optional=True, advanced=True,
                    tooltip="When there is a run of this name: go on with it, or begin another under the next free name "
                    "(NAME_2, NAME_3 …), so that every run of the graph trains anew and nothing is overwritten. Going on with "
                    "other rates keeps what the optimiser has gathered; with fresh moments all of its settings may be others.",
                ),
                Adapter.Input(
                    "start", optional=True,
                    tooltip="An adapter to begin from, released or your own, from Load X2Edit Adapter. It does at first "
                    "what that did: experts as it has, rank the same or larger. Nothing connected: new weights.",
                ),
            ],
            outputs=[
                Adapter.Output("adapter", display_name="adapter", tooltip="The trained adapter, for Apply X2Edit Adapter."),
                io.String.Output("path", display_name="path", tooltip="The adapter's file."),
                io.Image.Output("loss_plot", display_name="loss_plot", tooltip="The losses over the steps."),
            ],
            hidden=[io.Hidden.unique_id],
        )  # fmt: skip

    @classmethod
    def fingerprint_inputs(cls, name: str | None = None, again: str | None = GO_ON, **_: Any) -> str:
        """The name that a run would get: once it is taken, the same graph trains anew. What another node gives is None."""
        if again != NEW_NAME or name is None:
            return name or ""
        from ..x2edit_core.comfy_bridge.training.node import next_name

        try:
            return next_name(name)
        except X2EditError:  # told by the run
            return name

    @classmethod
    def execute(
        cls,
        model: Any,
        clip: Any,
        vae: Any,
        dataset: str,
        name: str,
        kind: str,
        steps: int,
        batch: int,
        learning_rate: float,
        rank: int,
        experts: int,
        size: int,
        seed: int,
        further: str = "",
        again: str = GO_ON,
        start: ManagedAdapter | None = None,
    ) -> io.NodeOutput:
        from ..x2edit_core.comfy_bridge.training import node as training_node

        if again == NEW_NAME:
            name = training_node.next_name(name)
        values: dict[str, Any] = {"kind": kind, "steps": steps, "batch": batch, "seed": seed, "data": {"size": size}}
        values |= {
            "adapter": {"rank": rank, "experts": experts},
            "optim": {"rate": learning_rate},
            "go_on": AGAIN[again],
        }
        config = training_node.node_config(dataset, name, values, further)
        trained = training_node.train_in_graph(
            config, training_node.HostModels(model, clip, vae, start and start.adapter), name, cls.hidden.unique_id
        )
        return io.NodeOutput(trained.adapter, str(trained.path), trained.plot)


NODES = [X2EditTrain]
