"""Which workers of one host live.

Apart from the queue: importing that would cost a health check more than its question does.
"""

import sqlalchemy as sa

from app.jobs.database import now
from app.jobs.schema import workers


def workers_of(engine: sa.Engine, host: str, dead_after_seconds: float) -> list[str]:
    """The live workers whose name begins with this host's."""
    alive = sa.select(workers.c.id).where(
        workers.c.id.startswith(f"{host}-", autoescape=True),
        sa.not_(workers.c.leaving),
        workers.c.heartbeat_at >= now() - dead_after_seconds,
    )
    with engine.connect() as connection:
        return sorted(connection.execute(alive).scalars())
