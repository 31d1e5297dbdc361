"""Measuring a latency table, and how well it foretells whole subnets."""

import platform
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from copy import deepcopy
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from rich.progress import track
from torch import Tensor

from eavit_mm.options import check_choice, check_count
from eavit_mm.registry import LATENCY_BACKENDS
from eavit_mm.space import Level, SearchSpace, StratifiedSampler, Subnet
from eavit_mm.space.cells import BRANCHES, HEAD_DIMS
from eavit_mm.space.latency import TORCH, LatencyTable, check_heads

# Whole networks that the sum of blocks is brought in line with, and the seed
# of their draw: not one that a validation would have.
_WHOLE, _SEED = 12, 2**40
# Calls of one subnet in a round; the fastest counts.
_CALLS = 3
# Rounds for which no number is given: a device's clock changes over seconds.
_LEAST_ROUNDS, _LEAST_SECONDS = 20, 60.0
# Embedding width, axis and width of a block; ('', 0) is the stem alone.
Block = tuple[int, str, int]
# What surrounds a call and is not timed, and the call.
Timed = tuple[Callable[[], AbstractContextManager[None]], Callable[[], Any]]


class Validation(NamedTuple):
    """A table against measured subnets, in milliseconds."""

    # Mean of |foretold / measured - 1|; the same at the speed that the device
    # had for the table.
    error: float
    own_error: float
    kendall_tau: float  # rank correlation
    # Time of the subnets that the table was brought in line with, over what
    # it was for the table.
    drift: float
    subnets: Sequence[Subnet]
    foretold: Sequence[float]
    measured: Sequence[float]


@LATENCY_BACKENDS.register_module(name=TORCH)
def run_sliced(model: Any, subnet: Subnet, images: Tensor) -> Timed:
    """A subnet as the supernet itself runs it."""
    frozen = partial(model.backbone.frozen, subnet)
    return frozen, partial(model, images, mode='tensor')


def build_table(
    model: Any,
    batch_size: int = 1,
    rounds: int | None = None,
    dtype: str = 'float32',
    backend: str = TORCH,
) -> LatencyTable:
    """Measures every block of a supernet's space on the model's device.

    Each is timed inside a network that has nothing else in it, in all layers
    that offer it at once: the time over the same network without any branch,
    divided by the number of these layers. In a whole network blocks share
    caches and are a little slower: at last all times are multiplied by what a
    few drawn networks take over what the times add up to. All take turns.

    Args:
        model: An elastic classifier, on the device to measure.
        batch_size: Images of one forward.
        rounds: As for :func:`measure_in_turn`.
        dtype: Type of weights and images.
        backend: What runs the networks, one of ``LATENCY_BACKENDS``.
    """
    check_heads(model.backbone.space)
    alone = dict(_blocks(model.backbone.space))
    whole = _draw(model, _WHOLE, _SEED)
    subnets = [*alone.values(), *whole]
    found = measure(model, subnets, batch_size, rounds, dtype, backend)
    table = LatencyTable(
        backend=backend,
        device=device_name(next(model.parameters()).device),
        dtype=dtype,
        batch_size=batch_size,
        threads=torch.get_num_threads(),
        num_tokens=model.backbone.geometry.num_tokens,
        head_dims=model.backbone.geometry.head_dims,
        **_times(alone, found),
    )
    drift = _drift(table, whole, found[len(alone) :])
    return replace(table, **_times(alone, [drift * ms for ms in found]))


def _times(
    alone: Mapping[Block, Subnet], found: Sequence[float]
) -> dict[str, Any]:
    """Milliseconds of the stem and of each branch, as a table has them."""
    times = dict(zip(alone, found, strict=False))
    stem = {width: ms for (width, axis, _), ms in times.items() if not axis}
    branches: dict[str, dict[int, dict[int, float]]] = {
        axis: {width: {} for width in stem} for axis in BRANCHES
    }
    for (width, axis, channels), ms in times.items():
        if axis:
            opened = getattr(alone[width, axis, channels], axis)
            own = max(ms - stem[width], 0.0) / np.count_nonzero(opened)
            branches[axis][width][channels] = own
    return dict(stem=stem, **branches)


def _blocks(space: SearchSpace) -> Iterator[tuple[Block, Subnet]]:
    """The networks of :func:`build_table`, each with one kind of block."""
    layers = range(space.num_layers)
    off = (0,) * space.num_layers
    for width in space.embed_dims:
        (dims,), side = space.choices(HEAD_DIMS), space.side_of(width)
        empty = Subnet(width, off, off, dims, side)
        yield (width, '', 0), empty
        for axis in BRANCHES:
            offered = [space.choices(axis, layer) for layer in layers]
            for choice in sorted(set().union(*offered)):
                widths: Any = tuple(choice * (choice in c) for c in offered)
                yield (width, axis, choice), replace(empty, **{axis: widths})


def _draw(model: Any, num: int, seed: int) -> list[Subnet]:
    """Different subnets, even over the MACs range."""
    level, macs = Level(model.backbone.space), model.backbone.macs
    rng = np.random.default_rng(seed)
    return StratifiedSampler(num=num).draw(level, macs, rng)


def _drift(
    table: LatencyTable, subnets: Sequence[Subnet], measured: Sequence[float]
) -> float:
    """Measured times over those of a table."""
    foretold = [table(subnet) for subnet in subnets]
    return float(np.median(np.divide(measured, foretold)))


def validate(
    model: Any,
    table: LatencyTable,
    num: int = 50,
    rounds: int | None = None,
    seed: int = 0,
) -> Validation:
    """Compares a table with whole subnets, even over the MACs range.

    Args:
        model: As for :func:`build_table`.
        table: A table of this device; its backend runs the networks.
        num: How many subnets.
        rounds: As for :func:`measure_in_turn`.
        seed: Seed of the subnets' draw.
    """
    # Half a second, for which every tool would wait.
    from scipy.stats import kendalltau

    check_count('num', num, least=2)
    subnets, references = _draw(model, num, seed), _draw(model, _WHOLE, _SEED)
    everyone = [*subnets, *references]
    options = (table.batch_size, rounds, table.dtype, table.backend)
    found = measure(model, everyone, *options)
    measured = found[: len(subnets)]
    foretold = [table(subnet) for subnet in subnets]
    drift = _drift(table, references, found[len(subnets) :])
    error, own_error = (
        float(np.abs(np.multiply(foretold, speed) / measured - 1).mean())
        for speed in (1.0, drift)
    )
    tau = float(kendalltau(foretold, measured).statistic)
    return Validation(
        error, own_error, tau, drift, subnets, foretold, measured
    )


def check_device(
    table: LatencyTable, device: torch.device, threads: int | None = None
) -> None:
    """Raises if a table is not of a device: its error would mean nothing.

    Raises:
        ValueError: Names both devices, or both numbers of a CPU's threads;
            None stands for those of the table.
    """
    name = device_name(device)
    if table.device != name:
        raise ValueError(
            f'the table is of {table.device!r}, this device is {name!r}; '
            'validate it where it was measured, or build one here'
        )
    if device.type == 'cpu' and threads not in (None, table.threads):
        raise ValueError(
            f'threads={threads}; the table is of {table.threads}: leave the '
            'option out, or build one with as many'
        )


def image_size(model: Any) -> tuple[int, int, int]:
    """(channels, height, width) that a network is configured for."""
    embed = model.backbone.patch_embed
    height, width = embed.init_input_size
    return embed.projection.in_channels, height, width


def measure(
    model: Any,
    subnets: Sequence[Subnet],
    batch_size: int,
    rounds: int | None,
    dtype: str,
    backend: str = TORCH,
) -> list[float]:
    """Milliseconds of a forward of subnets, measured in turn.

    The subnets may have any combination of widths, and more branches off than
    the model's space allows; the model is not changed. The rest is as for
    :func:`build_table`.
    """
    check_count('batch_size', batch_size, least=1)
    LATENCY_BACKENDS.import_from_location()
    backends = LATENCY_BACKENDS.module_dict
    check_choice('backend', backend, sorted(backends))
    parameter = next(model.parameters()).to(getattr(torch, dtype))
    model = deepcopy(model).to(parameter.dtype).eval()
    backbone = model.backbone
    branches = 2 * backbone.space.num_layers
    backbone.space = replace(
        backbone.space, ties=(), shared=(), max_off=branches
    )
    images = parameter.new_zeros(batch_size, *image_size(model))
    run, note = backends[backend], f'networks for {backend}'
    shown = track(subnets, note, transient=True)  # an export takes seconds
    cases = [run(model, subnet, images) for subnet in shown]
    return measure_in_turn(cases, images.device, rounds)


def measure_in_turn(
    cases: Sequence[Timed], device: torch.device, rounds: int | None = None
) -> list[float]:
    """Milliseconds of calls at the speed of the fastest tenth of the rounds.

    What slows a round slows all calls of it: each counts as its median over
    the rounds, relative to its round. Without a number of rounds they go on
    for a minute, at least 20 times.
    """
    if rounds is not None:
        check_count('rounds', rounds, least=1)
    rows: list[list[float]] = []
    least = _LEAST_ROUNDS if rounds is None else rounds
    end = time.perf_counter() + (_LEAST_SECONDS if rounds is None else 0.0)
    while len(rows) < least or time.perf_counter() < end:
        row = []
        for around, run in cases:
            with torch.no_grad(), around():
                calls = [seconds(run, device) for _ in range(_CALLS)]
            row.append(1e3 * min(calls))
        rows.append(row)
    times = np.array(rows)
    level = np.median(times / np.median(times, axis=0), axis=1, keepdims=True)
    relative = np.median(times / level, axis=0)
    return [float(ms) for ms in relative * np.quantile(level, 0.1)]


def seconds(run: Callable[[], Any], device: torch.device) -> float:
    """Time of one call, until the device is done."""
    if device.type != 'cpu':
        torch.accelerator.synchronize()
    start = time.perf_counter()
    run()
    if device.type != 'cpu':
        torch.accelerator.synchronize()
    return time.perf_counter() - start


def device_of(name: str | torch.device | None) -> torch.device:
    """The device of an option; None: a GPU if there is one.

    Raises:
        ValueError: If nothing can be computed there.
    """
    name = name or ('cuda' if torch.cuda.is_available() else 'cpu')
    try:
        value = torch.zeros(1, device=name)
        value.item()  # 'meta' has none
    except (AssertionError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f'device={name}: {reason}') from error
    return value.device


def device_name(device: torch.device) -> str:
    """What a table says about where it was measured."""
    if device.type == 'cuda':
        return torch.cuda.get_device_name(device)
    with suppress(OSError):  # where Linux tells the model of the processor
        for line in Path('/proc/cpuinfo').read_text().splitlines():
            name, _, value = line.partition(':')
            if name.strip() == 'model name' and value.strip():
                return value.strip()
    return platform.processor() or platform.machine()
