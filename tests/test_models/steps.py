"""Steps of a supernet: what they draw, and slow, obvious twins of them."""

from typing import Any

import torch
from mmengine.optim import OptimWrapper

from eavit_mm.space import Subnet, SubnetSampler

SANDWICH = dict(type='eavit_mm.SandwichSampler', num_others=2)
UNIFORM = dict(type='eavit_mm.UniformSampler', num=3)
DISTIL = dict(type='eavit_mm.InPlaceDistillation')


class ListSampler(SubnetSampler):
    """These subnets, in every step."""

    def __init__(self, subnets: list[Subnet]) -> None:
        self.subnets = subnets

    def draw(self, level: Any, cost: Any, rng: Any) -> list[Subnet]:
        return list(self.subnets)


def with_subnets(model: Any, *subnets: Subnet) -> Any:
    model.sampler = ListSampler(list(subnets))
    return model


def labels_of(data: dict[str, Any]) -> torch.Tensor:
    return torch.cat([sample.gt_label for sample in data['data_samples']])


def plain_logits(model: Any, x: torch.Tensor, subnet: Subnet) -> torch.Tensor:
    with model.backbone.use(subnet):
        return model.head((model.backbone(x)[-1],))


def gradients(model: Any) -> dict[str, torch.Tensor]:
    return {
        n: torch.zeros_like(p) if p.grad is None else p.grad.clone()
        for n, p in model.named_parameters()
    }


def assert_gradients(
    actual: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]
) -> None:
    for name, gradient in expected.items():
        torch.testing.assert_close(
            actual[name],
            gradient,
            rtol=1e-9,
            atol=1e-9,
            msg=lambda m, n=name: n + m,
        )


class GradientRecorder(OptimWrapper):
    """Remembers the gradients of each step instead of taking it."""

    def __init__(self, model: Any, **kwargs: Any) -> None:
        super().__init__(torch.optim.SGD(model.parameters(), 0.1), **kwargs)
        self.model = model
        self.steps: list[dict[str, torch.Tensor]] = []

    def step(self, **kwargs: Any) -> None:
        self.steps.append(gradients(self.model))
