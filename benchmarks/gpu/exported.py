"""Exported networks as they are used: in half precision, by batch size."""

import time
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch

from benchmarks.dense_cases import (
    BY_HAND,
    EXPORTED,
    dense_pair,
    without_grad,
)
from benchmarks.gpu.run import NO_COMPILER, Run, has_c_compiler
from benchmarks.gpu.timing import rounds, rows_of, setting_of
from benchmarks.speed_cases import LARGEST, STOCK, Case, build, subnets_of

# What all others are held against: mmpretrain's own class cannot be compiled
# as one graph, which would flatter them.
WHOLE = f'{EXPORTED}, {LARGEST}'
SUBNETS = ('uniform 50%', 'uniform 25%')


@dataclass(frozen=True)
class Dense:
    """A dense network, its share of the MACs, what it is held against."""

    module: Any
    share: float
    reference: str

    def case(self, name: str, images: torch.Tensor) -> Case:
        """Its forward."""
        kwargs = {} if name.startswith(BY_HAND) else dict(mode='tensor')
        forward = without_grad(partial(self.module, images, **kwargs))
        return Case(name, self.share, self.reference, dict(forward=forward))


def exported(run: Run) -> None:
    """Eager, in both half precisions, at three batch sizes."""
    networks, macs = _networks(run, SUBNETS)
    stock = build(False, replace(setting_of(run), device='cpu'))
    stock.eval()
    networks[STOCK] = Dense(stock, 1.0, WHOLE)
    dtypes = ('bfloat16', 'float16')[: 1 if run.quick else None]
    for dtype in dtypes:
        typed = _typed(networks, run.device, dtype)
        for batch_size in (2, 1) if run.quick else (256, 32, 1):
            _measure(run, typed, batch_size, macs, 3, dtype=dtype)


def compiled(run: Run) -> None:
    """By `torch.compile`, at two batch sizes; each takes its time.

    Raises:
        RuntimeError: If there is no C compiler, at once.
    """
    if not (run.quick or has_c_compiler()):
        raise RuntimeError(NO_COMPILER)
    networks, macs = _networks(run, SUBNETS[-1:])
    # The C++ of a compiler for the CPU tells nothing about a GPU.
    options = dict(backend='aot_eager') if run.quick else dict()
    typed = _typed(networks, run.device, 'bfloat16')
    for batch_size in (2,) if run.quick else (32, 1):
        torch.compiler.reset()
        if not run.quick and batch_size == 1:
            # Launches take longer than kernels: CUDA graphs leave them out.
            options = dict(mode='reduce-overhead')
        images, ready = _images(run, batch_size, 'bfloat16'), {}
        for name, net in typed.items():
            module = torch.compile(net.module, dynamic=False, **options)
            ready[name] = replace(net, module=module)
            start = time.perf_counter()
            ready[name].case(name, images).runs['forward']()
            spent = round(time.perf_counter() - start, 1)
            # With what it is held against, which is known by now.
            other = replace(ready[net.reference], reference=net.reference)
            pair = {net.reference: other, name: ready[name]}
            how = dict(dtype='bfloat16', compile_seconds=spent, **options)
            first = len(pair) - 1
            _measure(run, pair, batch_size, macs, 2, first, **how)


def _networks(
    run: Run, names: tuple[str, ...]
) -> tuple[dict[str, Dense], int]:
    """By name, on the CPU in float32; the MACs of all widths."""
    setting = replace(setting_of(run), device='cpu')
    model = build(True, setting).eval()
    whole = model.macs()['total']
    found = {}
    for name in (LARGEST, *names):
        subnet = subnets_of(model)[name]
        share = model.macs(subnet)['total'] / whole
        ours, plain = dense_pair(model, setting.network, subnet)
        title = f'{EXPORTED}, {name}'
        found[title] = Dense(ours, share, WHOLE)
        found[f'{BY_HAND}, {name}'] = Dense(plain, share, title)
    return found, whole


def _typed(
    networks: Mapping[str, Dense], device: str, dtype: str
) -> dict[str, Dense]:
    """Copies on the device."""
    where = (device, getattr(torch, dtype))
    return {
        name: replace(net, module=deepcopy(net.module).to(*where))
        for name, net in networks.items()
    }


def _images(run: Run, batch_size: int, dtype: str) -> torch.Tensor:
    size = setting_of(run).network.size
    images = torch.rand(batch_size, 3, size, size, device=run.device)
    return images.to(getattr(torch, dtype))


def _measure(
    run: Run,
    networks: Mapping[str, Dense],
    batch_size: int,
    macs: int,
    seconds: float,
    first: int = 0,
    **how: Any,
) -> None:
    """Adds rows, from the first on; they grow more exact by the round."""
    images = _images(run, batch_size, how['dtype'])
    cases = [net.case(name, images) for name, net in networks.items()]
    before = run.rows
    for times in rounds(run, cases, seconds):
        rows = rows_of(cases, times, batch_size, macs)[first:]
        run.show([*before, *({**row, **how} for row in rows)])
