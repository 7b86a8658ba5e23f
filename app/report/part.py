"""What all parts of a report are: values that nobody changes, with no field that nobody knows."""

from pydantic import BaseModel, ConfigDict


class Part(BaseModel):
    """A part of a report."""

    model_config = ConfigDict(frozen=True, extra="forbid")
