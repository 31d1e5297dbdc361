"""Validation and test of several subnets, one after the other."""

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

from mmengine.runner import BaseLoop, TestLoop, ValLoop

from eavit_mm.analysis.subnet_table import (
    area_under_curve,
    format_table,
    subnet_row,
)
from eavit_mm.engine.calibration import norm_batches
from eavit_mm.engine.checkpoint import naming
from eavit_mm.engine.fitness import numbers_in, silence
from eavit_mm.engine.run_checks import check_monitors
from eavit_mm.engine.unwrap import elastic_model
from eavit_mm.files import plain
from eavit_mm.models import BudgetSolver
from eavit_mm.models.budget_solver import UnreachableError
from eavit_mm.options import check_mapping, check_number
from eavit_mm.registry import LOOPS
from eavit_mm.space import Budget, Subnet
from eavit_mm.space.budget import SOURCES

# Where metrics and the visualizer keep the place that they write to.
_OUTPUTS = ('out_file_path', 'output_dir', '_img_save_dir')
DEFAULT_SUBNETS = dict(largest=1.0, half=0.5, smallest='smallest')


def answer_to(
    budget: Budget, solver: BudgetSolver, by: str | None
) -> tuple[Subnet, dict[str, Any]]:
    """The subnet for a budget, and what a table says of it beside its row.

    Raises:
        UnreachableError: If nothing fits.
        ValueError: If there is no such source.
    """
    subnet, source = solver.answer([budget], by)
    ((kind, limit),) = solver.limits([budget]).items()
    cost = solver.cost(kind)(subnet)
    part = solver.part_of(kind)
    columns = dict(by=source, part=part, limit=limit, delivered=cost)
    return subnet, dict(budget=budget.text, **columns, used=cost / limit)


class _Metrics(dict[str, Any]):
    """By ``name/metric``; a metric alone is the first subnet's, as it came.

    So mmpretrain's ``confusion_matrix.py`` asks for it.
    """

    def __init__(
        self, metrics: Mapping[str, Any], first: Mapping[str, Any]
    ) -> None:
        super().__init__(metrics)
        self.first = first

    def __missing__(self, name: str) -> Any:
        return self.first[name]


class _SubnetLoopMixin(BaseLoop):
    """Evaluates each subnet over the whole data; stands before the loop.

    Args:
        *args: Those of the mmengine loop.
        subnets: Name to what :meth:`SearchSpace.resolve` understands. Default:
            the largest, half widths, the smallest.
        budgets: Evaluates the network that each budget leads to as well, and
            without ``subnets`` only these: '50%', '8GMACs', '20Mparams'.
            Where there is a front, its best answer is evaluated beside each.
            One that no subnet keeps gets a row that says so.
        by: Who answers budgets, see :class:`eavit_mm.models.BudgetSolver`.
        count: How budgets count MACs, 'exact' or 'paper'.
        part: What budgets limit: 'total', 'backbone', 'head' and the like.
            Default: the part that the router learnt, else 'total'.
        latency_table: File of a table, for budgets such as '5ms'.
        front: A ``pareto.json``, to answer in place of the checkpoint's.
        metric: Whose area under the curve is reported; None for the first
            number that the evaluator gives.
        metric_scale: Brings that metric to 0..1; mmpretrain's and mmseg's
            are per cent.
        **kwargs: Those of the mmengine loop.
    """

    phase: str

    def __init__(
        self,
        *args: Any,
        subnets: Mapping[str, Any] | None = None,
        budgets: Sequence[str | float] = (),
        by: str | None = None,
        count: str = 'exact',
        part: str | None = None,
        latency_table: str | None = None,
        front: str | None = None,
        metric: str | None = None,
        metric_scale: float = 0.01,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        model = elastic_model(self.runner.model, type(self).__name__)
        space = model.backbone.space
        if subnets is None:
            subnets = {} if budgets else DEFAULT_SUBNETS
        check_mapping('subnets', subnets, 'names and subnets')
        if not isinstance(budgets, list | tuple):
            raise ValueError(
                f'budgets={budgets!r}; must be a list of limits, such as '
                "[0.5, '8GMACs']"
            )
        check_number('metric_scale', metric_scale, positive=True)
        self.solver = BudgetSolver(model, count, part, latency_table, front)
        self.subnets: dict[str, Subnet] = {}
        for name, spec in subnets.items():
            with naming(f'subnets: {name}={spec!r:.80}'):
                self.subnets[name] = space.resolve(spec)
        if model.router is None or by not in (None, *SOURCES):
            self.solver.check_source(by)  # else a checkpoint may bring it
        self.by = by
        self.budgets: dict[str, Budget] = {}
        # Rows of budgets that cannot be reached.
        self.unreachable: list[dict[str, Any]] = []
        for text in budgets:
            with naming('budgets'):
                self._add_budget(Budget.parse(text))
        if not self.subnets and not self.budgets:
            if budgets:
                raise ValueError(f'budgets: {self.unreachable[0]["error"]}')
            raise ValueError('subnets={}; needs at least one subnet')
        self.metric = metric
        self.metric_scale = metric_scale
        self.rows: list[dict[str, Any]] = []
        self.outputs: dict[Any, Path] = {}
        model.norm_batches = norm_batches(self.runner.cfg)
        self.first: Mapping[str, Any] = {}

    def _add_budget(self, budget: Budget) -> None:
        taken = budget.text in self.subnets
        name = f'budget {budget.text}' if taken else budget.text
        try:
            self.solver.limits([budget])
            self.budgets[name] = budget
        except UnreachableError as error:
            row = dict(name=name, budget=budget.text, error=str(error))
            self.unreachable.append(row)

    def run(self) -> dict[str, float]:
        """Evaluates every subnet.

        Returns:
            ``name/metric`` for every subnet and metric, and ``auc`` where
            one of them is a number.
        """
        runner, phase = self.runner, self.phase
        model: Any = elastic_model(runner.model, type(self).__name__)
        runner.call_hook(f'before_{phase}')
        runner.call_hook(f'before_{phase}_epoch')
        runner.model.eval()
        # Only now: a loaded checkpoint brings the router that answers.
        answers = {
            name: answer_to(budget, self.solver, self.by)
            for name, budget in self.budgets.items()
        }
        answered = {name: subnet for name, (subnet, _) in answers.items()}
        self.rows, metrics = [], {}
        known: dict[Subnet, dict[str, Any]] = {}
        points = []
        for name, subnet in {**self.subnets, **answered}.items():
            found = self._evaluate(model, subnet, known, name)
            self.metric = metric = self._metric_of(found)
            row = subnet_row(name, model, subnet, found)
            if name in answers:
                row.update(answers[name][1])
                front = self.solver.front
                if front is not None and metric is not None:
                    other = self.solver([self.budgets[name]], 'front')
                    best = self._evaluate(model, other, known, f'{name}_front')
                    sign = -1 if front.rule == 'less' else 1
                    row['regret'] = sign * (best[metric] - found[metric])
            self.rows.append(row)
            metrics.update({f'{name}/{k}': v for k, v in found.items()})
            if metric is not None:
                value = found[metric] * self.metric_scale
                points.append((row['macs_ratio'], value))
        said = [] if points else ['no metric is a number: no AUC']
        if points:
            metrics['auc'] = area_under_curve(points)
        if len(points) > 1:
            said.append(f'AUC {metrics["auc"]:.4f}')
        regrets = [r['regret'] for r in self.rows if 'regret' in r]
        if regrets:
            metrics['regret'] = sum(regrets) / len(regrets)
            mean = f'{metrics["regret"]:.3f}'
            said.append(f'mean regret against the front {mean}')
        table = format_table([*self.rows, *self.unreachable])
        runner.logger.info(f'{", ".join(said)}\n{table}')
        shown = metrics
        if phase == 'val':
            # The log of a training and its checkpoints hold numbers alone.
            shown = {k: v for k, v in metrics.items() if isinstance(v, float)}
            check_monitors(self, shown)
        runner.call_hook(f'after_{phase}_epoch', metrics=shown)
        runner.call_hook(f'after_{phase}')
        return _Metrics(metrics, self.first)

    def _evaluate(
        self,
        model: Any,
        subnet: Subnet,
        known: dict[Subnet, dict[str, Any]],
        name: str,
    ) -> dict[str, Any]:
        """Metrics of a subnet over the whole data, each subnet once.

        Numbers of any library are floats and come first: hooks take the first
        metric if they are not told which. The rest is what JSON can hold.
        """
        if subnet not in known:
            self._name_outputs(name)
            size = len(self.dataloader.dataset)
            if not size:
                raise ValueError(f'{self.phase}_dataloader: no image in it')
            with model.evaluating(subnet):
                for idx, data_batch in enumerate(self.dataloader):
                    self.run_iter(idx, data_batch)
                # The first network's table of classes is enough.
                with silence() if known else nullcontext():
                    found = self.evaluator.evaluate(size)
            self._name_outputs('')  # what else is written
            if not known:
                self.first = found
            numbers = numbers_in(found)
            known[subnet] = {**numbers, **plain(found), **numbers}
        return known[subnet]

    def _name_outputs(self, name: str) -> None:
        """What is written of each subnet apart from the others.

        Predictions to PRED_NAME.pkl for PRED.pkl, mmseg's masks and pictures
        to DIR/NAME for DIR.
        """
        if len(self.subnets) + len(self.budgets) < 2:
            return
        name = name.replace('/', '_')
        backend = self.runner.visualizer.get_backend('LocalVisBackend')
        for part in (*self.evaluator.metrics, backend):
            attribute = next(filter(partial(hasattr, part), _OUTPUTS), '')
            if given := getattr(part, attribute, None):
                path = self.outputs.setdefault(part, Path(given))
                named = path / name
                if attribute == 'out_file_path' and name:
                    named = path.with_stem(f'{path.stem}_{name}')
                if attribute == 'output_dir':  # mmseg makes it but once
                    named.mkdir(parents=True, exist_ok=True)
                setattr(part, attribute, str(named))

    def _metric_of(self, found: Mapping[str, Any]) -> str | None:
        """The metric of the curve; None if there is none, and none asked."""
        numbers = [k for k, v in found.items() if isinstance(v, float)]
        name = self.metric or next(iter(numbers), None)
        if name is not None and name not in numbers:
            raise ValueError(
                f'metric={name!r}; the evaluator reports the numbers {numbers}'
            )
        return name


@LOOPS.register_module()
class SubnetValLoop(_SubnetLoopMixin, ValLoop):
    """``ValLoop`` over several subnets; arguments as below, all optional.

    ``subnets`` maps names to numbers s, 'largest', 'smallest' or fields of a
    subnet; ``metric`` and ``metric_scale`` choose the AUC's metric. Metrics
    come out as ``largest/accuracy/top1`` and so on, for ``save_best``.

    Raises:
        ValueError: If a hook or a schedule watches none of these metrics, or
            a budget cannot be reached: a training would lack it every time.

    Example:
        >>> val_cfg = dict(type='eavit_mm.SubnetValLoop',
        ...                subnets=dict(largest=1.0, half=0.5))
    """

    phase = 'val'

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for row in self.unreachable:
            raise ValueError(f'budgets: {row["error"]}')
        check_monitors(self)

    def names_of(self, numbers: Sequence[str]) -> list[str]:
        """What a validation reports, from the numbers of one subnet."""
        names = [*self.subnets, *self.budgets]
        reported = [f'{name}/{key}' for name in names for key in numbers]
        extra = ['auc', 'regret'] if self.budgets else ['auc']
        return [*reported, *extra] if reported else []


@LOOPS.register_module()
class SubnetTestLoop(_SubnetLoopMixin, TestLoop):
    """``TestLoop`` over several subnets, as :class:`SubnetValLoop`."""

    phase = 'test'
