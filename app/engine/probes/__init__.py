"""The caller's own inputs for the comparison: read from a hostile file, and held to what the model takes."""

from app.engine.probes.fit import fitted, shapes_of
from app.engine.probes.invalid import invalid_probe
from app.engine.probes.read import Given, read_probe

__all__ = ["Given", "fitted", "invalid_probe", "read_probe", "shapes_of"]
