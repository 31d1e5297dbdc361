"""What a subnet learns from a larger one."""

import torch.nn.functional as F
from torch import Tensor

from eavit_mm.options import check_number
from eavit_mm.registry import TASK_UTILS


def distillation_loss(
    student: Tensor, teacher: Tensor, temperature: float = 1.0
) -> Tensor:
    """KL divergence from the teacher's to the student's distribution.

    Args:
        student: Logits (B, classes, ...).
        teacher: Logits of the same shape; no gradient reaches them.
        temperature: T; the loss is scaled by T^2 (Hinton et al., 2015).

    Returns:
        Mean over everything but the classes.
    """
    target = F.log_softmax(teacher.detach() / temperature, dim=1)
    output = F.log_softmax(student / temperature, dim=1)
    divergence = F.kl_div(output, target, reduction='none', log_target=True)
    return divergence.sum(dim=1).mean() * temperature**2


@TASK_UTILS.register_module()
class InPlaceDistillation:
    """Subnets learn the logits of the largest subnet of the same step.

    If the sampler draws the largest first (the sandwich rule), its logits
    are reused; else it runs once more, without gradients.

    Args:
        loss_weight: Of the distillation loss.
        task_weight: Of a student's ordinary losses.
        temperature: Of both distributions.

    Example:
        >>> model = dict(sampler=dict(type='eavit_mm.SandwichSampler'),
        ...              distillation=dict(
        ...                  type='eavit_mm.InPlaceDistillation'))
    """

    def __init__(
        self,
        loss_weight: float = 1.0,
        task_weight: float = 1.0,
        temperature: float = 1.0,
    ) -> None:
        check_number('loss_weight', loss_weight)
        check_number('task_weight', task_weight)
        check_number('temperature', temperature, positive=True)
        self.loss_weight = loss_weight
        self.task_weight = task_weight
        self.temperature = temperature

    def __call__(
        self, losses: dict[str, Tensor], student: Tensor, teacher: Tensor
    ) -> dict[str, Tensor]:
        """A student's losses with the distillation added.

        Args:
            losses: Of the student, as the model returns them.
            student: Its logits.
            teacher: The largest subnet's logits for the same images.
        """
        weighted = {
            name: value * self.task_weight if 'loss' in name else value
            for name, value in losses.items()
        }
        distilled = distillation_loss(student, teacher, self.temperature)
        return {**weighted, 'distill_loss': self.loss_weight * distilled}
