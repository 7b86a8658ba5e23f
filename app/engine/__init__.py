"""The engine: a checkpoint in, a fused checkpoint and its report out. Nothing of HTTP, queue, storage or settings."""
