"""Examples of the OpenAPI document are what they are examples of."""

import pytest
from pydantic import BaseModel

from app.api.openapi.examples import EXAMPLES
from app.api.schemas import Health, JobPage, JobView


@pytest.mark.parametrize("model", [JobView, JobPage, Health])
def test_an_example_has_every_member_and_no_other(model: type[BaseModel]) -> None:
    example = EXAMPLES[model.__name__]

    read = model.model_validate(example, strict=False)

    assert set(example) == set(model.model_fields)
    for name in ("id", "links", "input", "probe", "next"):
        if name in example:
            assert read.model_dump(mode="json")[name] == example[name]
