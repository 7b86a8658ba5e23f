from collections.abc import Iterator

import pytest

from app.sandbox.supervisor import Forge


@pytest.fixture(scope="module")
def forge() -> Iterator[Forge]:
    with Forge(threads=1) as warm:
        warm.warm()
        yield warm
