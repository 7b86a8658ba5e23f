"""How an upload is written, as OpenAPI tells it: the form, the query of a plain body, the headers of both."""

from typing import Any

from app.options import FuseOptions

_IDEMPOTENCY_KEY = {
    "name": "Idempotency-Key",
    "in": "header",
    "description": "A random string of this upload. Sent again with the same file and options, as long as the job has "
    "its files, it finds the same job.",
    "schema": {"type": "string", "minLength": 1, "maxLength": 255},
    "example": '"9e107d9d-372b-4f2a-8f3b-5a1f6d2c7e10"',
}
_CONTENT_DIGEST = {
    "name": "Content-Digest",
    "in": "header",
    "description": "`sha-256` or `sha-512` of the body as it is sent (RFC 9530); the upload is refused if it differs.",
    "schema": {"type": "string"},
    "example": "sha-256=:X48E9qOokqqrvdts8nOJRJN3OWDUoyWxBf7kbu9DBPE=:",
}
_NAME = {
    "name": "name",
    "in": "path",
    "required": True,
    "description": "Name of the file; may be left out.",
    "schema": {"type": "string", "minLength": 1},
    "example": "yolov7.pt",
}
_HEADERS = [_IDEMPOTENCY_KEY, _CONTENT_DIGEST]


def body_of_form() -> dict[str, object]:
    """POST: the options' own schema and the files."""
    model = {**_file("The checkpoint, as training wrote it."), "minLength": 1}
    probe = _file(
        "Inputs of your own for the comparison, instead of seeded ones: `.npy` for one input, `.npz` or "
        "`.safetensors` for several by name."
    )
    schema = {
        "type": "object",
        "required": ["model"],
        "properties": {"model": model, "probe": {**probe, "minLength": 1}, **_options()},
        "additionalProperties": False,
    }
    content = {"multipart/form-data": {"schema": schema}}
    return {"requestBody": {"required": True, "content": content}, "parameters": _HEADERS}


def parameters_of_body() -> dict[str, object]:
    """PUT: each option in the query, and the body that is the file."""
    query = [
        {"name": name, "in": "query", "required": False, "schema": schema, "description": schema.get("description", "")}
        for name, schema in _options().items()
    ]
    content = {"application/octet-stream": {"schema": {**_file("The checkpoint."), "minLength": 1}}}
    return {"requestBody": {"required": True, "content": content}, "parameters": [_NAME, *query, *_HEADERS]}


def _file(description: str) -> dict[str, Any]:
    return {"type": "string", "format": "binary", "description": description}


def _options() -> dict[str, dict[str, Any]]:
    return {name: _field(schema) for name, schema in FuseOptions.model_json_schema()["properties"].items()}


def _field(schema: dict[str, Any]) -> dict[str, Any]:
    """A form has no null: what may be None is a field that may be left out."""
    given = [one for one in schema.get("anyOf", []) if one != {"type": "null"}]
    if len(given) != 1:
        return schema
    return {**given[0], **{name: value for name, value in schema.items() if name not in ("anyOf", "default")}}
