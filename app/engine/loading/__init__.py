"""What a loader of a checkpoint would run: every name that the file refers to, and what it is used for."""

from app.engine.loading.allowed import Allowed
from app.engine.loading.audit import check_loading, unsafe_names

__all__ = ["Allowed", "check_loading", "unsafe_names"]
