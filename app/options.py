"""What a caller may ask for: the same for HTTP form fields, the command line and the queue."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

MAX_PLAN = 200_000  # characters


class FuseOptions(BaseModel):
    """Options of one fuse job."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_error: float | None = Field(
        default=None,
        gt=0,
        allow_inf_nan=False,
        description="Largest native error, relative to the output's own size, that the caller accepts. "
        "It can only tighten the built-in limit.",
    )
    dtype: Literal["keep", "float32"] = Field(
        default="keep",
        description="`keep` stores fused weights in the file's own dtype; "
        "`float32` keeps what fp16 or bf16 would round away.",
    )
    strict: bool = Field(
        default=False,
        description="Refuse replacements whose data flow is assumed (a torch.nn.Sequential of conv, norm, activation "
        "inside a class that nobody knows) instead of marking them.",
    )
    probe_shape: str | None = Field(
        default=None,
        max_length=2000,
        description="Input sizes on which a graph file (ONNX, .pt2) is tried, where the file leaves sizes open: "
        "`1x3x640x640`, or `image=1x3x640x640,mask=1x77`.",
    )
    architecture: str | None = Field(
        default=None,
        max_length=4000,
        description="What model a state dict or safetensors file belongs to: `repvgg`, with arguments "
        '`repvgg:eps=1e-3`, or JSON `{"name": "repvgg", "arguments": {"eps": 1e-3}}`.',
    )
    plan: str | None = Field(
        default=None,
        max_length=MAX_PLAN,
        description="Which layers of a model that nobody knows feed which norms, as JSON: "
        '`{"pairs": [{"conv": "layer1.0.conv1", "norm": "layer1.0.bn1"}], "eps": 1e-5}`. '
        "What it says is taken as your word, and reported so.",
    )
    output: Literal["keep", "pt2", "onnx"] = Field(
        default="keep",
        description="`keep` gives a state dict back in the kind of file that it came in; "
        "`pt2` and `onnx` give a program that runs without the model's code, for architectures that can be built.",
    )
    benchmark: bool = Field(
        default=False,
        description="Also run both models in turns on the worker's device, and report how long each takes. "
        "It takes up to a minute.",
    )
    overridable: Literal["keep", "fold"] = Field(
        default="keep",
        description="What initializers of an ONNX model are that are inputs as well (ir_version 4 and later: defaults "
        "that a caller may override). `keep` leaves them and what reads them as they are; `fold` takes them as "
        "constants, and those that are folded are no inputs any more.",
    )
