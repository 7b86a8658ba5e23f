"""Operator tables for programs of torch.export: what each aten operator computes, over abstract values."""

from app.engine.forward.aten.effects import effects, writes
from app.engine.forward.aten.follow import follow
from app.engine.forward.aten.ports import ports
from app.engine.forward.aten.settling import exported_at, misfit, settled

__all__ = ["effects", "exported_at", "follow", "misfit", "ports", "settled", "writes"]
