"""AlignNet: the hidden states of Qwen2.5-VL become FLUX's text context and pooled vector.

X2Edit replaces T5 and CLIP by one language model and this small network (upstream `src/proj.py`,
`src/pipeline_1024.py`).
Letters: B batch, N states (embeddings, every layer's output, the last one after the final norm), S tokens (512),
H language width (3584), C context width (4096), P pooled width (768).
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from .errors import CheckpointError, name_some
from .files import save_pickled

SEQUENCE_LENGTH = 512
PAD_TOKEN = 151643
PAD_POSITION = 1
IMAGE_SIDE_PX = 256
IMAGE_SLOT = "<|vision_start|><|image_pad|><|vision_end|>"
SYSTEM_PROMPT = "You are a helpful assistant."

PromptForm = Literal["infer", "train"]
PROMPT_FORMS: tuple[PromptForm, ...] = ("infer", "train")


class _Head(nn.Module):
    """Norm, projector and pooled head; the attribute names are the file's keys."""

    def __init__(self, width: int, context_width: int, pooled_width: int, operations: Any) -> None:
        super().__init__()
        self.layernorm = operations.LayerNorm(width, eps=1e-6)
        self.projector = nn.Sequential(
            operations.Linear(width, context_width, bias=False),
            nn.GELU(),
            operations.Linear(context_width, context_width, bias=False),
        )
        self.fc = nn.Sequential(nn.GELU(), operations.Linear(context_width, pooled_width))


class AlignNet(nn.Module):
    """(B, N, S, H) hidden states → context (B, S, C) and pooled (B, P).

    `operations` holds the Linear, Conv2d and LayerNorm classes: torch's own, or a host's that offload their weights.
    """

    def __init__(self, states: int, width: int, context_width: int, pooled_width: int, operations: Any = nn) -> None:
        super().__init__()
        self.states = states
        self.width = width
        self.context_width, self.pooled_width = context_width, pooled_width
        self.conv = operations.Conv2d(states, 1, kernel_size=5, padding=2)
        self.mlp = _Head(width, context_width, pooled_width, operations)

    def forward(self, hidden_states: Tensor) -> tuple[Tensor, Tensor]:
        """The states are the convolution's channels and (S, H) its plane; pooling averages all rows, pads included."""
        mixed = self.conv(hidden_states).squeeze(1)  # (B, S, H)
        context = self.mlp.projector(self.mlp.layernorm(mixed))  # (B, S, C)
        return context, self.mlp.fc(context).mean(dim=1)


def load_alignnet(path: str | Path, operations: Any = nn) -> AlignNet:
    """Read AlignNet in float32 from `.bin`, `.pt` or `.safetensors`: a plain state dict, or one wrapped as
    `{"config", "state_dict"}`, each with or without `module.` before its keys.

    Raises `CheckpointError` that lists every missing, unexpected or misshapen key.
    """
    path = Path(path)
    weights = _strip_module(_unwrap(_read(path), path.name))
    sizes = _sizes(weights, path.name)
    with torch.device("meta"):
        expected = AlignNet(*sizes).state_dict()
        net = AlignNet(*sizes, operations)
    problems = _problems(expected, weights)
    if problems:
        raise CheckpointError(path.name, problems, _ADVICE)
    net.load_state_dict({key: value.float() for key, value in weights.items()}, assign=True)
    return net.eval().requires_grad_(False)


def save_alignnet(net: AlignNet, path: Path) -> None:
    """Write AlignNet as it is released: a pickled plain state dict; float32."""
    save_pickled({key: value.detach().to("cpu", torch.float32) for key, value in net.state_dict().items()}, path)


_ADVICE = (
    "Expected AlignNet's eight tensors: use the diffusion_pytorch_model.bin that lies beside X2Edit's lora.safetensors."
)


def _read(path: Path) -> object:
    if not path.is_file():
        raise CheckpointError(path.name, [f"no such file in {path.parent}"], _ADVICE)
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        problem = "it holds Python objects other than tensors, which are not loaded for safety"
        raise CheckpointError(path.name, [problem], _ADVICE) from error
    except Exception as error:  # torch and safetensors raise many types on a damaged file
        raise CheckpointError(path.name, [f"it cannot be read ({type(error).__name__}: {error})"], _ADVICE) from error


def _unwrap(content: object, name: str) -> dict[str, Tensor]:
    """The inner state dict; X2I's files wrap it (`x2i_comfyui/model.py`)."""
    if isinstance(content, Mapping) and isinstance(content.get("state_dict"), Mapping):
        content = content["state_dict"]
    if not isinstance(content, Mapping):
        raise CheckpointError(name, [f"it holds a {type(content).__name__}, not a table of tensors"], _ADVICE)
    strangers = [str(key) for key, value in content.items() if not isinstance(value, Tensor)]
    if strangers:
        raise CheckpointError(name, [f"entries that are not tensors: {name_some(strangers)}"], _ADVICE)
    return {str(key): value for key, value in content.items()}


def _strip_module(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    return {key.removeprefix("module."): value for key, value in weights.items()}


def _sizes(weights: dict[str, Tensor], name: str) -> tuple[int, int, int, int]:
    """States, language width, context width and pooled width, read from the four tensors that carry them."""
    ranks = {"conv.weight": 4, "mlp.layernorm.weight": 1, "mlp.projector.0.weight": 2, "mlp.fc.1.weight": 2}
    problems = [
        f"{key} is missing"
        if key not in weights
        else f"{key} has shape {list(weights[key].shape)}, expected {rank} dimensions"
        for key, rank in ranks.items()
        if key not in weights or weights[key].ndim != rank
    ]
    if problems:
        extra = [key for key in weights if key not in ranks and not key.startswith(("conv.", "mlp."))]
        raise CheckpointError(name, problems + ([f"unknown keys: {name_some(extra)}"] if extra else []), _ADVICE)
    conv, norm, projector, fc = (weights[key] for key in ranks)
    return conv.shape[1], norm.shape[0], projector.shape[0], fc.shape[0]


def _problems(expected: Mapping[str, Tensor], found: dict[str, Tensor]) -> list[str]:
    problems = [f"{key} is missing" for key in expected if key not in found]
    problems += [f"{key} is unknown" for key in found if key not in expected]
    for key in expected.keys() & found.keys():
        if expected[key].shape != found[key].shape:
            problems.append(f"{key} has shape {list(found[key].shape)}, expected {list(expected[key].shape)}")
    return sorted(problems)


def with_triggers(instruction: str, trigger_words: str) -> str:
    """A style LoRA's trigger words before the instruction, joined by a comma as in `"ghibli,Make it rain"`.

    Upstream adds nothing between them (`infer.py`), and all its triggers end in a comma.
    """
    triggers = trigger_words.strip()
    if not triggers:
        return instruction
    return f"{triggers if triggers.endswith(',') else triggers + ','}{instruction}"


def prompt_text(instruction: str, form: PromptForm = "infer") -> str:
    """The user turn for `instruction`: bare as in training, or wrapped as upstream's inference does.

    The wrapped form is a dict's `repr`: quotes flip when the instruction holds an apostrophe, a newline becomes `\\n`.
    """
    if form == "train":
        return instruction
    return str({"Text input": "", "Instruction editing description": instruction, "image input": "yes"})


def chat_text(user_text: str, images: int = 0) -> str:
    """Qwen2.5-VL's chat template with its default system turn, up to where the assistant would answer.

    Images follow the text, as in upstream's (disabled) multimodal branch, `src/pipeline_1024.py`.
    """
    return (
        f"<|im_start|>system\n{SYSTEM_PROMPT}<|im_end|>\n"
        f"<|im_start|>user\n{user_text}{IMAGE_SLOT * images}<|im_end|>\n<|im_start|>assistant\n"
    )


@dataclass(frozen=True)
class PaddedTokens:
    """One prompt of exactly `SEQUENCE_LENGTH` tokens: pads on the left, what did not fit cut off on the right."""

    ids: tuple[int, ...]
    pads: int
    cut: int

    @classmethod
    def of(cls, ids: Sequence[int], length: int = SEQUENCE_LENGTH) -> PaddedTokens:
        kept = tuple(ids[:length])
        pads = length - len(kept)
        return cls((PAD_TOKEN,) * pads + kept, pads, max(0, len(ids) - length))


def reference_positions(pads: int, length: int, real: Tensor | None = None) -> Tensor:
    """Rotary positions (1, length), or (3, length) when `real` (3, length - pads) comes from an image's grid.

    transformers counts real tokens from 0 and gives every pad position 1.
    """
    counted = torch.arange(length - pads).unsqueeze(0) if real is None else real
    filler = torch.full((counted.shape[0], pads), PAD_POSITION, dtype=counted.dtype, device=counted.device)
    return torch.cat([filler, counted], dim=1)


def reference_mask(pads: int, length: int) -> Tensor:
    """Which key (column) each query (row) sees, boolean (length, length).

    A real row sees the real tokens up to itself. A pad row would see nothing; transformers 4.51 with SDPA on CUDA
    lets such rows see all keys (`_unmask_unattended`), and FLUX reads them, so the same is done here.
    """
    mask = torch.ones(length, length, dtype=torch.bool).tril()
    mask[:, :pads] = False
    mask[:pads, :] = True
    return mask
