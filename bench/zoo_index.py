"""Makes the index of all models of torchvision and timm that `architecture=` proposes: python -m bench.zoo_index.

Run it in an environment with both packages after their versions change. Nothing is downloaded, and no
model takes memory: weights are built on the meta device.
"""

import sys
import time
import warnings
from pathlib import Path

from app.engine.zoo.abstract import abstract
from app.engine.zoo.catalogue import builders, names_of
from app.engine.zoo.index import to_bytes
from app.engine.zoo.request import PACKAGES, Request
from app.engine.zoo.sketch import Sketch, sketch
from app.errors import AppError

_TARGET = Path(__file__).resolve().parent.parent / "app" / "engine" / "zoo" / "architectures.bin"
_UNBOUNDED = 1 << 20


def main() -> None:
    warnings.simplefilter("ignore")
    found: dict[str, Sketch] = {}
    start = time.perf_counter()
    for package in PACKAGES:
        for name in names_of(package):
            text = f"{package}/{name}"
            try:
                found[text] = _sketched(Request(package, name, {}))
            except (AppError, Exception) as error:
                print(f"{text}: {type(error).__name__}: {str(error)[:200]}", file=sys.stderr)
    _TARGET.write_bytes(to_bytes(found))
    seconds = time.perf_counter() - start
    print(f"{len(found)} models, {_TARGET.stat().st_size:,} bytes, {seconds:.0f} s")


def _sketched(request: Request) -> Sketch:
    build = builders(request)[str(request.package)]
    model = abstract(lambda: build({}), _UNBOUNDED)
    return sketch({name: tuple(tensor.shape) for name, tensor in model.state_dict().items()})


if __name__ == "__main__":
    main()
