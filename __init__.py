"""X2Edit and ICEdit for ComfyUI. Registers the extension when ComfyUI is the importer; nothing else happens here."""

import importlib.util

if importlib.util.find_spec("comfy_api") is not None and __package__:
    from .nodes import comfy_entrypoint

    WEB_DIRECTORY = "./web"
    __all__ = ["WEB_DIRECTORY", "comfy_entrypoint"]
