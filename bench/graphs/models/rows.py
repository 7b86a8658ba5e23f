"""All rows in the order of the table."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from torch import nn

from bench.graphs.models import acnet, dbb, mobileone, orepa, repvgg, stress, unet, zoo

IMAGE = (1, 3, 224, 224)
SMALL = (1, 3, 128, 128)
PROBE = (4, 3, 160, 96)
ALL_BUT_CHANNELS = (0, 2, 3)
BATCH = (0,)
Exporter = Literal["TorchScript", "torch.export", "torch.export, raw"]


@dataclass(frozen=True, slots=True)
class Trained:
    """A file of rapidocr-onnxruntime, with the weights that its authors trained."""

    member: str


@dataclass(frozen=True, slots=True)
class Row:
    """A model in training form, the input that it is timed on, and which of its axes are dynamic in the file."""

    name: str
    source: Callable[[], nn.Module] | Trained
    shape: tuple[int, ...] = IMAGE
    dynamic: tuple[int, ...] = ALL_BUT_CHANNELS
    exporter: Exporter = "TorchScript"

    @property
    def probe(self) -> tuple[int, ...]:
        """The input that errors are measured on: several images, not square where the file takes such."""
        return PROBE if self.dynamic == ALL_BUT_CHANNELS else (PROBE[0], *self.shape[1:])


ROWS = (
    Row("repvgg", repvgg.repvgg),
    Row("mobileone", mobileone.mobileone),
    Row("dbb", dbb.dbb),
    Row("acnet", acnet.acnet),
    Row("orepa", orepa.orepa),
    Row("resnet18", zoo.from_torchvision("resnet18"), exporter="torch.export"),
    Row("resnet50", zoo.from_torchvision("resnet50")),
    Row("mobilenet-v2", zoo.from_torchvision("mobilenet_v2")),
    Row("mobilenet-v3", zoo.from_torchvision("mobilenet_v3_small"), exporter="torch.export"),
    Row("densenet121", zoo.from_torchvision("densenet121")),
    Row("convnext-tiny", zoo.from_torchvision("convnext_tiny"), exporter="torch.export"),
    Row("vit-tiny", zoo.from_timm("vit_tiny_patch16_224"), dynamic=BATCH, exporter="torch.export"),
    Row("fpn-detector", zoo.detector, SMALL, exporter="torch.export"),
    Row("fpn-frozen", zoo.frozen_detector, SMALL),
    Row("unet", unet.unet, SMALL),
    Row("timm-repvgg-a0", zoo.from_timm("repvgg_a0"), exporter="torch.export, raw"),
    Row("timm-mobileone-s0", zoo.from_timm("mobileone_s0")),
    Row("timm-repghostnet-050", zoo.from_timm("repghostnet_050")),
    Row("timm-fastvit-t8", zoo.from_timm("fastvit_t8")),
    Row("ocr-det", Trained("ch_PP-OCRv4_det_infer.onnx"), (1, 3, 320, 320)),
    Row("ocr-cls", Trained("ch_ppocr_mobile_v2.0_cls_infer.onnx"), (1, 3, 48, 192), BATCH),
    Row("ocr-rec", Trained("ch_PP-OCRv4_rec_infer.onnx"), (1, 3, 48, 320), (0, 3)),
    Row("pre-norm", stress.pre_norm, SMALL),
    Row("conv-chain", stress.conv_chain, SMALL),
    Row("identity-add", stress.identity_add, SMALL),
    Row("input-norm", stress.input_normalisation, SMALL),
    Row("input-norm-padded", stress.input_normalisation_padded, SMALL),
    Row("parallel-concat", stress.parallel, SMALL),
    Row("arithmetic-norm", stress.arithmetic_norm, SMALL),
    Row("linear-chain", stress.linear_chain, (1, 64), BATCH),
    Row("layernorm-linear", stress.layer_norm_linear, (1, 50, 96), (0, 1)),
)
