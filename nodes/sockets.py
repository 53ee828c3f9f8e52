"""The types our nodes exchange. Their names are part of the public contract."""

from __future__ import annotations

from comfy_api.latest import io

Adapter = io.Custom("X2EDIT_ADAPTER")
Task = io.Custom("X2EDIT_TASK")
Layout = io.Custom("X2EDIT_LAYOUT")
AlignNet = io.Custom("X2EDIT_ALIGNNET")
Chat = io.Custom("X2EDIT_CHAT")
Judge = io.Custom("X2EDIT_JUDGE")
Features = io.Custom("ICEDIT_FEATURES")
ImageAdapter = io.Custom("X2EDIT_IMAGE_ADAPTER")
ImageTokens = io.Custom("X2EDIT_IMAGE_TOKENS")
