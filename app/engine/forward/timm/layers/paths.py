"""Where timm keeps its layers: `timm.layers` since 0.8, `timm.models.layers` before."""


def layer_paths(*names: str) -> tuple[str, ...]:
    """The class paths of layers (`norm_act.BatchNormAct2d`) in every version."""
    return tuple(f"{package}.{name}" for name in names for package in ("timm.layers", "timm.models.layers"))
