"""Gradients that wait for the rest of their batches, in a checkpoint.

Between two accumulated batches every rank holds gradients of its own; without
them a resumed run would not be the one that was interrupted.
"""

from typing import Any

import torch
from mmengine.dist import gather_object, get_rank, get_world_size
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner

# Key of a checkpoint.
GRADIENTS = 'eavit_mm_gradients'


def gather_pending(runner: Runner) -> list[dict[str, Any]]:
    """What waits, one dict of plain values per rank; empty if nothing does.

    Called on all ranks; only rank 0 gets the others'.
    """
    if runner.optim_wrapper.should_update():
        return []
    gradients = {
        name: p.grad.cpu().clone()
        for name, p in runner.model.named_parameters()
        if p.grad is not None
    }
    return gather_object(dict(gradients=gradients)) or []


def restore_pending(runner: Runner, saved: list[dict[str, Any]]) -> None:
    """Gives a resumed model its gradients back.

    Args:
        runner: After the checkpoint was loaded.
        saved: From :func:`gather_pending`.

    Raises:
        ValueError: If another number of processes wrote them.
    """
    if len(saved) != get_world_size():
        raise ValueError(
            f'the checkpoint holds unfinished gradients of {len(saved)} '
            f'processes, this run has {get_world_size()}; resume with as '
            'many, or from a checkpoint at a multiple of accumulative_counts'
        )
    own = saved[get_rank()]
    for name, p in runner.model.named_parameters():
        if name in own['gradients']:
            p.grad = own['gradients'][name].to(p)
    if is_model_wrapper(runner.model):
        _mark_used(runner.model)


def _mark_used(wrapper: Any) -> None:
    """Tells DDP which parameters have waiting gradients.

    It notes that in backward passes, and does not average what no rank used.
    """
    waiting = [p for p in wrapper.parameters() if p.grad is not None]
    if waiting:
        with wrapper.no_sync():
            torch.autograd.backward([(p * 0).sum() for p in waiting])
