"""Models whose state dicts tests upload, with statistics that no default has."""

import torch
from torch import nn


class Odd(nn.Module):
    """A norm behind each kind of layer, one before a layer, one with an eps of its own."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 8, 3, stride=2, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(8, eps=1e-3)
        self.pre = nn.BatchNorm2d(8)
        self.conv2 = nn.Conv2d(8, 16, 1, groups=2)
        self.up = nn.ConvTranspose2d(16, 8, 2, stride=2, groups=4)
        self.bn3 = nn.BatchNorm2d(8)
        self.fc = nn.Linear(8, 5)
        self.bn4 = nn.BatchNorm1d(5)

    def forward(self, x):
        x = self.bn1(self.conv1(x)).relu()
        x = self.conv2(self.pre(x)).relu()
        x = self.bn3(self.up(x)).relu()
        return self.bn4(self.fc(x.mean((2, 3))))


def randomised(model, seed=0):
    """The model in `.eval()`, all weights and statistics drawn anew."""
    generator = torch.Generator().manual_seed(seed)
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.running_mean.normal_(generator=generator)
            module.running_var.uniform_(0.3, 2, generator=generator)
            if module.affine:
                nn.init.normal_(module.weight, generator=generator)
                nn.init.normal_(module.bias, generator=generator)
    return model.eval()
