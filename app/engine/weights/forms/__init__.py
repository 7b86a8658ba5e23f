"""Weights that a state dict holds in parts: by which names one knows them, and the tree in which they are computed."""
