"""One training step of a supernet."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any, NamedTuple

import torch
from mmengine.optim import OptimWrapper
from torch import Tensor

from eavit_mm.models.distillation import Outputs
from eavit_mm.models.router import Route
from eavit_mm.space import Subnet


class Pass(NamedTuple):
    """What one forward and backward of a step trains.

    Attributes:
        subnet: The network.
        route: The router's choice that it comes from, if there is a router.
        is_gated: Gradients reach the router through the gated network; else
            the network is sliced.
    """

    subnet: Subnet
    route: Route | None = None
    is_gated: bool = False


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
        optim_wrapper: Of the model's parameters.

    Returns:
        Values to log: the losses summed over the passes, and the mean share
        of the MACs that was trained.

    Raises:
        FloatingPointError: If a loss is not finite; names the subnet. No
            weight has been changed by this step then.
    """
    iteration = optim_wrapper.inner_count
    data = model.data_preprocessor(data, True)
    passes = _ordered(model, model.draw_passes(iteration))
    subnets = [each.subnet for each in passes]
    teacher = _teacher_outputs(model, data, subnets, optim_wrapper)
    logs: list[dict[str, Tensor]] = []
    for number, each in enumerate(passes):
        is_last = number == len(passes) - 1
        # Backward too: recomputed activations need the same subnet.
        with _active(model, each):
            with (
                _pass_context(forward, optim_wrapper, is_last),
                _observed(model) as outputs,
            ):
                losses = forward._run_forward(
                    _with_route(data, each), mode='loss'
                )
                if teacher is not None:
                    losses = model.distillation(
                        losses, outputs(), teacher, each.subnet
                    )
                elif model.distillation:
                    teacher = outputs().detach()
            loss, log = model.parse_losses(losses)
            # parse_losses lets a head's own 'loss' hide the total.
            logs.append({**log, 'loss': loss})
            optim_wrapper.backward(optim_wrapper.scale_loss(loss))
        if not is_last:
            # backward counts itself as a batch; K passes are one batch.
            optim_wrapper._inner_count -= 1
    _check_finite(model, logs, subnets, optim_wrapper)
    if optim_wrapper.should_update():
        optim_wrapper.step()
        optim_wrapper.zero_grad()
    return _merged_logs(model, logs, subnets)


def _active(model: Any, each: Pass) -> AbstractContextManager[None]:
    """In which the backbone is the network of a pass."""
    if each.is_gated:
        assert each.route is not None
        return model.backbone.gated(each.route.gates)
    return model.backbone.use(each.subnet)


def _with_route(data: Any, each: Pass) -> Any:
    """A batch for the model's forward, which adds the route's losses.

    A distributed wrapper must find in its outputs whatever gets a gradient.
    """
    return data if each.route is None else dict(data, route=each.route)


def _ordered(model: Any, passes: list[Pass]) -> list[Pass]:
    """With distillation, the largest first: the others may learn from it."""
    if model.distillation is None:
        return passes
    largest = model.backbone.space.largest
    return sorted(passes, key=lambda each: each.subnet != largest)


@contextmanager
def _pass_context(
    forward: Any, optim_wrapper: OptimWrapper, is_last: bool
) -> Iterator[None]:
    """AMP, and gradient synchronisation at most in the last pass."""
    with ExitStack() as stack:
        if not is_last and hasattr(forward, 'no_sync'):
            stack.enter_context(forward.no_sync())
        stack.enter_context(optim_wrapper.optim_context(forward))
        yield


def _teacher_outputs(
    model: Any,
    data: Any,
    subnets: list[Subnet],
    optim_wrapper: OptimWrapper,
) -> Outputs | None:
    """What the teacher shows, unless the first pass is the teacher."""
    distillation = model.distillation
    if distillation is None:
        return None
    teacher = distillation.network()
    if teacher is None and subnets[0] == model.backbone.space.largest:
        return None
    teacher = teacher or model
    with (
        torch.no_grad(),
        optim_wrapper.optim_context(model),
        model.backbone.use(None),
        distillation.observed(teacher) as hidden,
    ):
        return Outputs(teacher._run_forward(data, mode='tensor'), hidden)


@contextmanager
def _observed(model: Any) -> Iterator[Callable[[], Outputs]]:
    """Gives what the model showed while it computed its loss."""
    logits: list[Tensor] = []
    if model.distillation is None:
        yield lambda: Outputs(logits[-1], {})
        return
    handle = model.logits_module.register_forward_hook(
        lambda module, inputs, output: logits.append(output)
    )
    try:
        with model.distillation.observed(model) as hidden:
            yield lambda: Outputs(logits[-1], hidden)
    finally:
        handle.remove()


def _check_finite(
    model: Any,
    logs: list[dict[str, Tensor]],
    subnets: list[Subnet],
    optim_wrapper: OptimWrapper,
) -> None:
    finite = torch.stack([log['loss'].detach() for log in logs]).isfinite()
    for ok, log, subnet in zip(finite.tolist(), logs, subnets, strict=True):
        if not ok:
            optim_wrapper.zero_grad()
            raise FloatingPointError(
                f'the loss is {log["loss"].item()} for {subnet}; training '
                'stops before the weights change. Lower the learning rate, '
                'clip gradients, or resume from the last checkpoint.'
            )


def _merged_logs(
    model: Any, logs: list[dict[str, Tensor]], subnets: list[Subnet]
) -> dict[str, Tensor]:
    """Sums losses over the passes, averages what else is logged."""
    merged: dict[str, Tensor] = {}
    for name in dict.fromkeys(key for log in logs for key in log):
        values = [log[name].detach() for log in logs if name in log]
        total = torch.stack(values).sum()
        merged[name] = total if 'loss' in name else total / len(values)
    macs = model.backbone.macs
    share = sum(map(macs, subnets)) / len(subnets) / macs()
    merged['macs_ratio'] = torch.tensor(share)
    return merged
