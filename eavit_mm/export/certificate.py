"""What shows that an exported network is the subnet, and what it costs."""

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from copy import deepcopy
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from eavit_mm.analysis.latency import (
    Timed,
    device_name,
    image_size,
    measure_in_turn,
)
from eavit_mm.models import ElasticModelMixin
from eavit_mm.space import Subnet

# Images at once: one alone is the special case of many compilers.
BATCH_SIZES = (1, 7)
# Largest difference, where outputs are not above 1; else a share of them.
TOLERANCES = {torch.float32: 1e-4, torch.float64: 1e-9}
# What a file may have beyond four bytes a parameter.
_SHARE, _OFFSET = 0.02, 64 * 1024


def certify(
    model: ElasticModelMixin,
    subnet: Subnet,
    networks: Mapping[str, Callable[[Tensor], Any]],
    images: Tensor | None = None,
) -> dict[str, float]:
    """Compares networks with the subnet that they were made from.

    On random images, and on given ones, all normalised, at two batch sizes;
    in the dtype and on the device of the supernet, which is in evaluation
    mode.

    Returns:
        Name of a network to its largest absolute difference.

    Raises:
        ValueError: If one of them is another network.
    """
    tolerance = TOLERANCES[model.backbone.pos_embed.dtype]
    largest = dict.fromkeys(networks, 0.0)
    with torch.no_grad(), model.backbone.frozen(subnet):
        for batch in _batches(model, images):
            expected = _flat(model(batch))
            limit = tolerance * max(1.0, expected.abs().max().item())
            for name, network in networks.items():
                difference = (_flat(network(batch)) - expected).abs().max()
                # A NaN is no difference that is small enough.
                if not difference <= limit:
                    raise ValueError(
                        f'{name} is not the subnet: its outputs differ by '
                        f'{difference:.3g}, at most {limit:.3g} is rounding '
                        f'(batch size {len(batch)}, {batch.dtype})'
                    )
                largest[name] = max(largest[name], difference.item())
    return largest


def _batches(model: ElasticModelMixin, images: Tensor | None) -> list[Tensor]:
    rng = torch.Generator().manual_seed(0)
    size = image_size(model)
    batches = [torch.randn(n, *size, generator=rng) for n in BATCH_SIZES]
    if images is not None:
        batches += [b for n in BATCH_SIZES for b in torch.split(images, n)]
    return [batch.to(model.backbone.pos_embed) for batch in batches]


def _flat(outputs: Any) -> Tensor:
    """All outputs of a network in one row."""
    if isinstance(outputs, Tensor):
        return outputs.flatten()
    return torch.cat([_flat(output) for output in outputs])


def check_size(path: Path, network: nn.Module, expected: int) -> None:
    """Raises unless a network and its file of float32 weights fit a subnet.

    Args:
        path: The file.
        network: What was read from it.
        expected: The parameters of the subnet, by the closed form.
    """
    params = sum(p.numel() for p in network.parameters())
    if params != expected:
        raise ValueError(
            f'the exported network has {params:,} parameters, the subnet '
            f'{expected:,}'
        )
    size = path.stat().st_size
    limit = int(4 * params * (1 + _SHARE)) + _OFFSET
    if size > limit:
        raise ValueError(
            f'{path} has {size:,} bytes; {params:,} parameters must not take '
            f'more than {limit:,}: something else is in it'
        )


def latencies(
    model: ElasticModelMixin,
    subnet: Subnet,
    exported: nn.Module,
    device: torch.device,
    batch_size: int = 1,
    rounds: int = 20,
    graphs: Mapping[str, Callable[[Tensor], Any]] | None = None,
) -> dict[str, Any]:
    """Milliseconds of a forward, measured in turn; no model is changed.

    Returns:
        'largest', 'subnet' (sliced) and 'exported', in milliseconds, on a CPU
        those of ``graphs``, which run there, and how they were measured.
    """
    supernet: Any = deepcopy(model).to(device)
    network = deepcopy(exported).to(device)
    backbone = supernet.backbone
    images = torch.zeros(batch_size, *image_size(model), device=device)
    elastic = partial(supernet, images)
    cases: dict[str, Timed] = dict(
        largest=(partial(backbone.use, None), elastic),
        subnet=(partial(backbone.frozen, subnet), elastic),
        exported=(nullcontext, partial(network, images)),
    )
    if device.type == 'cpu':
        for name, run in (graphs or {}).items():
            cases[name] = nullcontext, partial(run, images)
    times = measure_in_turn(list(cases.values()), device, rounds)
    return dict(
        zip(cases, times, strict=True),
        device=device_name(device),
        dtype='float32',
        batch_size=batch_size,
        threads=torch.get_num_threads(),
        rounds=rounds,
    )
