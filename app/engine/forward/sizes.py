"""How large the maps are that a convolution gives, or the sentence why torch would not run it on these."""

from collections.abc import Sequence

Shape = tuple[int, ...]
Pairs = Sequence[tuple[int, int]]

_MODES = ("zeros", "reflect", "replicate", "circular")


def conv_sizes(
    maps: Shape, weight: Shape, stride: Sequence[int], padding: Pairs, dilation: Sequence[int], mode: str
) -> Shape | str:
    """Spatial sizes that a convolution of this weight, (out, in / groups, *kernel), gives."""
    sides = [side for pair in padding for side in pair]
    wrong = _misfit(maps, weight, stride, padding, dilation) or _negative(sides) or _unpaddable(maps, padding, mode)
    if wrong is not None:
        return wrong
    sizes = tuple(
        (size + begin + end - d * (kernel - 1) - 1) // s + 1
        for size, kernel, s, (begin, end), d in zip(maps[2:], weight[2:], stride, padding, dilation, strict=True)
    )
    return sizes if min(sizes, default=1) >= 1 else f"maps of {maps[2:]} are smaller than the kernel {weight[2:]}"


def transposed_sizes(
    maps: Shape,
    weight: Shape,
    stride: Sequence[int],
    padding: Sequence[int],
    output_padding: Sequence[int],
    dilation: Sequence[int],
    crops: bool = False,
) -> Shape | str:
    """Spatial sizes that a transposed convolution of this weight, (in, out / groups, *kernel), gives.

    Where it `crops`, output padding below 0 takes more off the end: what ONNX can say and torch can't.
    """
    wrong = _misfit(maps, weight, stride, padding, dilation, output_padding)
    wrong = wrong or _negative(padding if crops else [*padding, *output_padding])
    if wrong is not None:
        return wrong
    if any(0 < max(s, d) <= extra for extra, s, d in zip(output_padding, stride, dilation, strict=True)):
        return f"output padding {tuple(output_padding)} is not smaller than stride or dilation"
    sizes = tuple(
        (size - 1) * s - 2 * p + d * (kernel - 1) + extra + 1
        for size, s, p, d, kernel, extra in zip(
            maps[2:], stride, padding, dilation, weight[2:], output_padding, strict=True
        )
    )
    return sizes if min(sizes, default=1) >= 1 else f"of maps of {maps[2:]} nothing is left when the output is cropped"


def _misfit(
    maps: Shape, weight: Shape, stride: Sequence[int], padding: Sequence[object], dilation: Sequence[int], *more: object
) -> str | None:
    dims = len(weight) - 2
    if not 1 <= dims <= 3 or len(maps) != len(weight):
        return f"a value of shape {maps} meets a convolution of weight {weight}"
    if 0 in maps[2:]:  # padding would make something of nothing, which torch does not
        return f"maps of {maps[2:]} are empty"
    lengths = {len(part) for part in (stride, padding, dilation, *more) if isinstance(part, Sequence)}
    if lengths != {dims} or not all(type(step) is int and step >= 1 for step in (*stride, *dilation)):
        return f"stride {stride}, padding {padding}, dilation {dilation} are not those of a kernel {weight[2:]}"
    return None


def _negative(sides: Sequence[object]) -> str | None:
    sound = all(type(side) is int and side >= 0 for side in sides)
    return None if sound else f"padding by {tuple(sides)} is none"


def _unpaddable(maps: Shape, padding: Pairs, mode: str) -> str | None:
    """Reflection needs a map that is larger than the padding, circular padding one that is as large."""
    if mode not in _MODES:
        return f"padding mode {mode!r} is not known"
    for size, pair in zip(maps[2:], padding, strict=True):
        if (mode == "reflect" and max(pair) >= size) or (mode == "circular" and max(pair) > size):
            return f"maps of {maps[2:]} are too small to be padded by {tuple(padding)} in mode {mode}"
    return None
