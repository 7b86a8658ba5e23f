import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from app.engine.formats import Limits
from app.engine.formats.mapped_file import MappedFile
from app.engine.formats.onnx import read_onnx, write_onnx
from app.engine.forward.onnx import follow, ports


@pytest.fixture
def read(tmp_path):
    """A model, saved and read."""

    def run(model, limits=None):
        path = tmp_path / "source.onnx"
        path.write_bytes(model if isinstance(model, bytes) else model.SerializeToString())
        return read_onnx(MappedFile(path), limits or Limits())

    return run


@pytest.fixture
def rewrite(read, tmp_path):
    """Read, follow, change the graph, write, load; onnx's full check on the way."""

    def run(model, change=None, batch=2):
        file = read(model)
        shapes = {p.name: tuple(d if isinstance(d, int) else batch for d in p.dims) for p in ports(file.model)}
        program = follow(file.model, file.tensors, shapes)
        graph = program.graph if change is None else change(program)
        target = tmp_path / "target.onnx"
        write_onnx(file, program, graph, target)
        written = onnx.load(target)
        onnx.checker.check_model(written, full_check=True)
        return written

    return run


@pytest.fixture
def outputs():
    """What onnxruntime computes, without optimisation, on seeded noise."""

    def run(model, seed=0):
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.intra_op_num_threads = 1
        options.log_severity_level = 4
        session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        noise = np.random.default_rng(seed)
        feeds = {
            port.name: torch.from_numpy(noise.normal(size=[d if isinstance(d, int) else 2 for d in port.dims]))
            .to(port.dtype)
            .numpy()
            for port in ports(model)
        }
        names = [output.name for output in session.get_outputs()]
        return dict(zip(names, session.run(None, feeds), strict=True))

    return run
