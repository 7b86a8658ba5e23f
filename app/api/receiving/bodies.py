"""An upload as the file itself: its name in the path, its options in the query (`curl -T`)."""

from collections.abc import AsyncIterable, Iterable

from app.api.filenames import clean_filename
from app.api.receiving.uploads import Received, Reception, read_options, unknown_option
from app.errors import InvalidOption
from app.options import FuseOptions
from app.storage import input_key


async def receive_body(
    reception: Reception, body: AsyncIterable[bytes], name: str, query: Iterable[tuple[str, str]]
) -> Received:
    """Read the whole body and make it durable. Raises AppError; the client's leaving passes through."""
    options = read_options(_options(query))
    file = await reception.begin(clean_filename(name), input_key(reception.job_id))
    async for piece in body:
        reception.count(piece)
        await reception.take(file, piece)
    return Received(await file.finish(), None, options)


def _options(query: Iterable[tuple[str, str]]) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, value in query:
        if name not in FuseOptions.model_fields:
            raise unknown_option(name, ["wait"])
        if name in found:
            raise InvalidOption(f"The option {name} is given twice.", remedy="Give it once.")
        found[name] = value.strip()
    return found
