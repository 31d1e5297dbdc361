"""What shows that an exported network is the subnet, and what it costs."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from copy import deepcopy
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from eavit_mm.analysis.latency import Timed, device_name, measure_in_turn
from eavit_mm.models import ElasticImageClassifier
from eavit_mm.space import Subnet

# Images at once: one alone is the special case of many compilers.
BATCH_SIZES = (1, 7)
# Largest difference, where outputs are not above 1; else a share of them.
TOLERANCES = {torch.float32: 1e-4, torch.float64: 1e-9}
# What a file may have beyond four bytes a parameter.
_SHARE, _OFFSET = 0.02, 64 * 1024


def image_size(model: ElasticImageClassifier) -> tuple[int, int, int]:
    """(channels, height, width) that a classifier is configured for."""
    embed: Any = model.backbone.patch_embed
    height, width = embed.init_input_size
    return embed.projection.in_channels, height, width


def certify(
    model: ElasticImageClassifier,
    subnet: Subnet,
    networks: Mapping[str, Callable[[Tensor], Any]],
    images: Tensor | None = None,
) -> dict[str, float]:
    """Compares networks with the subnet that they were made from.

    On random images, and on given ones, at two batch sizes; in the dtype
    and on the device of the supernet.

    Args:
        model: The supernet, in evaluation mode.
        subnet: A member of its space.
        networks: Name to a function from normalised images to logits.
        images: (N, channels, height, width), normalised.

    Returns:
        Name to the largest absolute difference.

    Raises:
        ValueError: If one of them is another network.
    """
    tolerance = TOLERANCES[model.backbone.pos_embed.dtype]
    largest = dict.fromkeys(networks, 0.0)
    with torch.no_grad(), model.backbone.frozen(subnet):
        for batch in _batches(model, images):
            expected = _flat(model(batch, mode='tensor'))
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


def _batches(
    model: ElasticImageClassifier, images: Tensor | None
) -> Iterator[Tensor]:
    like = model.backbone.pos_embed
    rng = torch.Generator().manual_seed(0)
    for size in BATCH_SIZES:
        random = torch.randn(size, *image_size(model), generator=rng)
        yield random.to(like)
    if images is not None:
        for size in BATCH_SIZES:
            yield from torch.split(images.to(like), size)


def _flat(outputs: Any) -> Tensor:
    """All outputs of a network in one row."""
    if isinstance(outputs, Tensor):
        return outputs.flatten()
    return torch.cat([_flat(output) for output in outputs])


def check_size(path: str | Path, params: int) -> None:
    """Raises if a file of float32 weights holds more than its network.

    Args:
        path: The file.
        params: Parameters of the network.

    Raises:
        ValueError: Names both sizes.
    """
    size = Path(path).stat().st_size
    limit = int(4 * params * (1 + _SHARE)) + _OFFSET
    if size > limit:
        raise ValueError(
            f'{path} has {size:,} bytes; {params:,} parameters must not take '
            f'more than {limit:,}: something else is in it'
        )


def check_params(network: nn.Module, expected: int) -> None:
    """Raises unless a network has as many parameters as the closed form.

    Raises:
        ValueError: Names both numbers.
    """
    params = sum(p.numel() for p in network.parameters())
    if params != expected:
        raise ValueError(
            f'the exported network has {params:,} parameters, the subnet '
            f'{expected:,}'
        )


def latencies(
    model: ElasticImageClassifier,
    subnet: Subnet,
    exported: nn.Module,
    device: torch.device,
    batch_size: int = 1,
    rounds: int = 20,
) -> dict[str, Any]:
    """Milliseconds of a forward, measured in turn.

    Args:
        model: The supernet; it is not changed.
        subnet: A member of its space.
        exported: The subnet as a network of its own.
        device: Where to measure.
        batch_size: Images of one forward.
        rounds: How often each is measured.

    Returns:
        Of the 'largest' subnet, of the 'subnet' sliced, and 'exported', and
        how they were measured.
    """
    supernet: Any = deepcopy(model).to(device)
    network = deepcopy(exported).to(device)
    backbone = supernet.backbone
    images = torch.zeros(batch_size, *image_size(model), device=device)
    elastic = partial(supernet, images, mode='tensor')
    cases: dict[str, Timed] = dict(
        largest=(partial(backbone.use, None), elastic),
        subnet=(partial(backbone.frozen, subnet), elastic),
        exported=(nullcontext, partial(network, images, mode='tensor')),
    )
    times = measure_in_turn(list(cases.values()), device, rounds)
    found: dict[str, Any] = dict(zip(cases, times, strict=True))
    return dict(
        found,
        device=device_name(device),
        dtype='float32',
        batch_size=batch_size,
        threads=torch.get_num_threads(),
        rounds=rounds,
    )
