"""The one error of the caller's inputs."""

from app.errors import InvalidProbe

_REMEDY = (
    "Save what the model is called with: numpy.save('inputs.npy', x), numpy.savez('inputs.npz', image=x, mask=m), or "
    "a safetensors file of such names."
)


def invalid_probe(detail: str, remedy: str = "") -> InvalidProbe:
    """What is wrong, and what to do."""
    return InvalidProbe(f"The probe {detail}.", remedy=remedy or _REMEDY)
