"""RepVGG's classes as they compute once deployed; arXiv 2101.03697."""

import torch
from torch import Tensor, nn


class RepVGGBlock(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return self.nonlinearity(self.se(self.rbr_reparam(x)))


class SEBlock(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        mean = x[:, :, : x.shape[3]].mean((2, 3), keepdim=True)
        return x * self.up(self.down(mean).relu()).sigmoid()


class RepVGG(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        x = self.stage0(x)
        for stage in (self.stage1, self.stage2, self.stage3, self.stage4):
            for block in stage:
                x = block(x)
        return self.linear(torch.flatten(self.gap(x), 1))


class RepVGGplusBlock(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        assert self.deploy
        return self.post_se(self.nonlinearity(self.rbr_reparam(x)))


class RepVGGplusStage(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = block(x)
        return x


class RepVGGplus(nn.Module):
    def forward(self, x: Tensor) -> dict[str, Tensor]:
        first = self.stage1(self.stage0(x))
        second = self.stage2(first)
        third = self.stage3_first(second)
        main = self.linear(self.flatten(self.gap(self.stage4(self.stage3_second(third)))))
        heads = self.stage1_aux(first), self.stage2_aux(second), self.stage3_first_aux(third)
        return {"main": main, **dict(zip(("stage1_aux", "stage2_aux", "stage3_first_aux"), heads, strict=True))}


class _WithL2(RepVGGplus):
    """Beside the maps runs the term of the loss, which is None once deployed."""

    def forward(self, x: Tensor) -> Tensor:
        assert self.deploy
        for stage in (self.stage0, self.stage1, self.stage2, self.stage3_first, self.stage3_second, self.stage4):
            x, _ = stage(x, L2=None)
        return self.linear(torch.flatten(self.gap(x), 1))


class _BlockWithL2(RepVGGplusBlock):
    def forward(self, x: Tensor, L2: None) -> tuple[Tensor, None]:
        return super().forward(x), L2


class _StageWithL2(RepVGGplusStage):
    def forward(self, x: Tensor, L2: None) -> tuple[Tensor, None]:
        for block in self.blocks:
            x, L2 = block(x, L2)
        return x, L2


for _cls, _name in ((_WithL2, "RepVGGplus"), (_BlockWithL2, "RepVGGplusBlock"), (_StageWithL2, "RepVGGplusStage")):
    _cls.__name__ = _name

_QA = tuple(type(f"QARepVGGBlockV{number}", (RepVGGBlock,), {}) for number in (1, 2, 3, 4, 5))

CLASSES = {
    "repvgg": (RepVGG, RepVGGBlock, *_QA),
    "se_block": (SEBlock,),
    "repvggplus": (RepVGGplus, RepVGGplusBlock, RepVGGplusStage),
    "repvggplus_custom_L2": (_WithL2, _BlockWithL2, _StageWithL2),
    "timm.layers.drop": (type("DropPath", (nn.Identity,), {}),),
}
