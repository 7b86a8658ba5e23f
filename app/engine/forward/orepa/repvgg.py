"""A RepVGG block whose dense branch is an OREPA convolution; arXiv 2204.00826, section 4.3."""

from app.engine.forward.family import DeployForm, Family, Members
from app.engine.forward.repvgg.block import repvgg_block
from app.engine.forward.repvgg.branches import BRANCHES, branch_slots, has_branches, write_reparam
from app.engine.forward.structure import has_children, maps, only_children
from app.engine.forward.yolov7.orepa import BRANCH_WEIGHTS, conv_bn, conv_bn_slots, orepa_conv, write_conv_bn

_GEOMETRY = ("in_channels", "out_channels", "groups", "padding", "dilation")

FAMILIES = (
    Family(
        "OREPA RepVGGBlock_OREPA",
        ("blocks_repvgg.RepVGGBlock_OREPA",),
        repvgg_block,
        lambda module: has_children(module, "nonlinearity", "se") and has_branches(module),
        deploy=DeployForm(branch_slots, write_reparam),
        example_shapes=maps(),
        members=Members(("nonlinearity", "se", "deploy", *_GEOMETRY), (*BRANCHES, "rbr_reparam", "id_tensor")),
        idle=("id_tensor",),
    ),
    Family(
        "OREPA OREPA_3x3_RepVGG",
        ("blocks_repvgg.OREPA_3x3_RepVGG",),
        orepa_conv,
        lambda module: has_children(module, "bn", "nonlinear") and all(module.has(name) for name in BRANCH_WEIGHTS),
        example_shapes=maps(),
        members=Members(
            ("nonlinear", "bn", "deploy", "kernel_size", "stride", "branch_counter", *_GEOMETRY, *BRANCH_WEIGHTS),
            ("weight_rbr_1x1_kxk_idconv1", "id_tensor", "weight_rbr_1x1_kxk_conv1"),
        ),
    ),
    Family(
        "OREPA ConvBN",
        ("basic.ConvBN",),
        conv_bn,
        lambda module: has_children(module, "conv", "nonlinear") and only_children(module, "conv", "bn", "nonlinear"),
        deploy=DeployForm(conv_bn_slots, write_conv_bn),
        example_shapes=maps(),
        members=Members(("conv", "nonlinear"), ("bn",)),
    ),
)
