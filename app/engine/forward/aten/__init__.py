"""Operator tables for programs of torch.export: what each aten operator computes, over abstract values."""

from app.engine.forward.aten.follow import follow
from app.engine.forward.aten.ports import ports

__all__ = ["follow", "ports"]
