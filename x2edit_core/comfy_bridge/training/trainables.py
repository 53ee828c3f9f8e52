"""Which training form a family's models have."""

from __future__ import annotations

from typing import Any

from ...families import FLUX1, FLUX2, QWEN_IMAGE
from .flux import TrainableFlux
from .flux2 import TrainableFlux2
from .qwen_image import TrainableQwenImage

TRAINABLE: dict[str, Any] = {
    FLUX1.name: TrainableFlux,
    QWEN_IMAGE.name: TrainableQwenImage,
    FLUX2.name: TrainableFlux2,
}
