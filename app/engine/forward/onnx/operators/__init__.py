"""What each operator of ONNX is to us; `table` lists them all."""
