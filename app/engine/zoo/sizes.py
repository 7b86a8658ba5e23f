"""The input sizes on which a model of a package is tried: small ones where its code takes any, else its own."""

from collections.abc import Iterator
from importlib import import_module
from typing import Any, Final

import torch

from app.engine.zoo.request import Request

Sizes = tuple[int, ...]
# Neither square nor so small that a map has a single position: all that is read as per channel is so at every size.
_SMALL: Final = (96, 128)
_USUAL: Final = (224, 299, 256, 384)
_FRAMES: Final = 16


def own_size(model: torch.nn.Module, request: Request) -> Sizes:
    """What the package says the model takes, (channels, height, width)."""
    channels = request.arguments.get("in_chans", 3)
    assert isinstance(channels, int)
    if request.package == "timm":
        found: Any = getattr(model, "pretrained_cfg", None) or {}
        height, width = tuple(found.get("input_size") or (3, 224, 224))[1:]
        asked = request.arguments.get("img_size")
        if isinstance(asked, int):
            height = width = asked
        elif isinstance(asked, tuple) and len(asked) == 2:
            height, width = (int(side) for side in asked)
        return channels, height, width
    side = _crop(request.name)
    return channels, side, side


def candidates(model: torch.nn.Module, request: Request) -> Iterator[Sizes]:
    """Sizes to try, the cheapest first."""
    channels, *maps = own_size(model, request)
    if _is_video(model):
        yield from ((channels, _FRAMES, side, side) for side in (64, 112, 224))
        return
    fixed: Any = getattr(model, "pretrained_cfg", None) or {}
    if not fixed.get("fixed_input_size") and min(maps) > min(_SMALL):
        yield (channels, *_SMALL)
    yield (channels, *maps)
    yield from ((channels, side, side) for side in _USUAL if [side, side] != maps)


def _crop(name: str) -> int:
    """The crop of the weights that torchvision trained; they are described in its code, not fetched."""
    try:
        weights: Any = import_module("torchvision.models").get_model_weights(name)
        crop = next(iter(weights)).transforms.keywords.get("crop_size", 224)
    except (ValueError, StopIteration, AttributeError):
        return 224
    return int(crop) if isinstance(crop, int) else int(crop[0])


def _is_video(model: torch.nn.Module) -> bool:
    return any(isinstance(module, torch.nn.Conv3d) for module in model.modules())
