"""TinyViT as its authors publish it, and as MobileSAM's image encoder; arXiv 2207.10666, figure 3, and 2306.14289."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from app.engine.forward.family import Family, Members, Shapes
from app.engine.forward.mobile.conv_norm import TINY_VIT
from app.engine.forward.mobile.levit import BIASES, ONCE_MORE, attention
from app.engine.forward.steps import in_steps, steps_fit, through
from app.engine.forward.stochastic_depth import kept
from app.engine.forward.structure import has_children, input_channels, maps
from app.engine.forward.timm.hybrids.attention import biased_fits
from app.engine.forward.timm.hybrids.windows import whole_of_tokens, windows_of_tokens
from app.engine.forward.timm.nets.fastvit import map_of, tokens_of
from app.engine.forward.trace import Block, Ops
from app.engine.ir.graph import Value
from app.engine.ir.module import Module

_MOVES = ("conv1", "act1", "conv2", "act2", "conv3")
_MERGES = ("conv1", "act", "conv2", "act", "conv3")
_MLP = ("norm", "fc1", "act", "drop", "fc2", "drop")
_STAGE = ("dim", "input_resolution", "depth", "use_checkpoint", "blocks", "downsample")
_NET = ("num_classes", "depths", "num_layers", "mlp_ratio", "patch_embed", "patches_resolution", "layers")
_MOST = 256  # positions along a side of the first map, four pixels each; a larger one is not tried
_SEGMENTING = 64  # positions along a side of the map that MobileSAM's neck gets, whatever the image


def inverted_bottleneck(block: Block, x: Value, ops: Ops) -> Any:
    moved = kept(block, "drop_path", through(block, x, *_MOVES))
    return block.act3(ops.add(moved, x))


def merging(block: Block, x: Value, ops: Ops) -> Any:
    """Half the map, or with a stride of 1 the same, from tokens or a map to tokens."""
    if len(x.shape) == 3:
        x = ops.apply("map", map_of, x, tuple(block.input_resolution))
    return ops.apply("tokens", tokens_of, through(block, x, *_MERGES))


def windowed_attention(block: Block, x: Value, ops: Ops) -> Any:
    return attention(block, block.norm(x), ops)


def vit_block(block: Block, x: Value, ops: Ops) -> Any:
    """Attention in windows, a depthwise convolution, and an MLP, over tokens."""
    sizes, side = tuple(block.input_resolution), block.window_size
    if sizes == (side, side):
        attended = block.attn(x)
    else:
        windows = ops.apply("windows", windows_of, x, side, sizes)
        attended = ops.apply("tokens", tokens_of_windows, block.attn(windows), side, sizes)
    x = ops.add(x, kept(block, "drop_path", attended))
    x = ops.apply("tokens", tokens_of, block.local_conv(ops.apply("map", map_of, x, sizes)))
    return ops.add(x, kept(block, "drop_path", block.mlp(x)))


def windows_of(x: Tensor, side: int, sizes: tuple[int, int]) -> Tensor:
    """(n, h w, c) to (n windows, tokens, c)"""
    return windows_of_tokens(torch.unflatten(x, 1, sizes), side)


def tokens_of_windows(x: Tensor, side: int, sizes: tuple[int, int]) -> Tensor:
    return whole_of_tokens(x, side, sizes).flatten(1, 2)


def stage(block: Block, x: Any, ops: Ops) -> Any:
    for inner in block.blocks:
        x = inner(x)
    return through(block, x, "downsample?")


def features(block: Block, image: Value, ops: Ops) -> Any:
    x = block.patch_embed(image)
    for layer in block.layers:
        x = layer(x)
    return x


def net(block: Block, image: Value, ops: Ops) -> Any:
    return through(block, ops.apply("mean", torch.mean, features(block, image, ops), 1), "norm_head", "head")


def image_encoder(block: Block, image: Value, ops: Ops) -> Any:
    """MobileSAM's: a map for its decoder instead of classes; `norm_head` and `head` are there and not called."""
    return block.neck(ops.apply("map", map_of, features(block, image, ops), (_SEGMENTING, _SEGMENTING)))


def channel_norm(block: Block, x: Value, ops: Ops) -> Value:
    """A layer norm over the channels of each position."""
    return ops.pointwise("layer_norm", normalized, x, block.weight, block.bias, block.eps)


def normalized(x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
    centred = x - x.mean(1, keepdim=True)
    unit = centred / torch.sqrt(centred.pow(2).mean(1, keepdim=True) + eps)
    return weight[:, None, None] * unit + bias[:, None, None]


def _sized(*children: str) -> Callable[[Module], bool]:
    """Whether the block says for what map it was built."""

    def fits(module: Module) -> bool:
        sizes = module.attribute("input_resolution", None)
        stated = isinstance(sizes, tuple) and len(sizes) == 2 and all(type(size) is int and size > 0 for size in sizes)
        return stated and has_children(module, *children)

    return fits


def _block_fits(module: Module) -> bool:
    side = module.attribute("window_size", None)
    return type(side) is int and 0 < side <= _MOST and _sized("attn", "local_conv", "mlp", "drop_path")(module)


def _image(module: Module) -> Shapes | None:
    """The one size for which the blocks were built: four times the first map."""
    sizes, taken = module.attribute("patches_resolution", None), input_channels(module)
    if not isinstance(sizes, tuple) or len(sizes) != 2 or taken is None:
        return None
    if not all(type(size) is int and 0 < size <= _MOST for size in sizes):
        return None
    batch = 2 if max(sizes) <= _SEGMENTING else 1
    return ((batch, taken[0], 4 * sizes[0], 4 * sizes[1]),)


def _family(
    name: str,
    describe: Any,
    fits: Callable[[Module], bool],
    *members: str,
    sometimes: tuple[str, ...] = (),
    idle: tuple[str, ...] = (),
    examples: Callable[[Module], Shapes | None] = lambda module: None,
) -> Family:
    paths = tuple(f"{file}.{name}" for file in TINY_VIT)
    return Family(
        f"TinyViT {name}",
        paths,
        describe,
        fits,
        example_shapes=examples,
        members=Members(members, (*sometimes, *idle)),
        idle=idle,
    )


FAMILIES = (
    _family(
        "PatchEmbed",
        in_steps("seq"),
        steps_fit("seq"),
        *("patches_resolution", "num_patches", "in_chans", "embed_dim", "seq"),
        examples=maps(),
    ),
    _family(
        "MBConv",
        inverted_bottleneck,
        steps_fit(*_MOVES, "act3", "drop_path"),
        *("in_chans", "hidden_chans", "out_chans", *_MOVES, "act3", "drop_path"),
        examples=maps(),
    ),
    _family(
        "PatchMerging",
        merging,
        _sized(*_MERGES),
        *("input_resolution", "dim", "out_dim", *dict.fromkeys(_MERGES)),
        examples=maps(2),
    ),
    _family("Mlp", in_steps(*_MLP), steps_fit(*_MLP), *dict.fromkeys(_MLP)),
    _family(
        "Attention",
        windowed_attention,
        lambda module: biased_fits(module, "norm", "qkv", "proj"),
        *("num_heads", "scale", "key_dim", "nh_kd", "d", "dh", "attn_ratio", "norm", "qkv", "proj", *BIASES),
        idle=(ONCE_MORE,),
    ),
    _family(
        "TinyViTBlock",
        vit_block,
        _block_fits,
        *("dim", "input_resolution", "num_heads", "window_size", "mlp_ratio", "drop_path", "attn", "mlp", "local_conv"),
    ),
    _family("ConvLayer", stage, _sized("blocks"), *_STAGE, examples=maps(2)),
    _family("BasicLayer", stage, _sized("blocks"), *_STAGE),
    _family("LayerNorm2d", channel_norm, lambda module: True, "weight", "bias", "eps"),
    _family(
        "TinyViT",
        net,
        steps_fit("patch_embed", "layers", "norm_head", "head"),
        *(*_NET, "norm_head", "head"),
        sometimes=("default_cfg", "pretrained_cfg"),
        examples=_image,
    ),
    Family(
        "TinyViT of MobileSAM",
        tuple(f"{file}.TinyViT" for file in TINY_VIT),
        image_encoder,
        steps_fit("patch_embed", "layers", "norm_head", "head", "neck"),
        example_shapes=_image,
        members=Members((*_NET, "img_size", "norm_head", "head", "neck")),
        idle=("norm_head", "head"),
    ),
)
