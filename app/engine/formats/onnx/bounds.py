"""How large, deep and many the parts of a model are, counted on its bytes before protobuf builds anything of them."""

from functools import cache
from typing import Final

from onnx import ModelProto

from app.engine.formats.limits import Limits, check_limit
from app.engine.formats.onnx.wire import BYTES, Buffer, damaged, fields

MODEL: Final = "onnx.ModelProto"
_STRING: Final = "string"
_Schema = dict[str, dict[int, str]]


@cache
def schema() -> _Schema:
    """By message: which fields are text, and which are messages of what kind."""
    found: _Schema = {}
    waiting = [ModelProto.DESCRIPTOR]
    while waiting:
        message = waiting.pop()
        if message.full_name in found:
            continue
        kinds = found[message.full_name] = {}
        for field in message.fields:
            if field.message_type is not None:
                kinds[field.number] = field.message_type.full_name
                waiting.append(field.message_type)
            elif field.type == field.TYPE_STRING:
                kinds[field.number] = _STRING
    return found


def check_bounds(buffer: Buffer, start: int, end: int, limits: Limits) -> None:
    """TooLarge above a limit, MalformedFile where the bytes are no message."""
    kinds, counted = schema(), 0
    waiting = [(MODEL, start, end, 1)]
    while waiting:
        message, start, end, depth = waiting.pop()
        check_limit("nesting of the ONNX model", depth, limits.max_graph_depth)
        known = kinds[message]
        for field in fields(buffer, start, end):
            counted += 1
            if counted > limits.max_graph_fields:
                check_limit("fields of the ONNX model", counted, limits.max_graph_fields)
            inner = known.get(field.number)
            if inner is None or field.kind != BYTES:
                continue
            if inner is _STRING:
                _check_text(buffer, field.content, field.end)
            else:
                waiting.append((inner, field.content, field.end, depth + 1))


def _check_text(buffer: Buffer, start: int, end: int) -> None:
    try:
        buffer[start:end].decode("utf-8")
    except UnicodeDecodeError:
        raise damaged(f"the text at byte {start:,} is not UTF-8") from None
