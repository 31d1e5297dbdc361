"""Latency tables of the device, held against whole subnets."""

from benchmarks.gpu.run import Run
from benchmarks.latency import measure


def tables(run: Run) -> None:
    """One for a batch, and one for single images."""
    if run.quick:
        run.add(**measure('ViT-mini', 1, 1, 3, run.device))
        return
    for batch_size in (32, 1):
        options = (batch_size, 6, 20, run.device, 'bfloat16')
        run.add(**measure('ViT-B/16', *options))
