"""Figures of whole families, beside what the authors and timm leave of them."""

from app.engine.zoo.operators import defined

defined()  # before anything here imports timm: beside a torch of another build, torchvision's import fails otherwise
