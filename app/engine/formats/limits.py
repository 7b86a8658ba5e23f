"""What a file may cost to read. Every overrun is a TooLarge that names the value and the limit."""

from dataclasses import dataclass

from app.errors import TooLarge

_GIB = 1 << 30


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of one reading. The defaults hold a model of many thousand layers with its optimizer."""

    max_pickle_bytes: int = 256 << 20
    max_operations: int = 2_000_000  # opcodes; a YOLOv7 training checkpoint has about 60,000
    max_memo: int = 1_000_000
    max_objects: int = 500_000
    max_globals: int = 20_000  # different names; a model of many families has a few hundred
    max_pairs: int = 250_000  # that Python 2 gave its ordered dictionaries as lists
    max_depth: int = 800  # the pickler that wrote the file recurses itself, up to 1,000 by default
    max_storages: int = 200_000
    max_tensor_bytes: int = 64 * _GIB
    max_repeated: int = 1 << 24  # elements of all tensors that have more of them than their storage (expand, unfold)
    max_entries: int = 250_000  # records of a zip archive
    # Keys whose hashes an author can choose (tuples, wide integers): many equal ones would cost quadratic time.
    max_complex_keys: int = 4096
    # Of a graph file, what is not the content of large tensors.
    max_graph_bytes: int = 256 << 20
    max_graph_nodes: int = 100_000  # operators and tensors; a large language model's export has about 20,000
    max_graph_fields: int = 600_000
    max_graph_depth: int = 64


def check_limit(what: str, value: int, limit: int) -> None:
    """Refuse `value` above `limit`."""
    if value > limit:
        raise TooLarge(
            f"{what}: {value:,}, the limit is {limit:,}",
            remedy="Upload a smaller checkpoint: the model alone, without optimizer and history.",
            value=value,
            limit=limit,
        )
