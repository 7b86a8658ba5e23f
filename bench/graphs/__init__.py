"""`make bench-graphs`: what Fusebox and its peers leave of ONNX graphs. Figures only, nothing here is asserted."""
