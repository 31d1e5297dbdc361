"""Two subnets in turn: the larger one sees what the smaller is unsure of."""

from collections.abc import Sequence
from contextlib import suppress
from itertools import combinations
from typing import Any

import torch
from mmengine.runner import TestLoop
from torch import Tensor

from eavit_mm.analysis.subnet_table import area_under_curve, format_table
from eavit_mm.engine.calibration import norm_batches
from eavit_mm.engine.fitness import Fitness, is_plain_accuracy
from eavit_mm.engine.unwrap import elastic_model
from eavit_mm.models import BudgetSolver
from eavit_mm.models.budget_solver import UnreachableError
from eavit_mm.registry import LOOPS
from eavit_mm.space import Budget

# Budgets whose answers may be members.
_MEMBERS = (0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.75, 1.0)


def fit_cascade(
    scores: Tensor, labels: Tensor, costs: Sequence[float], limit: float
) -> tuple[int, int, float]:
    """The pair that is most often right, at a mean cost of the limit.

    Args:
        scores: Probabilities of subnets x images x classes.
        labels: Of the images.
        costs: Of the subnets; the first is within the limit.
        limit: The most of it for an image, in the mean.

    Returns:
        Which subnet sees all images, which those that it gives no class a
        threshold's probability, and that. One alone is both; 0 then.
    """
    right = (scores.argmax(-1) == labels).float()
    sure = scores.amax(-1)
    tried = [(i, i, 0.0) for i, cost in enumerate(costs) if cost <= limit]
    for i, j in combinations(range(len(costs)), 2):
        if 0 < (share := (limit - costs[i]) / costs[j]) < 1:
            threshold = sure[i].quantile(share, interpolation='lower')
            tried.append((i, j, float(threshold)))

    def hits(trial: tuple[int, int, float]) -> float:
        i, j, threshold = trial
        merged = torch.where(sure[i] < threshold, right[j], right[i])
        return float(merged.mean())

    return max(tried, key=hits)  # of equals the first: one alone


@LOOPS.register_module()
class CascadeTestLoop(TestLoop):
    """``TestLoop`` over cascades of two subnets, one for each mean budget.

    Every image runs through a first subnet, and through a second one, which
    answers then, if the first gives no class a threshold's probability. Both
    and the threshold are fitted on the validation data, among the answers to
    nine budgets. Each of several processes evaluates all images.

    Args:
        *args: Those of the mmengine loop.
        budgets: Mean MACs of an image, as shares of the largest's; on other
            images than those of the fit they may be missed a little.
        by: Who answers, see :class:`eavit_mm.models.BudgetSolver`.
        **kwargs: Those of the mmengine loop.

    Raises:
        ValueError: If more than a classifier's accuracy is reported, or a
            budget is not a share that a subnet keeps.
    """

    def __init__(
        self,
        *args: Any,
        budgets: Sequence[str | float],
        by: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.model: Any = elastic_model(self.runner.model, 'CascadeTestLoop')
        if not is_plain_accuracy(self.model, self.evaluator):
            raise ValueError(
                'CascadeTestLoop: test_evaluator; must be one Accuracy of a '
                'classifier'
            )
        self.solver, self.by = BudgetSolver(self.model), by
        self.budgets = [Budget.parse(budget) for budget in budgets]
        for budget in self.budgets:
            if budget.kind != 'share':
                raise ValueError(
                    f'CascadeTestLoop: budget {budget.text}; must be a share '
                    'of the MACs, such as 30%'
                )
        self.limits = [self.solver.limits([b])['macs'] for b in self.budgets]
        self.model.norm_batches = norm_batches(self.runner.cfg)
        self.rows: list[dict[str, Any]] = []
        self.metric: str | None = None

    @torch.no_grad()
    def run(self) -> dict[str, float]:
        """Fits the cascades and tests them.

        Returns:
            ``budget/metric`` of every budget and metric, and ``auc``.
        """
        runner, model = self.runner, self.model
        runner.call_hook('before_test')
        runner.call_hook('before_test_epoch')
        runner.model.eval()
        subnets = [self.solver.space.smallest]
        for share in _MEMBERS:
            with suppress(UnreachableError):
                subnets.append(self.solver([Budget.parse(share)], self.by))
        subnets.sort(key=lambda subnet: model.macs(subnet)['total'])
        costs = [model.macs(subnet)['total'] for subnet in subnets]
        loader = runner.build_dataloader(runner.cfg.val_dataloader)
        fit = Fitness(model, loader, self.evaluator, '')
        test = Fitness(model, self.dataloader, self.evaluator, '')
        known, scores = [], []
        for subnet in subnets:
            with model.evaluating(subnet):
                known.append(fit.probabilities())
                scores.append(test.probabilities())
        self.rows, metrics = [], {}
        for budget, limit in zip(self.budgets, self.limits, strict=True):
            i, j, threshold = fit_cascade(
                torch.stack(known), fit.labels, costs, limit
            )
            unsure = scores[i].amax(-1, keepdim=True) < threshold
            merged = torch.where(unsure, scores[j], scores[i])
            found = dict(test.accuracy_of(merged, test.labels))
            pair = [subnets[k] for k in dict.fromkeys((i, j))]
            mean = costs[i] + float(unsure.float().mean()) * costs[j]
            row = dict(
                name=budget.text,
                cascade=[subnet.to_dict() for subnet in pair],
                threshold=threshold,
                macs=mean,
                macs_ratio=mean / costs[-1],
                params=sum(model.params(s)['total'] for s in pair),
                metrics=found,
            )
            self.rows.append(row)
            metrics.update({f'{budget.text}/{k}': v for k, v in found.items()})
        self.metric = next(iter(found))
        metrics['auc'] = area_under_curve(
            (row['macs_ratio'], row['metrics'][self.metric] / 100)
            for row in self.rows
        )
        runner.logger.info(f'Cascades:\n{format_table(self.rows)}')
        runner.call_hook('after_test_epoch', metrics=metrics)
        runner.call_hook('after_test')
        return metrics
