"""A chat that runs a local transformers folder, for models the host cannot generate with.

transformers is imported when the first question is asked and reads local files only: nothing is downloaded, and no
code that lies in the folder is run. Tested with Qwen3, Qwen2.5-VL and Qwen3-VL.
"""

from __future__ import annotations

import copy
import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from ..errors import name_some
from . import chatml
from .images import to_pil
from .merged import base_of, is_adapter, merged
from .packing import PackedAnswers, answer_ids
from .protocol import ChatError, Message, Poll, check_answers, check_messages, no_poll, plain_text
from .thinking import strip_thinking

log = logging.getLogger(__name__)

BYTES_PER_TOKEN = 1024 * 1024
"""Generous room for one token's cache and activations, for whoever makes room in memory."""


class Resident(Protocol):
    """Where a loaded model lives, and who may move it away between two questions."""

    def ready(self, memory_bytes: int) -> torch.device:
        """Bring the model to its device with `memory_bytes` to spare, and name that device."""
        ...

    def release(self) -> None:
        """Give the device's memory back until the model is next needed."""
        ...


class OnDevice:
    """A model that stays where it is put."""

    def __init__(self, module: nn.Module, device: torch.device | str = "cpu") -> None:
        self._device = torch.device(device)
        module.to(self._device)

    def ready(self, memory_bytes: int) -> torch.device:
        del memory_bytes
        return self._device

    def release(self) -> None:
        """It stays."""


@dataclass(frozen=True)
class _Loaded:
    model: Any
    processor: Any
    tokenizer: Any
    resident: Resident


class FolderChat:
    """Runs the model in `folder`, or the LoRA there merged into its base; `settle` takes it in charge, by default on the CPU.

    Raises `ChatError` for a folder that is not a usable model, before transformers is imported.
    """

    def __init__(
        self,
        folder: str | Path,
        settle: Callable[[nn.Module], Resident] = OnDevice,
        dtype: torch.dtype = torch.float32,
        longest_image_px: int = 1024,
        poll: Poll = no_poll,
    ) -> None:
        self.folder = Path(folder)
        self._model_folder = base_of(self.folder) if is_adapter(self.folder) else self.folder
        self._config = _read_config(self._model_folder)
        self._settle = settle
        self._dtype = dtype
        self._longest_image_px = longest_image_px
        self._poll = poll
        self._loaded: _Loaded | None = None

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def vision(self) -> bool:
        return "vision_config" in self._config

    def release(self) -> None:
        """Give the device's memory back; the next question brings the model to its device again."""
        if self._loaded is not None:
            self._loaded.resident.release()

    def generate(self, messages: Sequence[Message], max_tokens: int = 256) -> str:
        check_messages(messages, self.vision, self.name)
        loaded = self._load()
        inputs = self._inputs(loaded, messages)
        length = inputs["input_ids"].shape[1]
        config = copy.deepcopy(loaded.model.generation_config)
        config.update(do_sample=False, num_beams=1, temperature=None, top_p=None, top_k=None, max_new_tokens=max_tokens)
        with self._running(loaded, length + max_tokens) as device:
            output = loaded.model.generate(
                **_to(inputs, device),
                generation_config=config,
                stopping_criteria=_polling(self._poll),
            )
        return strip_thinking(loaded.tokenizer.decode(output[0, length:], skip_special_tokens=True))

    def score(self, messages: Sequence[Message], answers: Sequence[str]) -> list[float] | None:
        """One prefill of the messages; every answer continues from a copy of its cache."""
        check_messages(messages, self.vision, self.name)
        check_answers(answers)
        loaded = self._load()
        inputs = self._inputs(loaded, messages)
        end = loaded.tokenizer.convert_tokens_to_ids(chatml.END_OF_TURN)
        if end is None or end == loaded.tokenizer.unk_token_id:
            end = loaded.tokenizer.eos_token_id
        length = inputs["input_ids"].shape[1]
        tokens = answer_ids([loaded.tokenizer.encode(answer, add_special_tokens=False) for answer in answers], end)
        with self._running(loaded, length + max(map(len, tokens))) as device:
            prefill = loaded.model(**_to(inputs, device), use_cache=True)
            start = length + _position_shift(loaded.model, inputs)
            return [self._continue(loaded.model, prefill, answer, start) for answer in tokens]

    def _continue(self, model: Any, prefill: Any, answer: tuple[int, ...], start: int) -> float:
        """Log-probability of `answer` after the prompt; its last token needs no forward pass of its own."""
        self._poll()
        logits = prefill.logits[:, -1:]
        if len(answer) > 1:
            ids = torch.tensor([answer[:-1]], device=logits.device)
            positions = torch.arange(start, start + ids.shape[1], device=logits.device).unsqueeze(0)
            # A VL model counts along three axes, which agree in text. The cache is copied as a forward appends to it.
            positions = positions.expand(3, 1, -1) if self.vision else positions
            cache = copy.deepcopy(prefill.past_key_values)
            more = model(input_ids=ids, position_ids=positions, past_key_values=cache, use_cache=True)
            logits = torch.cat([logits, more.logits], dim=1)
        return PackedAnswers((answer,), 1).totals(logits[0])[0]

    def _running(self, loaded: _Loaded, tokens: int) -> Running:
        return Running(loaded.resident, tokens * BYTES_PER_TOKEN, self.name)

    def _inputs(self, loaded: _Loaded, messages: Sequence[Message]) -> dict[str, Tensor]:
        text = _render(loaded, messages, self.vision)
        if not self.vision:
            return dict(loaded.tokenizer(text, return_tensors="pt", add_special_tokens=False))
        images = [to_pil(image, self._longest_image_px) for message in messages for image in message.images]
        return dict(loaded.processor(text=[text], images=images or None, return_tensors="pt"))

    def _load(self) -> _Loaded:
        if self._loaded is None:
            self._loaded = self._read()
        return self._loaded

    def _read(self) -> _Loaded:
        import transformers

        kind = "AutoModelForImageTextToText" if self.vision else "AutoModelForCausalLM"
        options = {"local_files_only": True, "trust_remote_code": False}
        log.info("Loading %s with transformers %s", self.name, transformers.__version__)
        try:
            # Made outside inference mode, so that the host may move the weights whenever it likes.
            with torch.inference_mode(False), torch.no_grad():
                model = getattr(transformers, kind).from_pretrained(
                    self._model_folder, use_safetensors=True, **{_dtype_name(transformers): self._dtype}, **options
                )
                if self._model_folder != self.folder:
                    model = merged(model, self.folder)
            reader = transformers.AutoProcessor if self.vision else transformers.AutoTokenizer
            processor = reader.from_pretrained(self._model_folder, **options)
        except ChatError:
            raise
        except Exception as error:  # a folder can be wrong in ways that raise nearly anything
            reason = " ".join(str(error).split())[:300]
            raise ChatError(
                "unsupported",
                f"{self.name} cannot be loaded by transformers {transformers.__version__}: {reason} "
                "Is the folder complete, and the model not newer than this release?",
            ) from error
        model.eval().requires_grad_(False)
        tokenizer = processor.tokenizer if self.vision else processor
        return _Loaded(model, processor, tokenizer, self._settle(model))


class Running:
    """The model on its device, no gradients, and running out of memory told as what it is."""

    def __init__(self, resident: Resident, memory_bytes: int, name: str) -> None:
        self._resident, self._memory_bytes, self._name = resident, memory_bytes, name
        self._no_grad = torch.no_grad()

    def __enter__(self) -> torch.device:
        device = self._resident.ready(self._memory_bytes)
        self._no_grad.__enter__()
        return device

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        self._no_grad.__exit__(kind, error, trace)
        if isinstance(error, torch.OutOfMemoryError):
            raise ChatError(
                "memory", f"{self._name} ran out of memory. Use a smaller model, smaller images, or the CPU."
            ) from error


def _read_config(folder: Path) -> dict[str, Any]:
    """`config.json`, after a look at whether the other needed files are there."""
    if not folder.is_dir():
        raise ChatError("missing", f"{folder.name} is not a folder of models.")
    names = {path.name for path in folder.iterdir()}
    missing = [name for name in ("config.json", "tokenizer_config.json") if name not in names]
    if not any(name.endswith(".safetensors") for name in names):
        missing.append("*.safetensors")
    if missing:
        raise ChatError(
            "missing",
            f"{folder.name} is not a complete transformers model: it lacks {name_some(missing)}. Download the whole "
            "repository of the model into this folder.",
        )
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ChatError("missing", f"{folder.name}/config.json cannot be read: {error}.") from error
    if not isinstance(config, dict) or "model_type" not in config:
        raise ChatError("unsupported", f"{folder.name}/config.json names no model type: not a transformers model.")
    return config


def _dtype_name(transformers: Any) -> str:
    """The keyword was renamed in transformers 4.56."""
    major, minor = (int(part) for part in transformers.__version__.split(".")[:2])
    return "dtype" if (major, minor) >= (4, 56) else "torch_dtype"


def _render(loaded: _Loaded, messages: Sequence[Message], vision: bool) -> str:
    """The folder's own template; ChatML for a Qwen model that was saved without one."""
    template = getattr(loaded.processor, "chat_template", None) or getattr(loaded.tokenizer, "chat_template", None)
    if not template:
        if chatml.END_OF_TURN in loaded.tokenizer.get_vocab():
            return chatml.render(messages, no_thinking=not vision)
        raise ChatError("missing", "The folder holds no chat template. Choose an instruction-tuned model.")
    turns = [{"role": message.role, "content": _content(message, vision)} for message in messages]
    options = {} if vision else {"enable_thinking": False}
    owner = loaded.processor if getattr(loaded.processor, "chat_template", None) else loaded.tokenizer
    return owner.apply_chat_template(turns, tokenize=False, add_generation_prompt=True, **options)


def _content(message: Message, vision: bool) -> str | list[dict[str, str]]:
    text = plain_text(message.text)
    if not vision:
        return text
    return [{"type": "image"} for _ in message.images] + [{"type": "text", "text": text}]


def _to(inputs: dict[str, Tensor], device: torch.device) -> dict[str, Tensor]:
    return {name: value.to(device) for name, value in inputs.items()}


def _position_shift(model: Any, inputs: dict[str, Tensor]) -> int:
    """How far an image's grid moved the count of positions away from the count of tokens (mRoPE)."""
    if "image_grid_thw" not in inputs:
        return 0
    for module in (model, getattr(model, "model", None)):
        deltas = getattr(module, "rope_deltas", None)
        if deltas is not None:
            return int(deltas.flatten()[0].item())
    return 0


def _polling(poll: Poll) -> Any:
    """A stopping criterion that never stops by itself: `poll` raises when something else should."""
    import transformers

    def check(input_ids: Tensor, scores: Any, **_: Any) -> Tensor:
        del scores
        poll()
        return torch.zeros(input_ids.shape[0], dtype=torch.bool, device=input_ids.device)

    return transformers.StoppingCriteriaList([check])
