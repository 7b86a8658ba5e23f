"""The device that jobs are computed on: how it is found, judged, made ready, and what it can fail of."""
