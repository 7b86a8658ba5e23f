"""What processes that load torch see of the environment: no secret, and no setting of the service."""

import os
from pathlib import Path

import app

_KEPT = ("PATH", "LANG", "LC_ALL", "TZ", "LD_LIBRARY_PATH", "TMPDIR")
# Which GPUs there are for them, and in which order.
_DEVICES = ("CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER", "NVIDIA_VISIBLE_DEVICES")


def environment(threads: int) -> dict[str, str]:
    """For the warm parent, its children, and whoever looks at the GPU."""
    kept = {name: os.environ[name] for name in (*_KEPT, *_DEVICES) if name in os.environ}
    source = str(Path(app.__file__).resolve().parent.parent)
    # Libraries below numpy start threads when they are imported, and a process with threads can't fork safely.
    # Threads that wait must not spin: where others want the cores, too, a job would take many times as long.
    quiet = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": str(threads), "OMP_WAIT_POLICY": "PASSIVE"}
    # onnxruntime would start a thread that reports to its makers.
    quiet["ORT_DISABLE_TELEMETRY"] = "1"
    return kept | quiet | _of_cuda() | {"PYTHONPATH": source, "PYTHONSAFEPATH": "1", "PYTHONUNBUFFERED": "1"}


def _of_cuda() -> dict[str, str]:
    return {
        # Counting devices must not start CUDA: what forks afterwards could never use it.
        "PYTORCH_NVML_BASED_CUDA_CHECK": "1",
        # Read when cuBLAS starts: its products are the same bits each time only with a workspace of a fixed size.
        "CUBLAS_WORKSPACE_CONFIG": ":4096:8",
        # Kernels that the driver compiles are kept in a home directory that no child has.
        "CUDA_CACHE_DISABLE": "1",
    }
