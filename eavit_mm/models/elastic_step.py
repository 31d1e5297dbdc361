"""One training step of a supernet."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial
from math import isfinite
from typing import Any, NamedTuple

import torch
from mmengine.optim import OptimWrapper
from torch import Tensor
from torch.utils._pytree import tree_map_only

from eavit_mm.models.distillation import Outputs, watch
from eavit_mm.models.router import Route
from eavit_mm.space import Subnet


class Pass(NamedTuple):
    """What one forward and backward of a step trains.

    Attributes:
        subnet: The network.
        route: The router's choice that it comes from, if there is a router.
    """

    subnet: Subnet
    route: Route | None = None


def elastic_step(
    model: Any, forward: Any, data: Any, optim_wrapper: OptimWrapper
) -> dict[str, Tensor]:
    """One training step of a supernet: K subnets, one optimizer step.

    Gradients of the K passes add up. They count as one data batch for
    gradient accumulation, and under a distributed wrapper only the last one
    synchronises.

    Args:
        model: The elastic model.
        forward: The module that runs its forward: the model itself or the
            distributed wrapper around it.
        data: A batch of the data loader.
        optim_wrapper: The wrapper of the optimizer of the parameters.

    Returns:
        Values to log, on the host: the losses summed over the passes, and the
        mean share of the MACs that was trained.

    Raises:
        FloatingPointError: If a loss is not finite; names the subnet. No
            weight has been changed by this step then.
    """
    data = model.data_preprocessor(data, True)
    passes = model.draw_passes(optim_wrapper.inner_count)
    if model.distillation is not None:
        # The largest first: the others may learn from it.
        rank = partial(model.distillation.rank, model)
        passes = sorted(passes, key=lambda each: rank(each.subnet))
    teacher = _teacher_outputs(model, data, passes[0], optim_wrapper)
    subnets = [each.subnet for each in passes]
    logs: list[dict[str, Tensor]] = []
    for number, each in enumerate(passes):
        is_last = number == len(passes) - 1
        # Backward too: recomputed activations need the same subnet.
        with _active(model, each):
            with _pass_context(model, forward, optim_wrapper, is_last):
                losses, shown = _run(model, forward, data, each)
                if teacher is not None:
                    losses = model.distillation(
                        losses, shown, teacher, each.subnet
                    )
                if shown is not None and (
                    teacher is None or model.distillation.hands_on
                ):
                    teacher = tree_map_only(Tensor, Tensor.detach, shown)
            loss, log = model.parse_losses(losses)
            # parse_losses lets a head's own 'loss' hide the total.
            logs.append({**log, 'loss': loss})
            if is_last:
                logs = _read(logs, subnets, optim_wrapper)
            optim_wrapper.backward(optim_wrapper.scale_loss(loss))
        if not is_last:
            # backward counts itself as a batch; K passes are one batch.
            optim_wrapper._inner_count -= 1
    if optim_wrapper.should_update():
        optim_wrapper.step()
        optim_wrapper.zero_grad()
    return _merge_logs(model, logs, subnets)


def _active(model: Any, each: Pass) -> AbstractContextManager[None]:
    """In which the backbone is the network of a pass."""
    if each.route is not None and each.route.gates is not None:
        return model.backbone.gated(each.route.gates)
    return model.backbone.use(each.subnet)


@contextmanager
def _pass_context(
    model: Any, forward: Any, optim_wrapper: OptimWrapper, is_last: bool
) -> Iterator[None]:
    """AMP, and gradient synchronisation at most in the last pass."""
    with ExitStack() as stack:
        if not is_last and hasattr(forward, 'no_sync'):
            stack.enter_context(forward.no_sync())
        if not is_last and model.same_dropout:
            # The next pass begins with the numbers that this one had.
            is_gpu = torch.cuda.is_available()
            own = [torch.cuda.current_device()] if is_gpu else []
            stack.enter_context(torch.random.fork_rng(own))
        stack.enter_context(optim_wrapper.optim_context(forward))
        yield


def _run(
    model: Any, forward: Any, data: Any, each: Pass
) -> tuple[dict[str, Tensor], Outputs | None]:
    """The losses of a pass, and with distillation what the network showed."""
    if each.route is not None:
        # The forward adds the route's losses: a distributed wrapper must find
        # in its outputs whatever gets a gradient.
        data = dict(data, route=each.route)
    run = partial(forward._run_forward, data, mode='loss')
    if model.distillation is None:
        return run(), None
    with watch(model.logits_module) as logits:
        losses, hidden = model.distillation.observe(model, run)
    return losses, Outputs(logits[-1][1], hidden)


def _teacher_outputs(
    model: Any, data: Any, first: Pass, optim_wrapper: OptimWrapper
) -> Outputs | None:
    """What the teacher shows, unless the first pass is the teacher."""
    distillation = model.distillation
    if distillation is None:
        return None
    teacher = distillation.network()
    if teacher is None and first.subnet == model.backbone.space.largest:
        return None
    teacher = teacher or model
    run = partial(teacher._run_forward, data, mode='tensor')
    with (
        torch.no_grad(),
        optim_wrapper.optim_context(model),
        model.backbone.use(None),
    ):
        return Outputs(*distillation.observe(teacher, run))


def _read(
    logs: list[dict[str, Tensor]],
    subnets: list[Subnet],
    optim_wrapper: OptimWrapper,
) -> list[dict[str, Tensor]]:
    """The values of all passes on the host; raises unless they are finite.

    The one wait of a step. A device then works on the last backward while the
    host goes on to the optimizer and the next step.
    """
    values = [value.detach() for log in logs for value in log.values()]
    found = iter(torch.stack(values).cpu())
    logs = [{name: next(found) for name in log} for log in logs]
    for log, subnet in zip(logs, subnets, strict=True):
        loss = float(log['loss'])
        if not isfinite(loss):
            optim_wrapper.zero_grad()
            raise FloatingPointError(
                f'the loss is {loss} for {subnet}; training '
                'stops before the weights change. Lower the learning rate, '
                'clip gradients, or resume from the last checkpoint.'
            )
    return logs


def _merge_logs(
    model: Any, logs: list[dict[str, Tensor]], subnets: list[Subnet]
) -> dict[str, Tensor]:
    """Sums losses over the passes, averages what else is logged."""
    merged: dict[str, Tensor] = {}
    for name in dict.fromkeys(key for log in logs for key in log):
        values = [log[name] for log in logs if name in log]
        total = torch.stack(values).sum()
        merged[name] = total if 'loss' in name else total / len(values)
    macs = model.backbone.macs
    share = sum(map(macs, subnets)) / len(subnets) / macs()
    merged['macs_ratio'] = torch.tensor(share)
    return merged
