"""What a look would find, for tests that have no GPU."""

from app.devices.choice import Device
from app.devices.found import Computed, Found, Gpu

FOUND = Found(
    torch="2.13.0+cu130",
    cuda="13.0",
    archs=("sm_75", "sm_80", "sm_86", "sm_90", "sm_100", "sm_120"),
    driver="580.95.05",
    count=1,
    gpu=Gpu(index=0, name="NVIDIA L4", uuid="GPU-1", capability=(8, 9), memory=24 << 30),
    computed=Computed(error=2e-7, error_tf32=3e-4, repeatable=True),
)
DEVICE = Device("cuda:0", found=FOUND)
BROKEN = FOUND.model_copy(update={"computed": None, "failure": "CUDA error: unspecified launch failure"})
