"""Which device a worker computes on: what was asked for, held against what was found. Nothing here touches a GPU."""

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version

from app.devices.found import Found, Gpu
from app.errors import DeviceUnusable

# A convolution of a few hundred products in float32; TF32 has ten bits, which is a hundred times as much.
LARGEST_ERROR = 1e-5

_DRIVER = "/dev/nvidiactl"
_GO_ON = "or go on without it: FUSEBOX_DEVICE=cpu"


@dataclass(frozen=True, slots=True)
class Device:
    """What a worker computes on: `cpu` or `cuda:N`, N among the visible ones."""

    name: str
    why: str = ""  # why it is the CPU
    found: Found | None = None

    @property
    def gpu(self) -> Gpu | None:
        return None if self.found is None or self.name == "cpu" else self.found.gpu

    def facts(self) -> dict[str, object]:
        """For the line that a worker says when it starts."""
        if self.found is None or self.found.gpu is None or self.name == "cpu":
            return {"device": f"cpu ({self.why})" if self.why else "cpu", "torch": version("torch")}
        return {
            "device": self.name,
            "gpu": self.found.gpu.name,
            "uuid": self.found.gpu.uuid,
            "capability": "{}.{}".format(*self.found.gpu.capability),
            "memory_bytes": self.found.gpu.memory,
            "driver": self.found.driver,
            "cuda": self.found.cuda,
            "torch": self.found.torch,
        }


def has_driver() -> bool:
    """Whether NVIDIA's driver is there for this process; without it there is nothing to look at."""
    return os.path.exists(_DRIVER)


def find(wanted: str, look: Callable[[int], Found], driver: Callable[[], bool] = has_driver) -> Device:
    """The device for `auto`, `cpu`, `cuda` or `cuda:N`. Raises DeviceUnusable, never later than here."""
    if wanted == "cpu":
        return Device("cpu")
    if not driver():
        return _none(wanted, "no NVIDIA device visible")
    index = int(wanted.partition(":")[2] or 0)
    return judge(wanted, index, look(index))


def judge(wanted: str, index: int, found: Found) -> Device:
    """What was found, for what was asked for. Raises DeviceUnusable."""
    if found.cuda is None:
        return _none(wanted, f"this torch, {found.torch}, is built without CUDA")
    if found.count == 0 and found.visible is not None and _hides_all(found.visible):
        return _none(wanted, "CUDA_VISIBLE_DEVICES hides every GPU")
    if found.count <= index and (found.count or found.visible):
        raise _no_such(wanted, found)
    gpu = found.gpu
    if gpu is not None and not has_kernels(found.archs, gpu.capability):
        raise _unsupported(found, gpu)
    if found.failure is not None or gpu is None or found.computed is None:
        raise _broken(found)
    if not found.computed.error <= LARGEST_ERROR:
        raise _unusable(
            "gpu-wrong",
            f"{gpu.name} computes a small convolution with an error of {found.computed.error:.1e}, and no more than "
            f"{LARGEST_ERROR:g} is right",
            f"Have the GPU checked, {_GO_ON}.",
        )
    return Device(f"cuda:{index}", found=found)


def has_kernels(archs: tuple[str, ...], capability: tuple[int, int]) -> bool:
    """Whether one of torch's builds runs on a device of this compute capability; unknown builds may.

    CUDA's rule: binary code (`sm_86`) runs on its own major version from its own minor one on, on that one alone if it
    ends with `a`; PTX (`compute_90`) on all that are newer.
    """
    return not archs or any(_runs(arch, capability) for arch in archs)


def _runs(arch: str, capability: tuple[int, int]) -> bool:
    matched = re.fullmatch(r"(sm|compute)_(\d+)(\d)([af]?)", arch)
    if matched is None:
        return False
    built = (int(matched[2]), int(matched[3]))
    if matched[4] == "a":
        return built == capability
    if matched[1] == "compute" and not matched[4]:
        return built <= capability
    return built[0] == capability[0] and built <= capability


def _hides_all(visible: str) -> bool:
    """CUDA takes the entries up to the first that is none: an empty list, or one that begins with -1, is nothing."""
    return visible.partition(",")[0].strip() in ("", "-1", "none", "void", "NoDevFiles")


def _none(wanted: str, why: str) -> Device:
    if wanted == "auto":
        return Device("cpu", why)
    raise _unusable(
        "no-gpu",
        f"FUSEBOX_DEVICE is '{wanted}', and there is no GPU to use: {why}",
        f"Give the process a GPU (docker run --gpus all) and a torch built with CUDA, {_GO_ON}.",
    )


def _no_such(wanted: str, found: Found) -> DeviceUnusable:
    visible = "" if found.visible is None else f"; CUDA_VISIBLE_DEVICES is '{found.visible}'"
    return _unusable(
        "no-such-gpu",
        f"FUSEBOX_DEVICE is '{wanted}', and {found.count} GPU{' is' if found.count == 1 else 's are'} visible{visible}",
        f"Devices are counted from 0 among those that are visible; name one of them, {_GO_ON}.",
    )


def _unsupported(found: Found, gpu: Gpu) -> DeviceUnusable:
    capability = "{}.{}".format(*gpu.capability)
    return _unusable(
        "unsupported-gpu",
        f"{gpu.name} has compute capability {capability}, and this torch ({found.torch}, CUDA {found.cuda}) has "
        f"kernels for {', '.join(found.archs)} only",
        f"Install a torch that is built for {capability}, {_GO_ON}.",
        capability=capability,
        supported=list(found.archs),
    )


def _broken(found: Found) -> DeviceUnusable:
    said = found.failure or "its driver is loaded and shows none"
    if "too old" in said or "driver version is insufficient" in said:
        return _unusable(
            "driver-too-old",
            f"NVIDIA's driver ({found.driver or 'of unknown version'}) is too old for this torch ({found.torch}, CUDA "
            f"{found.cuda}): {said}",
            f"Update the driver, install a torch for an older CUDA, {_GO_ON}.",
        )
    return _unusable(
        "gpu-broken",
        f"the GPU is there and does not compute: {said}",
        f"Look at nvidia-smi and the kernel's log (Xid), {_GO_ON}.",
    )


def _unusable(reason: str, detail: str, remedy: str, **facts: object) -> DeviceUnusable:
    return DeviceUnusable(f"{reason}: {detail}.", remedy=remedy, reason=reason, **facts)
