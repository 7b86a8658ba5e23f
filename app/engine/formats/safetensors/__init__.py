"""safetensors files, alone or as shards with an index: a strict reader and a writer of their own."""

from app.engine.formats.safetensors.file import SafetensorsFile, read_safetensors, write_safetensors
from app.engine.formats.safetensors.shards import ShardedFile, read_shards, write_shards

__all__ = [
    "SafetensorsFile",
    "ShardedFile",
    "read_safetensors",
    "read_shards",
    "write_safetensors",
    "write_shards",
]
