"""One name, one member: an attribute of a name that is a parameter, buffer or child, too, is what Python would find."""

from app.engine.ir.module import Module
from app.errors import MalformedFile

_TABLES = ("_parameters", "_buffers", "_modules")


def check_members(root: Module) -> None:
    """Raises MalformedFile for a module that has two things under one name: its code would use the one that shadows."""
    for module in root.walk():
        known: set[str] = set(module.state)
        for table in _TABLES:
            names = module.table(table).keys()
            twice = known & names
            if twice:
                raise MalformedFile(
                    f"{module.at(min(twice)[:100])} is there twice: as an attribute, parameter, buffer or child",
                    remedy="torch.nn.Module keeps each name once: save the model again.",
                )
            known |= names
