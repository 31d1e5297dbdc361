"""Test of a network that routes images, beside one subnet for all."""

from collections.abc import Sequence
from typing import Any

import torch
from mmengine.dist import all_reduce
from mmengine.runner import TestLoop
from torch import nn

from eavit_mm.analysis.curve import area_under_curve
from eavit_mm.engine.unwrap import elastic_model
from eavit_mm.models import AdaptiveClassifier, BudgetSolver
from eavit_mm.registry import LOOPS
from eavit_mm.space import Budget


@LOOPS.register_module()
class AdaptiveTestLoop(TestLoop):
    """Evaluates budgets as means over images, and at that mean one subnet.

    Args:
        *args: Those of the mmengine loop.
        budgets: Shares of the MACs, or such as '8GMACs'.
        metric: That is compared; None for the first of the evaluator.
        metric_scale: Brings it to 0..1 for the AUC.
        **kwargs: Those of the mmengine loop.

    Raises:
        ValueError: If the model is not elastic, or there is no budget.

    Example:
        >>> test_cfg = dict(type='eavit_mm.AdaptiveTestLoop',
        ...                 budgets=[0.1, 0.2, 0.4])
    """

    def __init__(
        self,
        *args: Any,
        budgets: Sequence[str | float] = (),
        metric: str | None = None,
        metric_scale: float = 0.01,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.model: Any = elastic_model(self.runner.model, type(self).__name__)
        if not budgets:
            raise ValueError('budgets=[]; an adaptive test needs at least one')
        self.budgets = [Budget.parse(text) for text in budgets]
        self.metric = metric
        self.metric_scale = metric_scale
        self.rows: list[dict[str, Any]] = []

    def run(self) -> dict[str, float]:
        """Evaluates every budget.

        Returns:
            ``budget/metric``, and over the mean MACs ``auc`` and that of one
            subnet for all images, ``static_auc``.
        """
        runner = self.runner
        runner.call_hook('before_test')
        runner.call_hook('before_test_epoch')
        runner.model.eval()
        self.rows = [self._row(budget) for budget in self.budgets]
        metrics = {
            f'{row["name"]}/{name}': value
            for row in self.rows
            for name, value in row['metrics'].items()
        }
        shares = [row['macs_ratio'] for row in self.rows]
        for name, key in (('auc', 'metrics'), ('static_auc', 'static')):
            values = [row[key][self.metric] for row in self.rows]
            scaled = [value * self.metric_scale for value in values]
            metrics[name] = area_under_curve(shares, scaled)
        runner.call_hook('after_test_epoch', metrics=metrics)
        runner.call_hook('after_test')
        return metrics

    def _row(self, budget: Budget) -> dict[str, Any]:
        """A budget as a mean, and the best subnet within what it took."""
        model = self.model
        adaptive = AdaptiveClassifier(model, budget.text)
        found, macs = self._evaluate(adaptive)
        self.metric = self.metric or next(iter(found))
        within = Budget('macs', macs, f'{macs:.0f}')
        subnet = BudgetSolver(model)([within], 'best')
        with model.backbone.frozen(subnet):
            static, _ = self._evaluate(model)
        largest = model.macs()['total']
        return dict(
            name=budget.text,
            macs=macs,
            macs_ratio=macs / largest,
            expected_ratio=adaptive.expected.share,
            metrics=found,
            static=static,
            static_macs=model.macs(subnet)['total'],
            gain=found[self.metric] - static[self.metric],
        )

    @torch.no_grad()
    def _evaluate(self, network: nn.Module) -> tuple[dict[str, Any], float]:
        """Metrics over the whole data, and the mean MACs that samples tell."""
        total = torch.zeros(2, dtype=torch.float64)
        untyped: Any = network
        for batch in self.dataloader:
            samples = untyped.test_step(batch)
            self.evaluator.process(data_samples=samples, data_batch=batch)
            macs = [sample.get('macs', 0) for sample in samples]
            total += torch.tensor([sum(macs), len(macs)])
        all_reduce(total)
        size = len(self.dataloader.dataset)
        return self.evaluator.evaluate(size), (total[0] / total[1]).item()
