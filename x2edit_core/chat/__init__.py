"""Language and vision models as callables: messages in, text out, and log-probabilities of given answers.

`protocol` says what a chat is; `endpoint` speaks to an OpenAI-compatible server and `folder` runs a transformers
folder. The host's own text generation is a chat too; it lives in `comfy_bridge.chat`, which may import the host.
Importing this package imports neither transformers nor anything of the network.
"""

from __future__ import annotations

from .protocol import Chat, ChatError, Message

__all__ = ["Chat", "ChatError", "Message"]
