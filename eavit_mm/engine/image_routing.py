"""Fits a network's image router to what its subnets make of images.

Letters: N images, D inputs, K levels.
"""

from collections.abc import Iterable, Sequence
from copy import deepcopy
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from mmengine.runner import Runner
from torch import Tensor

from eavit_mm.engine.answers import averaged, copies_of
from eavit_mm.engine.calibration import (
    calibration_batches,
    preserved_random_state,
)
from eavit_mm.engine.ranked_fitness import told_by_rank_0
from eavit_mm.engine.unwrap import unwrap
from eavit_mm.models import BudgetSolver
from eavit_mm.models.image_router import (
    Held,
    ImageRouter,
    level_costs,
    seen_through,
)
from eavit_mm.space import Budget, Subnet
from eavit_mm.space.budget import limit_of

_BATCH = 256
# Over which the worth of a scout is a mean.
_BUDGETS = 41
# From where the largest level is always worth its cost to where none is.
_PRICES = (0.0, *np.geomspace(1e-4, 1e2, 300).tolist())


class Observed(NamedTuple):
    """Images through every level.

    Attributes:
        inputs: (N, K, D) of the image router, with each level as the scout.
        right: (N, K), probability that a level gives the right class.
        correct: (N, K), whether it gives it the highest score.
    """

    inputs: Tensor
    right: Tensor
    correct: Tensor

    def beginning(self, first: int) -> 'Observed':
        """Without the levels below the one that is the scout."""
        return Observed(*(values[:, first:] for values in self))


def levels_of(model: Any) -> tuple[Subnet, ...]:
    """The best known subnets for budgets at equal ratios, cheapest first."""
    number = model.router.images.num_levels
    solver = BudgetSolver(model)
    lowest = model.backbone.space.cheapest(solver.cost('macs'))
    largest = model.macs()['total']
    shares = np.geomspace(model.macs(lowest)['total'] / largest, 1, number)
    # Rounded up, or the cheapest would be left out.
    limits = [limit_of(s, largest) for s in shares]
    budgets = [Budget('macs', limit, f'{limit}MACs') for limit in limits]
    found = dict.fromkeys(solver([budget], 'best') for budget in budgets)
    return tuple(sorted(found, key=lambda s: model.macs(s)['total']))


@torch.no_grad()
def observe(model: Any, batches: Iterable[Any]) -> Observed:
    """Runs images through every level.

    Args:
        model: An elastic classifier whose router has levels, in eval mode.
        batches: As a data loader gives them.

    Raises:
        ValueError: If the images have no single label each.
    """
    parts = []
    for raw in batches:
        data = model.data_preprocessor(raw, False)
        images = data['inputs']
        labels = _labels(data['data_samples']).to(images.device)
        levels = model.router.images.levels
        seen = [seen_through(model, level, images) for level in levels]
        inputs, scores = (
            torch.stack(part, dim=1) for part in zip(*seen, strict=True)
        )
        index = labels[:, None, None].expand(-1, len(levels), 1)
        right = scores.softmax(dim=2).gather(2, index).squeeze(2)
        correct = scores.argmax(dim=2) == labels[:, None]
        parts.append(Observed(inputs.cpu(), right.cpu(), correct.cpu()))
    return Observed(*map(torch.cat, zip(*parts, strict=True)))


def _labels(samples: Any) -> Tensor:
    labels = [sample.get('gt_label') for sample in samples]
    if any(label is None or len(label) != 1 for label in labels):
        raise ValueError(
            'router.adaptive: the images must have one label each (gt_label)'
        )
    return torch.cat(labels)


def fit(router: ImageRouter, observed: Observed, seed: int) -> None:
    """Trains the MLP to foretell which levels get images right.

    Args:
        router: Whose levels were observed; its MLP is trained from where it
            is, on its device.
        observed: Training images.
        seed: Of the order of images.
    """
    device = next(router.mlp.parameters()).device
    inputs, right = observed.inputs[:, 0].to(device), observed.right.to(device)
    order = torch.Generator().manual_seed(seed)
    router.mlp.requires_grad_(True)
    optimizer = torch.optim.Adam(router.mlp.parameters(), lr=router.lr)
    with torch.enable_grad():
        for _ in range(router.epochs):
            shuffled = torch.randperm(len(inputs), generator=order).to(device)
            for start in range(0, len(inputs), _BATCH):
                index = shuffled[start : start + _BATCH]
                loss = F.binary_cross_entropy_with_logits(
                    router(inputs[index]), right[index]
                )
                optimizer.zero_grad()
                torch.autograd.backward(loss)
                optimizer.step()
    optimizer.zero_grad()
    router.mlp.requires_grad_(False)


@torch.no_grad()
def calibrate(model: Any, observed: Observed) -> tuple[Held, ...]:
    """What each price costs and gives on held-out images, distinct ones.

    Args:
        model: Whose image router was fitted.
        observed: Held-out images.
    """
    router = model.router.images
    device = next(router.mlp.parameters()).device
    inputs = observed.inputs[:, 0].to(device)
    base, extra = level_costs(model)
    costs = torch.tensor(extra)
    found: dict[tuple[float, float], Held] = {}
    for price in _PRICES:
        levels = router.choose(inputs, price, extra).cpu()
        share = base + costs[levels].mean().item()
        correct = observed.correct.gather(1, levels[:, None])
        metric = correct.float().mean().item()
        found.setdefault((share, metric), Held(price, share, metric))
    return tuple(found.values())


def fit_image_router(
    model: Any, train: Iterable[Any], held_out: Iterable[Any], seed: int
) -> None:
    """Chooses the levels and the scout, fits the MLP, and finds the prices.

    Args:
        model: An elastic classifier with a router, in eval mode.
        train: Batches of training images.
        held_out: Batches of images that training did not see.
        seed: Of the fit.
    """
    router = model.router.images
    router.levels = levels = levels_of(model)
    seen, held = observe(model, train), observe(model, held_out)
    start = deepcopy(router.mlp.state_dict())
    found = []
    for first in range(max(1, len(levels) - 1)):
        router.levels = levels[first:]
        router.mlp.load_state_dict(start)
        fit(router, seen.beginning(first), seed)
        router.held_out = calibrate(model, held.beginning(first))
        state = deepcopy(router.state_dict())
        found.append((_worth(router.held_out), -first, state))
    _, _, best = max(found, key=lambda each: each[:2])
    router.load_state_dict(best)


def _worth(held_out: Sequence[Held]) -> float:
    """Mean accuracy over budgets; 0 for those that are out of reach."""
    shares = np.linspace(0, 1, _BUDGETS)
    fits = ([h.metric for h in held_out if h.share <= s] for s in shares)
    return float(np.mean([max(metrics, default=0.0) for metrics in fits]))


def fit_in_run(runner: Runner) -> None:
    """:func:`fit_image_router` at the end of a training, on all ranks.

    With the training data, pipeline and all, and the validation data; with
    the weights as they are, or those of an average that is kept of them.

    Args:
        runner: Whose front and router's answers were evaluated.
    """
    model: Any = unwrap(runner.model)
    loop: Any = runner.val_loop
    held_out = loop.dataloader

    def fitted() -> dict[str, Tensor]:
        loader = runner.train_dataloader
        number = -(-model.router.images.num_images // (loader.batch_size or 1))
        seed = runner.seed or 0
        train = calibration_batches(loader, number, seed)
        every = len(held_out.dataset)
        held = calibration_batches(held_out, every, seed)
        fit_image_router(model, train, held, seed)
        state = model.router.images.state_dict()
        # Copies: the weights go back to the average that they belong to.
        return {name: value.cpu().clone() for name, value in state.items()}

    model.eval()
    with preserved_random_state(), averaged(runner):
        torch.manual_seed(runner.seed or 0)
        state = told_by_rank_0(fitted)
    model.train()
    for each in copies_of(runner):
        each.router.images.load_state_dict(state)
