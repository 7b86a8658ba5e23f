"""A model around the tensors of a file, followed at the sizes of the caller's inputs."""

from dataclasses import replace

from app.engine.fuse.units import Units
from app.engine.probes import Given
from app.engine.probes.units import described_at, followed
from app.engine.weights.blueprint import Blueprint


def on_inputs(blueprint: Blueprint, given: Given) -> Blueprint:
    """The same model, to be compared on these inputs. Raises InvalidProbe."""
    root = blueprint.module
    units, inputs = followed(given, blueprint.units, root, blueprint.at or described_at(root))
    described = blueprint.described

    def also() -> Units:
        """As its classes have it, where all of them are described."""
        assert described is not None
        found = described()
        return followed(given, found, root, described_at(root))[0] if found.whole else found

    return replace(blueprint, units=units, inputs=inputs, described=None if described is None else also)
