"""Small models exported by torch, and what the tests do with their files."""

import io
import json
import warnings
import zipfile
from pathlib import Path

import torch
from torch import nn
from torch.export import Dim
from torch.utils import _pytree as pytree

from app.engine.formats.limits import Limits
from app.engine.formats.mapped_file import MappedFile
from app.engine.formats.pt2 import Pt2File, read_pt2
from app.engine.forward.aten import follow, ports
from app.engine.ir import graph as ir
from app.engine.ir.program import Program


def save(module, args, path, *, kwargs=None, shapes=None, decomposed=False, extra=None):
    """Export and save; what torch itself warns of is not ours."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.export.export(module, args, kwargs, dynamic_shapes=shapes)
        if decomposed:
            program = program.run_decompositions()
        torch.export.save(program, path, extra_files=extra)
    return program


def load(path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.export.load(path)


def call(program, *args, **kwargs):
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        return program.module()(*args, **kwargs)


def read(path, limits=None) -> Pt2File:
    return read_pt2(MappedFile(Path(path)), limits or Limits())


def tensors_in(nest) -> list[torch.Tensor]:
    return [leaf for leaf in pytree.tree_leaves(nest) if isinstance(leaf, torch.Tensor)]


def followed(file: Pt2File, *args, **kwargs) -> Program:
    """The program at the shapes of these arguments."""
    names = [port.name for port in ports(file)]
    shapes = [tuple(tensor.shape) for tensor in tensors_in((args, kwargs))]
    return follow(file, dict(zip(names, shapes, strict=True)))


def kinds(program: Program) -> list[str]:
    """The operations in order, functions by their name."""
    return [
        node.operation.name if isinstance(node.operation, ir.Apply) else type(node.operation).__name__
        for node in program.graph.nodes
    ]


def targets(file: Pt2File) -> list[str]:
    return [operator.target.removeprefix("torch.ops.aten.") for operator in file.graph.nodes]


def rewrite_records(path, change) -> None:
    """The archive with its records changed by `change(records)`, stored as torch stores them."""
    with zipfile.ZipFile(path) as archive:
        records = {name: archive.read(name) for name in archive.namelist()}
    change(records)
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in records.items():
            archive.writestr(name, content)


def rewrite_document(path, change) -> None:
    """The archive with the program's JSON changed by `change(document)`."""

    def within(records):
        name = next(name for name in records if "/models/" in name)
        document = json.loads(records[name])
        change(document)
        records[name] = json.dumps(document).encode()

    rewrite_records(path, within)


def pickle_tensors(path, program) -> None:
    """The archive in the layout of torch 2.8: weights and constants each in one file of torch.save."""

    def change(records):
        root = next(iter(records)).partition("/")[0]
        folders = {"weights": program.state_dict, "constants": program.constants}
        for folder, tensors in folders.items():
            for name in [name for name in records if name.startswith(f"{root}/data/{folder}/")]:
                del records[name]
            held = io.BytesIO()
            torch.save(tensors, held)
            records[f"{root}/data/{folder}/model.pt"] = held.getvalue()

    rewrite_records(path, change)


class ConvNet(nn.Module):
    """A convolution, a norm, an activation, and a residual sum."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, stride=2, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(8)
        self.act = nn.ReLU()
        self.next = nn.Conv2d(8, 8, 3, padding=1)
        self.head = nn.Linear(8, 5)
        _stir(self)

    def forward(self, x):
        y = self.act(self.bn(self.conv(x)))
        y = y + self.next(y)
        return self.head(y.mean((2, 3)))


class Transformer(nn.Module):
    """Attention over tokens with a mask, norms before linear layers."""

    def __init__(self) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True, norm_first=True)
        self.encoder = nn.TransformerEncoder(layer, 1, enable_nested_tensor=False)
        self.embed = nn.Embedding(10, 16)
        self.position = nn.Parameter(torch.randn(1, 7, 16))
        self.norm = nn.LayerNorm(16)
        self.head = nn.Linear(16, 3)
        _stir(self)

    def forward(self, tokens, mask):
        x = self.encoder(self.embed(tokens) + self.position, src_key_padding_mask=mask)
        return self.head(self.norm(x)).masked_fill(mask[..., None], 0)


class Nested(nn.Module):
    """Inputs and outputs in lists and dictionaries, numbers among them, constants of every kind."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 4)
        self.register_buffer("offset", torch.randn(4), persistent=False)
        self.constant = torch.arange(4.0)

    def forward(self, x, parts, *, flag=True, scale: int = 2):
        y = self.linear(x) * scale + self.offset
        if flag:
            y = y - self.constant
        total = parts["a"][0] + parts["a"][1] + y
        return {"sum": total, "list": [y.reshape(x.shape[0], 2, 2), torch.zeros(3)], "scale": scale}


class UpDown(nn.Module):
    """Transposed convolutions, pooling, splitting, padding, weight norm, named padding, arithmetic with numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.up = nn.ConvTranspose2d(3, 8, 2, 2, output_padding=1)
        self.pool = nn.AvgPool2d(2, ceil_mode=True, count_include_pad=False)
        self.depthwise = nn.Conv2d(4, 4, 3, groups=4, padding="same", dilation=2)
        self.even = nn.Conv2d(4, 4, (2, 4), padding="same")
        self.normed = nn.utils.parametrizations.weight_norm(nn.Conv2d(8, 8, 1))
        _stir(self)

    def forward(self, x):
        y = self.pool(self.normed(self.up((x - 0.5) / 0.25)))
        a, b = y.chunk(2, 1)
        c = torch.cat([self.depthwise(a), self.even(nn.functional.pad(b, (1, 0, 0, 2)))[:, :, :-2, 1:]], 1)
        return 1 - c, nn.functional.interpolate(c, scale_factor=2), torch.add(2 * c, c, alpha=-3)


class InPlace(nn.Module):
    """Activations and sums that write into what they are given, and a stretch without gradients."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3)
        self.bn = nn.BatchNorm2d(8)
        self.act = nn.ReLU(inplace=True)
        self.drop = nn.Dropout()
        _stir(self)

    def forward(self, x):
        y = self.act(self.bn(self.conv(x)))
        y += 1
        with torch.no_grad():
            steps = torch.arange(y.shape[2]) * 2.0
        return self.drop(y + steps[None, None, :, None])


def _stir(module: nn.Module) -> None:
    """Norms as training leaves them: with statistics and factors that are not those of a new one."""
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.running_mean.normal_()
            part.running_var.uniform_(0.5, 2)
        if isinstance(part, (nn.BatchNorm2d, nn.LayerNorm)):
            nn.init.normal_(part.weight, 1, 0.2)
            nn.init.normal_(part.bias)
    module.eval()


def _maps():
    return torch.randn(2, 3, 17, 13)


# name -> module, positional arguments, keyword arguments, dynamic shapes
MODELS = {
    "convnet": (ConvNet, lambda: (_maps(),), dict, None),
    "convnet, any size": (
        ConvNet,
        lambda: (_maps(),),
        dict,
        {"x": {0: Dim("batch"), 2: Dim("height", min=4, max=512), 3: Dim("width", min=4, max=512)}},
    ),
    "transformer": (
        Transformer,
        lambda: (torch.randint(0, 10, (2, 7)), torch.arange(7).expand(2, 7) > 4),
        dict,
        {"tokens": {0: Dim("batch")}, "mask": {0: Dim("batch")}},
    ),
    "nested": (
        Nested,
        lambda: (torch.randn(3, 4), {"a": [torch.randn(3, 4), torch.randn(4)]}),
        lambda: {"flag": True, "scale": 3},
        {"x": {0: Dim("batch")}, "parts": {"a": [{0: Dim("batch")}, None]}, "flag": None, "scale": None},
    ),
    "up and down": (UpDown, lambda: (torch.randn(2, 3, 8, 9),), dict, {"x": {0: Dim("batch")}}),
    "in place": (InPlace, lambda: (_maps(),), dict, {"x": {0: Dim("batch"), 2: Dim("height", min=5, max=100)}}),
}
