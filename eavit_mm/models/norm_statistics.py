"""Statistics of BatchNorms for one subnet.

Training mixes those of all subnets, which have features of other means and
deviations (Yu and Huang, 2019, re-estimate them too).
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from eavit_mm.space import Subnet
from eavit_mm.space.subnet import PREFIX, opened

_MOMENTS = ('running_mean', 'running_var')


@contextmanager
def norm_statistics_of(
    model: Any,
    subnet: Subnet | None,
    batches: Iterable[Any],
    kept: dict[Any, Any] | None = None,
) -> Iterator[None]:
    """Gives BatchNorms a subnet's own statistics inside a ``with`` block.

    To evaluate or export the subnet there; outside of it the supernet is as
    it was. Without a BatchNorm that keeps statistics no batch is read. Those
    of auxiliary heads, which run in training alone, stay as they are.

    Args:
        model: The elastic model.
        subnet: A member of the space; None for the largest.
        batches: Of the training data, as its loader gives them. Each counts
            as much as the others: mean and variance are averaged.
        kept: Those found before, while weights (but for changes in place of
            their ``.data``) and ``model.norm_batches`` stay; gets new ones.

    Raises:
        ValueError: If there is a BatchNorm, and no batch.

    Example:
        >>> with norm_statistics_of(model, subnet, islice(loader, 20)):
        ...     dense = dense_network(model, cfg.model, subnet)
    """
    norms = [
        module
        for name, module in model.named_modules()
        if isinstance(module, nn.modules.batchnorm._BatchNorm)
        and module.track_running_stats
        and not name.startswith('auxiliary_head')
    ]
    before = {norm: dict(norm._buffers) for norm in norms}
    try:
        if norms:
            known = {} if kept is None else _of_now(kept, model)
            if subnet not in known:
                _estimate(model, subnet, batches, before)
                known[subnet] = [dict(norm._buffers) for norm in norms]
            for norm, buffers in zip(norms, known[subnet], strict=True):
                norm._buffers.update(buffers)
        yield
    finally:
        for norm, buffers in before.items():
            norm._buffers.update(buffers)


def _of_now(kept: dict[Any, Any], model: Any) -> dict[Any, Any]:
    """What is kept of these weights and batches; all else is dropped."""
    weights = [*model.parameters()]
    if any(p.is_inference() for p in weights):  # these count no changes
        return {}
    now: list[Any] = [id(model.norm_batches)]
    now += [
        (id(p), p.data_ptr(), p.dtype, p.device, p._version) for p in weights
    ]
    if kept.get('now') != now:
        kept.clear()
        # Held, lest what comes later lies where these have lain.
        held = model.norm_batches, weights, [p.detach() for p in weights]
        kept.update(now=now, held=held, subnets={})
    subnets: dict[Any, Any] = kept['subnets']
    return subnets


@torch.no_grad()
def _estimate(
    model: Any,
    subnet: Subnet | None,
    batches: Iterable[Any],
    before: dict[Any, dict[str, Any]],
) -> None:
    """Runs the batches, and averages what each norm was given.

    Meanwhile a norm has no buffers and takes the statistics of the batch: in
    training mode one of type SyncBN would wait for other processes.
    """
    modes = {module: module.training for module in model.modules()}
    found: dict[nn.Module, list[tuple[Tensor, Tensor]]] = {}

    def note(norm: nn.Module, args: tuple[Tensor, ...]) -> None:
        x = args[0].transpose(0, 1).flatten(1)  # (B, E, ...) -> (E, -1)
        found.setdefault(norm, []).append((x.mean(1), x.var(1)))

    hooks = [norm.register_forward_pre_hook(note) for norm in before]
    model.eval()
    for norm, own in before.items():
        norm._buffers.update(dict.fromkeys(own))
    try:
        batch = None
        with model.backbone.use(subnet):
            for batch in batches:
                data = model.calibration_data(batch)
                model._run_forward(data, mode='tensor')
        if batch is None:
            raise ValueError(
                'statistics of a BatchNorm need at least one batch of data: '
                'train_dataloader of the config; GN and LN need none'
            )
    finally:
        for hook in hooks:
            hook.remove()
        for module, mode in modes.items():
            module.training = mode
    for norm, own in before.items():
        norm._buffers.update(own)
        moments = zip(*found.get(norm, ()), strict=True)
        for name, values in zip(_MOMENTS, moments, strict=False):
            mean = torch.stack(values).mean(0)
            with torch.inference_mode(False):  # may be used outside of it
                norm._buffers[name] = buffer = own[name].clone()
            side = subnet.side if subnet else PREFIX
            buffer[opened(len(mean), side)] = mean
