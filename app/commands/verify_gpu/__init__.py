"""`fusebox verify-gpu`: tries on this machine's GPU what its workers rely on, item by item, with figures."""

from app.commands.verify_gpu.items import verify_gpu

__all__ = ["verify_gpu"]
