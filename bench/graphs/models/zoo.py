"""Models of torchvision and timm, unchanged, with random weights."""

from collections.abc import Callable
from functools import partial

import timm
import torchvision
from torch import Tensor, nn
from torchvision.models.detection.backbone_utils import resnet_fpn_backbone
from torchvision.models.detection.retinanet import RetinaNetHead


def from_torchvision(name: str) -> Callable[[], nn.Module]:
    return partial(torchvision.models.get_model, name, weights=None)


def from_timm(name: str) -> Callable[[], nn.Module]:
    return partial(timm.create_model, name, pretrained=False)


class Detector(nn.Module):
    """torchvision's ResNet with FPN and RetinaNet's head, without anchors and post-processing."""

    def __init__(self, backbone_norm: type[nn.Module], head_norm: type[nn.Module] | None) -> None:
        super().__init__()
        self.backbone = resnet_fpn_backbone(backbone_name="resnet18", weights=None, norm_layer=backbone_norm)
        self.head = RetinaNetHead(256, num_anchors=3, num_classes=5, norm_layer=head_norm)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        found = self.head(list(self.backbone(x).values()))
        return found["cls_logits"], found["bbox_regression"]


def detector() -> nn.Module:
    """Batch norms in the head, which is shared by all levels."""
    return Detector(nn.BatchNorm2d, nn.BatchNorm2d)


def frozen_detector() -> nn.Module:
    """Batch norms frozen into arithmetic, as every detector of torchvision that was trained from ImageNet has them."""
    return Detector(torchvision.ops.FrozenBatchNorm2d, None)
