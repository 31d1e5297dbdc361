"""The Pareto search as a test loop of mmengine."""

from collections.abc import Mapping, Sequence
from functools import partial
from math import isfinite
from pathlib import Path
from typing import Any

import torch
from mmengine.dist import broadcast_object_list, is_main_process
from mmengine.runner import TestLoop

from eavit_mm.analysis.pareto_plots import (
    plot_anatomy,
    plot_front,
    plot_hypervolume,
)
from eavit_mm.analysis.search_report import Progress, profile_table
from eavit_mm.engine.fitness import AMP_DTYPES, Fitness
from eavit_mm.engine.ranked_fitness import RankedFitness
from eavit_mm.engine.search_header import digest, plain
from eavit_mm.engine.unwrap import elastic_model
from eavit_mm.files import write_json
from eavit_mm.models.budgets import cost_of
from eavit_mm.options import check_count, check_flag
from eavit_mm.registry import LOOPS, build_part
from eavit_mm.search.algorithms import SubnetSearch
from eavit_mm.search.evaluations import Evaluations
from eavit_mm.search.objectives import build_objectives
from eavit_mm.search.problem import SubnetProblem
from eavit_mm.search.run import run_search
from eavit_mm.space import Subnet
from eavit_mm.space.latency import read_table
from eavit_mm.space.pareto import COSTS, Member, ParetoFront, best_per_bin

EVALUATIONS = 'evaluations.jsonl'
FRONT = 'pareto.json'
VERSION = 1
_NSGA2 = dict(type='eavit_mm.NSGA2')
# Evaluations of each rank between two writes.
_CHUNK = 4


@LOOPS.register_module()
class ParetoSearchLoop(TestLoop):
    """Searches the Pareto front of a supernet (EA-ViT, stage 2a).

    Args:
        *args: Those of mmengine's ``TestLoop``.
        metric: Of the evaluator's report, such as 'accuracy/top1'.
        rule: 'greater' or 'less': which of two values is better.
        metric_scale: Brings the metric to 0..1; mmpretrain's and mmseg's
            are per cent.
        metric_worst: Value at the hypervolume's reference point; None is 0,
            and not allowed where less is better.
        objectives: 'metric' and one or more of 'macs', 'params', 'latency'.
        constraints: Name to (lowest, highest), such as
            ``dict(macs=('3GMACs', '9GMACs'))``.
        latency_table: File of a table, where latency is an objective or a
            limit.
        algorithm: Config of the search; default ``eavit_mm.NSGA2``.
        max_evaluations: Different subnets to evaluate.
        bins: Of the MACs range, for the references.
        seed: Of every draw; None: the runner's.
        dtype: 'float32', or 'float16' and 'bfloat16' for autocast; the front
            is then evaluated again in float32.
        threads: Of each process on a CPU; None: torch's own number.
        resume: Goes on with the evaluations of the work directory.
        **kwargs: Those of mmengine's ``TestLoop``.

    Raises:
        ValueError: If an option is not valid; names it.

    Example:
        >>> search_cfg = dict(type='eavit_mm.ParetoSearchLoop',
        ...                   metric='accuracy/top1',
        ...                   objectives=['metric', 'macs'])
    """

    def __init__(
        self,
        *args: Any,
        metric: str,
        rule: str = 'greater',
        metric_scale: float = 0.01,
        metric_worst: float | None = None,
        objectives: Sequence[str] = ('metric', 'macs'),
        constraints: Mapping[str, Any] | None = None,
        latency_table: str | None = None,
        algorithm: Mapping[str, Any] | None = None,
        max_evaluations: int = 400,
        bins: int = 20,
        seed: int | None = None,
        dtype: str = 'float32',
        threads: int | None = None,
        resume: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        check_count('max_evaluations', max_evaluations, least=1)
        check_count('bins', bins, least=1)
        check_flag('resume', resume)
        if threads is not None:
            check_count('threads', threads, least=1)
        if dtype not in ('float32', *AMP_DTYPES):
            raise ValueError(
                f'dtype={dtype!r}; must be one of {["float32", *AMP_DTYPES]}'
            )
        model = elastic_model(self.runner.model, type(self).__name__)
        self.model, self.space = model, model.backbone.space
        self.table = table = read_table(latency_table, self.space)
        self.costs = {
            name: cost_of(model, name, table=table)
            for name in COSTS
            if name != 'latency' or table
        }
        self.objectives = build_objectives(
            objectives,
            metric,
            rule,
            metric_scale,
            metric_worst,
            constraints or {},
            self.costs,
            self.space,
        )
        # Built once here, so that a wrong one fails before anything runs.
        self.algorithm_cfg = dict(algorithm or _NSGA2)
        build_part('algorithm', self.algorithm_cfg, SubnetSearch)
        self.max_evaluations = max_evaluations
        self.bins = bins
        self.seed = self.runner.seed if seed is None else seed
        self.dtype = dtype
        self.threads = threads
        self.resume = resume
        self.front: ParetoFront | None = None

    def run(self) -> dict[str, Any]:
        """Searches, and writes the front into the work directory.

        Returns:
            Hypervolume, size of the front and number of evaluations.
        """
        runner = self.runner
        runner.call_hook('before_test')
        runner.call_hook('before_test_epoch')
        runner.model.eval()
        header = self._header()
        torch.set_num_threads(header['threads'])
        fitness = Fitness(
            self.model, self.dataloader, self.evaluator, self.dtype
        )
        ranked = RankedFitness(fitness, self.costs['macs'])
        if is_main_process():
            try:
                self._search(ranked, header)
            finally:
                ranked.close()
        else:
            ranked.serve()
        metrics = self._metrics()
        runner.call_hook('after_test_epoch', metrics=metrics)
        runner.call_hook('after_test')
        return metrics

    def _header(self) -> dict[str, Any]:
        """What evaluations depend on; the threads are rank 0's."""
        box: list[Any] = [None]
        if is_main_process():
            objectives = self.objectives
            header = dict(
                version=VERSION,
                space=self.space.to_config(),
                weights=digest(self.model),
                latency_table=self.table and plain(self.table.to_dict()),
                metric=objectives.metric,
                rule=objectives.rule,
                metric_scale=objectives.scale,
                metric_worst=objectives.worst,
                objectives=list(objectives.names),
                constraints={k: list(v) for k, v in objectives.limits.items()},
                algorithm=plain(self.algorithm_cfg),
                seed=self.seed,
                dtype=self.dtype,
                threads=self.threads or torch.get_num_threads(),
                batch_size=self.dataloader.batch_size,
                images=len(self.dataloader.dataset),
            )
            box = [header]
        broadcast_object_list(box)
        found: Any = box[0]
        return dict(found)

    def _search(self, ranked: RankedFitness, header: dict[str, Any]) -> None:
        """Everything that only rank 0 does."""
        logger, folder = self.runner.logger, Path(self.runner.work_dir)
        logger.info(profile_table(self.space, self.costs))

        progress = Progress(self.objectives, self.max_evaluations, logger)
        evaluations = Evaluations(
            folder / EVALUATIONS,
            header,
            partial(self._measure, ranked),
            _CHUNK * ranked.world_size,
            progress.update,
        )
        if self.resume:
            known = evaluations.resume(self.space)
            logger.info(f'{known} evaluations of {evaluations.path} are known')
        else:
            evaluations.start()
        problem = SubnetProblem(self.space, self.objectives, evaluations)
        algorithm = build_part('algorithm', self.algorithm_cfg, SubnetSearch)
        with progress.bar:
            members = run_search(
                problem,
                algorithm,
                evaluations,
                self.seed,
                self.max_evaluations,
            )
        if algorithm.report:
            logger.info(algorithm.report)
        self.front = self._front(members, ranked)
        self._write(folder, members)

    def _measure(
        self,
        ranked: RankedFitness,
        subnets: Sequence[Subnet],
        dtype: str | None = None,
    ) -> list[Member]:
        """Evaluates subnets on all ranks, and adds their costs."""
        members = []
        found = ranked(subnets, dtype)
        for subnet, metrics in zip(subnets, found, strict=True):
            if self.objectives.metric not in metrics:
                raise ValueError(
                    f'metric={self.objectives.metric!r}; the evaluator '
                    f'reports {list(metrics)}'
                )
            if not all(map(isfinite, metrics.values())):
                raise FloatingPointError(
                    f'metrics={dict(metrics)} of {subnet.to_json()}: are '
                    'there NaN weights in the checkpoint?'
                )
            costs: Any = {k: cost(subnet) for k, cost in self.costs.items()}
            members.append(Member(subnet, metrics, **costs))
        return members

    def _front(
        self, members: Sequence[Member], ranked: RankedFitness
    ) -> ParetoFront:
        """The front and the references, evaluated in float32."""
        objectives = self.objectives
        evaluations = len(members)
        if self.dtype != 'float32':
            front, references = self._best(members)
            chosen = dict.fromkeys(m.subnet for m in [*front, *references])
            members = self._measure(ranked, list(chosen), 'float32')
        front, references = self._best(members)
        if not front:
            best = max(map(objectives.quality, members)) / objectives.scale
            raise ValueError(
                f'constraints={dict(objectives.limits)}: none of the '
                f'{evaluations} evaluated subnets keeps them; the best '
                f'{objectives.metric} was {abs(best):.4g}'
            )
        return ParetoFront(
            self.space,
            objectives.metric,
            objectives.rule,
            objectives.names,
            tuple(front),
            tuple(references),
            objectives.volume(front),
            evaluations,
        )

    def _best(
        self, members: Sequence[Member]
    ) -> tuple[list[Member], list[Member]]:
        """The front, and the best subnet of every MACs bin."""
        cost = self.costs['macs']
        low, high = cost(self.space.cheapest(cost)), cost(self.space.largest)
        references = best_per_bin(
            self.objectives.allowed(members),
            self.objectives.quality,
            low,
            high,
            self.bins,
        )
        return self.objectives.front(members), references

    def _write(self, folder: Path, members: Sequence[Member]) -> None:
        """pareto.json and the figures."""
        front = self.front
        assert front is not None
        write_json(front.to_dict(), folder / FRONT)
        ladder = set(self.space.uniform_ladder)
        plot_front(
            front,
            members,
            [member for member in members if member.subnet in ladder],
            folder / 'pareto.png',
        )
        plot_anatomy(front, folder / 'anatomy.png')
        plot_hypervolume(
            {'search': list(enumerate(self.objectives.volumes(members), 1))},
            folder / 'hypervolume.png',
        )
        self.runner.logger.info(
            f'{len(front.members)} subnets on the front, hypervolume '
            f'{front.hypervolume:.4f}: {folder / FRONT}'
        )

    def _metrics(self) -> dict[str, Any]:
        """The numbers of the front, the same on every rank."""
        box: list[Any] = [None]
        if self.front is not None:
            box[0] = dict(
                hypervolume=self.front.hypervolume,
                members=len(self.front.members),
                evaluations=self.front.evaluations,
            )
        broadcast_object_list(box)
        found: dict[str, Any] = box[0]
        return found
