"""Chats on the host: its own text generation from a CLIP, and a place in its memory for a transformers model."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from ..chat import chatml
from ..chat.folder import FolderChat
from ..chat.images import to_tensor
from ..chat.packing import PackedAnswers, answer_ids
from ..chat.protocol import ChatError, Message, check_answers, check_messages
from ..chat.thinking import strip_thinking
from ..errors import X2EditError
from .host import comfy, device_context, unload
from .listing import model_folders

log = logging.getLogger(__name__)

HEAD = "lm_head.weight"
FOLDER_CATEGORIES = ("text_encoders", "LLM")


def poll() -> None:
    """Raise the host's interrupt if a person asked for it."""
    comfy.model_management.throw_exception_if_processing_interrupted()


class HostClipChat:
    """Talks through the host's `clip`: no second copy of the model, and its memory stays the host's to manage.

    Raises `ChatError` for a text encoder that cannot generate, with advice which one can.
    """

    def __init__(self, clip: Any, longest_image_px: int = 1024) -> None:
        self._clip = clip
        self._longest_image_px = longest_image_px
        stage = clip.cond_stage_model
        self._name = str(getattr(stage, "clip", type(stage).__name__))
        self._encoder: Any = getattr(stage, self._name, None)
        self._model: Any = getattr(self._encoder, "transformer", None)
        self._tokenizer: Any = getattr(getattr(clip.tokenizer, self._name, None), "tokenizer", None)
        _check_model(self._model, stage)
        if self._tokenizer is None or chatml.END_OF_TURN not in self._tokenizer.get_vocab():
            raise ChatError("unsupported", f"{self.name} is not a Qwen model, whose turns are written here. {_ADVICE}")
        _check_head(clip, self._model, self.name)

    @property
    def name(self) -> str:
        return self._name

    @property
    def vision(self) -> bool:
        return hasattr(self._model, "visual")

    def release(self) -> None:
        """Move the model out of the device's memory; the next question brings it back."""
        unload(self._clip.patcher)

    def generate(self, messages: Sequence[Message], max_tokens: int = 256) -> str:
        check_messages(messages, self.vision, self.name)
        tokens = {self._name: [[(token, 1.0) for token in self._tokens(messages)]]}
        with _OutOfMemory(self.name), torch.no_grad():
            ids = self._clip.generate(tokens, do_sample=False, max_length=max_tokens)
        return strip_thinking(self._clip.decode(ids))

    def score(self, messages: Sequence[Message], answers: Sequence[str]) -> list[float] | None:
        """All answers in one forward pass behind the messages; None where layers remember more than attention sees."""
        check_messages(messages, self.vision, self.name)
        check_answers(answers)
        if type(self._model.model) is not comfy.text_encoders.llama.Llama2_:
            return None
        end = self._tokenizer.convert_tokens_to_ids(chatml.END_OF_TURN)
        replies = answer_ids([self._ids(answer) for answer in answers], end)
        tokens = self._tokens(messages)
        poll()
        with _OutOfMemory(self.name), torch.no_grad():
            self._clip.load_model({self._name: [[(token, 1.0) for token in tokens]]})
            device = self._clip.patcher.load_device
            with device_context(device):
                return self._score(tokens, replies, device)

    def _score(self, tokens: list[Any], replies: tuple[tuple[int, ...], ...], device: torch.device) -> list[float]:
        model = self._model
        prompt, _, _, info = self._encoder.process_tokens([tokens], device)
        packed = PackedAnswers(replies, prompt.shape[1])
        extra = torch.tensor([packed.extra_ids], device=device, dtype=torch.long)
        embeds = torch.cat([prompt, model.get_input_embeddings()(extra, out_dtype=torch.float32)], dim=1)
        # As the host's own generation does.
        dtype = torch.bfloat16 if comfy.model_management.should_use_bf16(device) else torch.float32
        output = model.model(
            None,
            attention_mask=packed.mask()[None].to(device=device, dtype=torch.long),
            embeds=embeds.to(dtype),
            **_positions(model, prompt, info, packed),
        )[0]
        logits = model.logits(output[0, packed.predicting_rows].unsqueeze(1)).squeeze(1)
        return packed.totals(logits)

    def _tokens(self, messages: Sequence[Message]) -> list[Any]:
        """The conversation as the host's token list: ids, and pictures in the places of their slots.

        The model's own tokenizer is asked, since the host's pads Klein's prompts to 512 tokens, wraps texts into
        templates for drawing, and reads `embedding:` and brackets as commands.
        """
        pictures = [to_tensor(image, self._longest_image_px) for message in messages for image in message.images]
        slot = self._tokenizer.convert_tokens_to_ids("<|image_pad|>") if pictures else None
        tokens: list[Any] = self._ids(chatml.render(messages))
        for index, token in enumerate(tokens):
            if slot is not None and token == slot:
                tokens[index] = {"type": "image", "data": pictures.pop(0), "original_type": "image"}
        return tokens

    def _ids(self, text: str) -> list[int]:
        return list(self._tokenizer(text, add_special_tokens=False)["input_ids"])


_WITH_HEAD = ("Qwen3_8B",)
"""The host's classes of models whose output layer is not their embeddings; older hosts answer with those all the same."""
_ADVICE = (
    "Load a Qwen3 or Qwen3-VL language model with the core CLIPLoader, such as qwen_3_4b or qwen3_vl_4b, or use Chat "
    "From Folder or Chat From Endpoint."
)


def _check_model(model: Any, stage: Any) -> None:
    found = type(stage if model is None else model).__name__
    if isinstance(model, comfy.text_encoders.llama.Qwen25_7BVLI):
        raise ChatError(
            "unsupported",
            "ComfyUI loads Qwen2.5-VL without its output layer, so it can only encode. " + _ADVICE,
        )
    if not isinstance(model, comfy.text_encoders.llama.BaseGenerate):
        raise ChatError("unsupported", f"The text encoder {found} cannot generate text. {_ADVICE}")
    config = getattr(getattr(model, "model", None), "config", None)
    if not getattr(config, "final_norm", True):
        raise ChatError("unsupported", f"The text encoder {found} is cut off before its last layers. {_ADVICE}")


def _check_head(clip: Any, model: Any, name: str) -> None:
    """Some files hold a model without its output layer; the host then answers from memory it never filled."""
    head = getattr(model.model, "lm_head", None)
    if head is None and type(model).__name__ in _WITH_HEAD:
        raise ChatError(
            "unsupported",
            f"This ComfyUI loads {name} without its output layer, so that its text would be noise. Update ComfyUI, or use "
            "a 4B model, which needs none.",
        )
    if head is None:  # tied to the embeddings, or none by design
        return
    if _head_in_files(clip) is False or _is_blank(getattr(head, "weight", None), model.model.config):
        raise ChatError(
            "missing",
            f"This file of {name} holds no output layer (lm_head.weight): it can encode, but its text would be noise. "
            "Use a file of the whole model, such as the original safetensors, or a 4B model, which needs none.",
        )


def _head_in_files(clip: Any) -> bool | None:
    """Whether a file that `clip` was loaded from names the output layer; None when that cannot be known."""
    origin = getattr(clip.patcher, "cached_patcher_init", None)
    paths = origin[1][0] if origin and origin[1] and isinstance(origin[1][0], (list, tuple)) else []
    if not paths or not all(str(path).endswith((".safetensors", ".sft")) for path in paths):
        return None
    try:
        keys = [key for path in paths for key in _keys(path)]
    except (OSError, SafetensorError):
        return None
    return any(key.endswith(HEAD) for key in keys)


def _keys(path: str) -> list[str]:
    with safe_open(path, framework="pt") as file:
        return list(file.keys())


def _is_blank(weight: Any, config: Any) -> bool:
    """Never filled: absent, of a shape that is no output layer's, one value throughout, or not a number."""
    if weight is None:
        return True
    if type(weight) is not nn.Parameter or not weight.is_floating_point():
        return False  # quantised: it came from a file
    if tuple(weight.shape) != (config.vocab_size, config.hidden_size):
        return True
    sample = weight[:: max(1, len(weight) // 64)].float()
    return not bool(sample.isfinite().all()) or bool((sample == sample.flatten()[0]).all())


def _positions(model: Any, prompt: Tensor, info: list[Any], packed: PackedAnswers) -> dict[str, Any]:
    """Rotary positions (1 or 3, L) of prompt and answers, and what Qwen3-VL adds to the rows of its images."""
    grid = slots = deepstack = None
    if hasattr(model, "build_image_inputs"):
        grid, slots, deepstack = model.build_image_inputs(prompt, info)
    length = packed.prompt_length
    real = torch.arange(length, device=prompt.device)[None] if grid is None else grid.to(torch.long)
    extra = packed.extra_positions(int(real[:, -1].max()) + 1).to(prompt.device)
    inputs: dict[str, Any] = {"position_ids": torch.cat([real, extra.expand(real.shape[0], -1)], dim=1)}
    if slots is not None:
        inputs["visual_pos_masks"] = nn.functional.pad(slots, (0, len(extra)))
        inputs["deepstack_embeds"] = deepstack
    return inputs


class _OutOfMemory:
    """Tells running out of memory as a `ChatError`, so that a judge or classifier can fall back."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if isinstance(error, comfy.model_management.OOM_EXCEPTION):
            comfy.model_management.soft_empty_cache()
            problem = f"{self._name} ran out of memory. Use a smaller or quantised file, or smaller images."
            raise ChatError("memory", problem) from error


class _Holder(nn.Module):
    """The host writes `device` on what it manages, which transformers' models do not allow."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model


class HostResident:
    """A foreign model in the host's memory: counted with its own, unloaded with them and on `/free`."""

    def __init__(self, module: nn.Module, device: torch.device) -> None:
        offload = comfy.model_management.text_encoder_offload_device()
        self.patcher = comfy.model_patcher.ModelPatcher(_Holder(module), load_device=device, offload_device=offload)

    def ready(self, memory_bytes: int) -> torch.device:
        """Whole on its device: foreign layers cannot fetch their weights one by one as the host's do."""
        device = self.patcher.load_device
        comfy.model_management.load_models_gpu([self.patcher], memory_required=memory_bytes, force_full_load=True)
        if any(parameter.device.type != device.type for parameter in self.patcher.model.parameters()):
            raise ChatError(
                "memory",
                "The model does not fit into this device's memory. Use a smaller model, or device cpu.",
            )
        return device

    def release(self) -> None:
        unload(self.patcher)


DEVICES = ("auto", "cpu")
DTYPES = {"auto": None, "bfloat16": torch.bfloat16, "float16": torch.float16, "float32": torch.float32}


def folder_chat(name: str, device: str, dtype: str, longest_image_px: int) -> FolderChat:
    """The model in the folder `name`, living in the host's memory; `device` and `dtype` are of `DEVICES`, `DTYPES`."""
    place = torch.device("cpu") if device == "cpu" else comfy.model_management.text_encoder_device()
    chosen = DTYPES[dtype] or _fitting_dtype(place)
    return FolderChat(chat_folder(name), lambda module: HostResident(module, place), chosen, longest_image_px, poll)


def _fitting_dtype(device: torch.device) -> torch.dtype:
    """bfloat16 where the device computes in it; float32 on a CPU, for which half precision is slow."""
    if comfy.model_management.is_device_cpu(device):
        return torch.float32
    return torch.bfloat16 if comfy.model_management.should_use_bf16(device) else torch.float16


def chat_folders() -> dict[str, Path]:
    """Names and places of transformers models, and LoRAs of them, under models/text_encoders and models/LLM."""
    found: dict[str, Path] = {}
    for category in FOLDER_CATEGORIES:
        found |= model_folders(category)
    return dict(sorted(found.items()))


def chat_folder(name: str) -> Path:
    """The folder behind a name of `chat_folders`; raises `X2EditError` for anything else, so no path gets out."""
    folders = chat_folders()
    if name not in folders:
        raise X2EditError(
            f"The model folder {name!r} was not found. Put a whole transformers model into a folder under "
            "models/text_encoders or models/LLM and refresh the page."
        )
    return folders[name]
