"""Text conditioning of X2Edit's Qwen-Image variant: the last states of Qwen2.5-VL, of words alone."""

from __future__ import annotations

from collections import deque
from typing import Any

import torch
from torch import Tensor

from ..alignnet import reference_positions
from ..errors import X2EditError
from ..geometry import EditLayout, Size, SizeRule, target_size
from ..pixels import size_of
from ..qwen_prompt import DROPPED_TOK, NEGATIVE, prompt_tokens, tokens_of_prompt
from . import admitted
from .host import comfy, device_context
from .miniature import demo_context, is_demo_clip
from .notices import say
from .pictures import PROMPT_SIZE, Conditioning
from .text import find_encoder, layer_states


def picture_size(layout: EditLayout | None, image: Tensor | None, rule: SizeRule, width: int, height: int) -> Size:
    """The size that the prompt names, from whichever input tells it: a layout, a picture or the size itself."""
    if layout is not None and not isinstance(layout, EditLayout):
        raise X2EditError("A layout of ICEdit is connected; connect that of X2Edit Reference, or the picture itself.")
    if layout is not None:
        return layout.target
    if image is not None:
        return target_size(size_of(admitted.picture(image)), rule, width, height)
    if width and height:
        return target_size(Size(height, width), "keep", width, height)
    raise X2EditError(
        "The prompt names the size of the picture, which is not known. Connect the picture (with the `size` of X2Edit "
        "Reference) or a layout, or give width and height."
    )


def encode_pair(clip: Any, instruction: str, size: Size) -> tuple[Conditioning, Conditioning]:
    """Conditioning of the instruction and of the negative branch, for a picture of `size`.

    The embedded text encoder reads the instruction alone, and nothing for the negative branch.
    """
    if is_demo_clip(clip):
        said, unsaid = (_conditioning(clip, demo_context(clip, text), size) for text in (instruction, NEGATIVE))
        return said, unsaid
    encoder = find_encoder(clip)

    def encode(words: str) -> Conditioning:
        ids, cut = prompt_tokens(lambda text, literal: _tokenized(encoder, text, literal), words, size)
        if cut:
            say(f"The instruction is too long: the last {cut} tokens of the prompt were cut off.")
        return _conditioning(clip, _states(clip, encoder, ids)[:, DROPPED_TOK:], size)

    return encode(instruction), encode(NEGATIVE)


def _conditioning(clip: Any, states: Tensor, size: Size) -> Conditioning:
    return [[states.to(comfy.model_management.intermediate_device()), clip.add_hooks_to_dict({PROMPT_SIZE: size})]]


def encode_prompt(clip: Any, prompt: str) -> Tensor:
    """What is handed on [S, C] of a whole prompt, as `around_instruction` makes it for training."""
    encoder = find_encoder(clip)
    ids, _ = tokens_of_prompt(lambda text, literal: _tokenized(encoder, text, literal), prompt)
    return _states(clip, encoder, ids)[0, DROPPED_TOK:]


def _tokenized(encoder: Any, text: str, literal: bool) -> list[int]:
    return list(encoder.tokenizer(text, split_special_tokens=literal)["input_ids"])


def _states(clip: Any, encoder: Any, ids: list[int]) -> Tensor:
    """States float32 [1, S, H] after the final norm, of tokens that see those before them."""
    model = encoder.model.model
    memory = 4 * len(ids) * (8 * model.config.hidden_size + len(ids) * model.config.num_attention_heads)
    comfy.model_management.load_models_gpu([clip.patcher], memory_required=memory)
    device = clip.patcher.load_device
    with torch.no_grad(), device_context(device):
        row = torch.tensor([ids], device=device, dtype=torch.long)
        embeds = encoder.model.get_input_embeddings()(row, out_dtype=torch.float32)
        positions = reference_positions(0, len(ids)).to(device)
        return deque(layer_states(model, embeds, positions, 0), maxlen=1).pop()
