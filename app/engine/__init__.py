"""The engine: a checkpoint in, a fused checkpoint and its report out. Nothing of HTTP, queue, storage or settings."""

from app.engine.pipeline import fuse_checkpoint, inspect_checkpoint, recognise_checkpoint

__all__ = ["fuse_checkpoint", "inspect_checkpoint", "recognise_checkpoint"]
