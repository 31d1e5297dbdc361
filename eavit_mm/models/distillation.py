"""What a subnet learns from a larger network: teachers and losses.

Letters: B batch, N tokens, E open channels of the residual stream.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, ClassVar, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from eavit_mm.models.router import LOSSES as ROUTER_LOSSES
from eavit_mm.options import check_mapping, check_number, check_path
from eavit_mm.registry import TASK_UTILS
from eavit_mm.space import Subnet
from eavit_mm.space.subnet import opened


class Outputs(NamedTuple):
    """What one network shows of itself.

    Attributes:
        logits: (B, classes, ...).
        hidden: Residual stream (B, N, E) in front of each layer, and behind
            the last one.
    """

    logits: Tensor
    hidden: Sequence[Tensor]


@contextmanager
def watch(module: Any) -> Iterator[list[tuple[Any, Tensor]]]:
    """Collects what a module's forward takes first, and what it returns.

    In place of its ``forward``: the heads of segmentation call that of their
    own accord while they compute a loss, past all forward hooks.
    """
    own, forward = vars(module).get('forward'), module.forward
    seen: list[tuple[Any, Tensor]] = []

    def forward_and_collect(first: Any, *args: Any, **kwargs: Any) -> Any:
        output = forward(first, *args, **kwargs)
        seen.append((first, output))
        return output

    module.forward = forward_and_collect
    try:
        yield seen
    finally:
        if own is None:
            del module.forward
        else:  # activation checkpointing has put its own there
            module.forward = own


def distillation_loss(
    student: Tensor, teacher: Tensor, temperature: float = 1.0
) -> Tensor:
    """KL divergence from the teacher's to the student's distribution.

    Args:
        student: Logits (B, classes, ...); one class alone is a sigmoid's.
        teacher: Logits of the same shape; no gradient reaches them.
        temperature: T; the loss is scaled by T^2 (Hinton et al., 2015).

    Returns:
        Mean over everything but the classes.

    Raises:
        ValueError: If the shapes differ.
    """
    _check_shapes('logits', student, teacher)
    if student.shape[1] == 1:
        # Of a sigmoid: the logit of the class that is not there is 0.
        student, teacher = (
            torch.cat((logits, torch.zeros_like(logits)), dim=1)
            for logits in (student, teacher)
        )
    target = F.log_softmax(teacher.detach() / temperature, dim=1)
    output = F.log_softmax(student / temperature, dim=1)
    divergence = F.kl_div(output, target, reduction='none', log_target=True)
    return divergence.sum(dim=1).mean() * temperature**2


def hidden_loss(
    student: Sequence[Tensor],
    teacher: Sequence[Tensor],
    subnet: Subnet,
) -> Tensor:
    """Squared error of hidden states, as DynaBERT's (Hou et al., 2020).

    Over the open channels, of the state in front of every layer that the
    subnet has, the embedding's output among them, and of the last one. A
    layer whose branches are both off has none: behind it the student is
    compared where its next layer begins, as in the release.

    Args:
        student: L + 1 states (B, N, E), see :class:`Outputs`.
        teacher: States (B, N, E or more), likewise; no gradient reaches them.
        subnet: The student.

    Returns:
        Sum over the states of the mean over everything else.

    Raises:
        ValueError: If the shapes differ.
    """
    branches = zip(subnet.num_heads, subnet.feedforward_channels, strict=True)
    kept = [i for i, widths in enumerate(branches) if any(widths)]
    total, E = student[0].new_zeros(()), opened(subnet.embed_dims, subnet.side)
    for i in (*kept, subnet.num_layers):
        target = teacher[i].detach()[..., E]
        # A gated student has the closed channels as well.
        state = student[i][..., E]
        _check_shapes(f'hidden states number {i}', state, target)
        total = total + F.mse_loss(state, target)
    return total


def _check_shapes(what: str, student: Tensor, teacher: Tensor) -> None:
    if student.shape != teacher.shape:
        raise ValueError(
            f'distillation: {what}: shape {tuple(student.shape)} of the '
            f'student, {tuple(teacher.shape)} of the teacher; take a teacher '
            'of the same task and, for hidden states, of the same layers'
        )


class Distillation:
    """A teacher's part in a student's loss.

    Args:
        loss_weight: Weight of the divergence of the logits.
        task_weight: Weight of a student's ordinary losses.
        temperature: Temperature of both distributions.
        hidden_weight: Weight of the error of the hidden states; 0: it is not
            computed.
    """

    def __init__(
        self,
        loss_weight: float = 1.0,
        task_weight: float = 1.0,
        temperature: float = 1.0,
        hidden_weight: float = 0.0,
    ) -> None:
        check_number('loss_weight', loss_weight)
        check_number('task_weight', task_weight)
        check_number('hidden_weight', hidden_weight)
        check_number('temperature', temperature, positive=True)
        self.loss_weight = loss_weight
        self.task_weight = task_weight
        self.temperature = temperature
        self.hidden_weight = hidden_weight

    def __call__(
        self,
        losses: dict[str, Tensor],
        student: Outputs,
        teacher: Outputs,
        subnet: Subnet,
    ) -> dict[str, Tensor]:
        """A student's losses, as the model returns them, with its own added.

        Student and teacher have seen the same images.
        """
        weighted = {
            name: value * self.task_weight
            if 'loss' in name and name not in ROUTER_LOSSES
            else value
            for name, value in losses.items()
        }
        distilled = distillation_loss(
            student.logits, teacher.logits, self.temperature
        )
        weighted['distill_loss'] = self.loss_weight * distilled
        if self.hidden_weight:
            error = hidden_loss(student.hidden, teacher.hidden, subnet)
            weighted['hidden_loss'] = self.hidden_weight * error
        return weighted

    # Whether each network of a step teaches the next one.
    hands_on: ClassVar = False

    def network(self) -> nn.Module | None:
        """The network that teaches; None: the supernet's largest subnet."""
        return None

    def rank(self, model: Any, subnet: Subnet) -> float:
        """The passes of a step come in this order: the largest first."""
        return float(subnet != model.backbone.space.largest)

    def observe(
        self, model: Any, run: Callable[[], Any]
    ) -> tuple[Any, list[Tensor]]:
        """What a model's forward ``run`` returns, and its hidden states.

        States as in :class:`Outputs`; none if no loss needs them.
        """
        # Not every teacher has layers.
        layers = model.backbone.layers if self.hidden_weight else ()
        with ExitStack() as stack:
            seen = [stack.enter_context(watch(layer)) for layer in layers]
            result = run()
        calls = [each[-1] for each in seen]
        behind = [output for _, output in calls[-1:]]
        return result, [state for state, _ in calls] + behind


@TASK_UTILS.register_module()
class InPlaceDistillation(Distillation):
    """Subnets learn from the largest subnet of the same step.

    If the sampler draws the largest first (the sandwich rule), what it showed
    is reused; else it runs once more, without gradients. Arguments are those
    of :class:`Distillation`.

    Example:
        >>> model = dict(sampler=dict(type='eavit_mm.SandwichSampler'),
        ...              distillation=dict(
        ...                  type='eavit_mm.InPlaceDistillation'))
    """


@TASK_UTILS.register_module()
class ProgressiveDistillation(Distillation):
    """Each subnet of a step learns from the next larger one (Scala).

    Progressive knowledge transfer (arXiv 2412.04786). The largest learns from
    the labels alone. As a teacher may be narrower than the largest, hidden
    states are not compared.

    Args:
        loss_weight: See :class:`Distillation`.
        task_weight: Likewise. Scala's noise calibration is 1; 0 is without.
        temperature: Likewise.

    Example:
        >>> model = dict(sampler=dict(type='eavit_mm.StableSampler'),
        ...              distillation=dict(
        ...                  type='eavit_mm.ProgressiveDistillation'))
    """

    hands_on: ClassVar = True

    def __init__(
        self,
        loss_weight: float = 1.0,
        task_weight: float = 1.0,
        temperature: float = 1.0,
    ) -> None:
        super().__init__(loss_weight, task_weight, temperature)

    def rank(self, model: Any, subnet: Subnet) -> float:
        """The passes of a step come in this order: the dearest first."""
        return -float(model.backbone.macs(subnet))


@TASK_UTILS.register_module()
class FrozenDistillation(Distillation):
    """All subnets, the largest too, learn from a network that stays as it is.

    Needs :class:`eavit_mm.engine.hooks.TeacherHook`, which the supernets'
    runtime has.

    Args:
        checkpoint: File of the teacher; None: a copy of this run's network as
            training begins (DynaBERT: the network that was fine-tuned).
        model: Config of another classifier than the student's own. It sees
            images normalised as the student's. Without ``checkpoint`` it
            must have an ``init_cfg`` that loads the whole of it.
        **kwargs: Those of :class:`Distillation`.

    Raises:
        ValueError: If the teacher's weights would be random.

    Example:
        >>> distillation = dict(type='eavit_mm.FrozenDistillation',
        ...                     hidden_weight=0.1, task_weight=0.0)
    """

    def __init__(
        self,
        checkpoint: str | None = None,
        model: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        check_path('checkpoint', checkpoint)
        if model is not None:
            check_mapping('model', model, 'another classifier')
            _check_weights(checkpoint, model)
        self.checkpoint = checkpoint
        self.model = model
        self.teacher: nn.Module | None = None

    def network(self) -> nn.Module:
        """The teacher, if somebody has made it."""
        if self.teacher is None:
            raise ValueError(
                'FrozenDistillation has no teacher: '
                "default_hooks.teacher=dict(type='eavit_mm.TeacherHook') "
                'makes it when training starts'
            )
        return self.teacher


def _check_weights(checkpoint: str | None, model: Mapping[str, Any]) -> None:
    """Refuses a network that would teach what it drew at random."""
    init = model.get('init_cfg') or {}
    loads = isinstance(init, Mapping) and init.get('type') == 'Pretrained'
    if checkpoint is None and not loads and not model.get('pretrained'):
        raise ValueError(
            f'distillation: checkpoint=None, model.init_cfg={init!r}: this '
            'teacher would have random weights; give checkpoint=FILE, or '
            "model.init_cfg=dict(type='Pretrained', checkpoint=FILE)"
        )
