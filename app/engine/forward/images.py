"""The input of a whole network: two images, not square, large enough for all of its strides."""

from collections.abc import Callable

from app.engine.forward.family import Shapes
from app.engine.forward.structure import input_channels
from app.engine.ir.module import Module


def images(height: int = 96, width: int = 64) -> Callable[[Module], Shapes | None]:
    """Example shapes for a network whose first convolution says how many channels an image has."""

    def shapes(module: Module) -> Shapes | None:
        taken = input_channels(module)
        return None if taken is None or taken[1] != 2 else ((2, taken[0], height, width),)

    return shapes
