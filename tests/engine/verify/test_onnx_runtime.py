"""Who computes an ONNX model: where onnxruntime has no CUDA, or none is asked for, the CPU."""

from app.engine.verify.onnx_runtime import providers_for

_BOTH = ["TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"]


def test_the_gpu_of_the_job_computes_without_tf32_unless_speed_is_measured():
    proved = providers_for("cuda:1", _BOTH, optimised=False)

    assert proved == [("CUDAExecutionProvider", {"device_id": 1, "use_tf32": 0}), "CPUExecutionProvider"]
    assert providers_for("cuda:1", _BOTH, optimised=True)[0] == (
        "CUDAExecutionProvider",
        {"device_id": 1, "use_tf32": 1},
    )


def test_the_cpu_computes_where_there_is_no_other():
    assert providers_for("cpu", _BOTH, optimised=False) == ["CPUExecutionProvider"]
    assert providers_for("cuda:0", ["CPUExecutionProvider"], optimised=False) == ["CPUExecutionProvider"]
