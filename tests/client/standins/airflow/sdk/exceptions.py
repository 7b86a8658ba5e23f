"""Failures."""


class AirflowFailException(Exception):
    """The task fails without another try."""
