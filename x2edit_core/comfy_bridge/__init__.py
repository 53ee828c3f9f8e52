"""Everything that touches the host. No other part of the core imports comfy.

`host` looks its symbols up at use rather than at import, so that an incompatible host breaks one graph and not the server.
`folders` finds files, `models` puts adapters on a ModelPatcher, `stack` is what runs inside a forward pass, `pictures`
encodes images and sets references, `routing` watches the gates.
"""

from __future__ import annotations

from .folders import make_adapter_folder, register_model_folders

__all__ = ["make_adapter_folder", "register_model_folders"]
