"""The Pareto search as a test loop of mmengine."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from mmengine.runner import TestLoop
from torch.utils.data import DataLoader, Subset

from eavit_mm.analysis.search_report import (
    Progress,
    profile_table,
    write_figures,
)
from eavit_mm.datasets.split import balanced_order
from eavit_mm.engine.calibration import norm_batches
from eavit_mm.engine.fitness import AMP_DTYPES, Fitness, is_plain_accuracy
from eavit_mm.engine.ranked_fitness import (
    RankedFitness,
    broadcast_from_rank_0,
)
from eavit_mm.engine.search_header import (
    digest,
    plain_evaluator,
    search_header,
)
from eavit_mm.engine.unwrap import elastic_model
from eavit_mm.models.budget_solver import costs_of, table_for
from eavit_mm.options import check_choice, check_count, check_flag
from eavit_mm.registry import LOOPS, build_part
from eavit_mm.search.algorithms import SubnetSearch, run_search
from eavit_mm.search.evaluations import (
    Evaluations,
    append_evaluations,
    in_use,
    open_evaluations,
    read_evaluations,
)
from eavit_mm.search.front import build_front
from eavit_mm.search.objectives import Objectives
from eavit_mm.search.problem import SubnetProblem
from eavit_mm.search.race import FIRST, Race, ends_of
from eavit_mm.space.cost_table import CostTable
from eavit_mm.space.pareto import Member, standard_error

EVALUATIONS = 'evaluations.jsonl'
FRONT = 'pareto.json'
# Evaluations of each rank between two writes.
_CHUNK = 4


@LOOPS.register_module()
class ParetoSearchLoop(TestLoop):
    """Searches the Pareto front of a supernet (EA-ViT, stage 2a).

    Args:
        *args: Those of mmengine's ``TestLoop``.
        evaluator: Likewise.
        metric: A number of the evaluator's report, such as 'accuracy/top1'.
        rule: 'greater' or 'less': which of two values is better.
        metric_scale: Brings the metric to 0..1; mmpretrain's and mmseg's
            are per cent.
        metric_worst: Value at the hypervolume's reference point; None is 0,
            and not allowed where less is better.
        objectives: 'metric' and one or more of 'macs', 'params', 'latency'.
        constraints: Name to (lowest, highest), such as
            ``dict(macs=('3GMACs', '9GMACs'))``.
        latency_table: File of a table, where latency is an objective or is
            limited.
        algorithm: Config of the search; default ``eavit_mm.NSGA2``.
        max_evaluations: Different subnets to evaluate.
        bins: Parts of the MACs range; each has one reference.
        seed: Seed of every draw; None: the runner's, or where the config has
            none that of the search to resume.
        dtype: 'float32', or 'float16' and 'bfloat16' for autocast; the front
            is then evaluated again in float32.
        threads: Threads of each process on a CPU; None: as many as the search
            to resume had, else torch's own number.
        resume: Goes on with the evaluations of the work directory.
        race: Shares of the images at which a candidate that is behind leaves,
            such as ``[0.0625, 0.125, 0.25, 0.5]``, see :class:`Race`; of a
            classifier whose only metric is mmpretrain's ``Accuracy``. None:
            all candidates are evaluated on all images.
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
        evaluator: Any,
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
        race: Sequence[float] | None = None,
        **kwargs: Any,
    ) -> None:
        if 'fp16' in kwargs:
            raise ValueError(
                f'search_cfg: fp16={kwargs["fp16"]!r}; a search takes '
                "dtype='float16', or 'bfloat16'"
            )
        super().__init__(*args, evaluator=evaluator, **kwargs)
        check_count('max_evaluations', max_evaluations, least=1)
        check_count('bins', bins, least=1)
        check_count('threads', 1 if threads is None else threads, least=1)
        check_count('seed', 0 if seed is None else seed)
        check_flag('resume', resume)
        check_choice('dtype', dtype, ['float32', *AMP_DTYPES])
        self.evaluator_cfg = plain_evaluator(evaluator)
        self.model = elastic_model(self.runner.model, type(self).__name__)
        self.model.norm_batches = norm_batches(self.runner.cfg)
        self.space = self.model.backbone.space
        self.table = table_for(self.model, latency_table)
        self.costs = costs_of(self.model, self.table)
        tables = {k: CostTable(self.space, c) for k, c in self.costs.items()}
        if self.table and self.table.error is None:
            self.runner.logger.warning(
                f'{latency_table} was not compared with whole networks: '
                'tools/latency.py validate tells its error'
            )
        # First: limits that nothing keeps end the run in the next step.
        self.runner.logger.info(profile_table(self.space, tables))
        self.objectives = Objectives(
            *(self.space, tables, objectives, metric),
            *(rule, metric_scale, metric_worst, constraints),
        )
        self.algorithm_cfg = dict(algorithm or dict(type='eavit_mm.NSGA2'))
        self.algorithm: SubnetSearch = build_part(
            'algorithm', self.algorithm_cfg, SubnetSearch
        )
        self.max_evaluations, self.bins = max_evaluations, bins
        self.seed: Any = seed
        self.threads, self.dtype, self.resume = threads, dtype, resume
        self.race, self.ends = race, self._ends(race)
        self.path = Path(self.runner.work_dir, EVALUATIONS)

    def _ends(self, race: Sequence[float] | None) -> list[int]:
        """How many images the parts of a race have; none without one.

        Raises:
            ValueError: If candidates cannot race, or not so.
        """
        if race is None:
            return []
        metric = self.objectives.metric
        is_known = standard_error(metric, 50.0, 1) > 0
        is_plain = is_plain_accuracy(self.model, self.evaluator)
        if not (is_known and is_plain and self.objectives.rule == 'greater'):
            raise ValueError(
                f'race={race!r:.80}; metric={metric!r} cannot race: only a '
                "classifier's accuracy, from one metric Accuracy"
            )
        return ends_of(race, len(self.dataloader.dataset))

    def run(self) -> dict[str, Any]:
        """Searches, and writes the front into the work directory.

        Returns:
            Hypervolume, size of the front and number of evaluations.
        """
        runner = self.runner
        runner.call_hook('before_test')
        runner.call_hook('before_test_epoch')
        runner.model.eval()
        self.seed, self.threads = broadcast_from_rank_0(self._seed_and_threads)
        torch.set_num_threads(self.threads)
        loader = self.dataloader
        if self.ends:
            data = loader.dataset
            loader = DataLoader(
                Subset(data, balanced_order(data, self.seed)),
                batch_size=loader.batch_size or 1,  # of a batch sampler
                num_workers=loader.num_workers,
                collate_fn=loader.collate_fn,
            )
        fitness = Fitness(
            self.model,
            loader,
            self.evaluator,
            self.objectives.metric,
            self.dtype,
        )
        ranked = RankedFitness(fitness, self.costs)
        metrics: dict[str, Any] = ranked.run(
            lambda: self._search(ranked, self._header(fitness))
        )
        runner.call_hook('after_test_epoch', metrics=metrics)
        runner.call_hook('after_test')
        return metrics

    def _seed_and_threads(self) -> tuple[int, int]:
        """The config's, else those of the search to resume, else our own."""
        earlier: dict[str, Any] = {}
        if self.path.exists():
            if not self.resume:
                raise FileExistsError(in_use(self.path))
            earlier, known = read_evaluations(self.path, self.space)
            if len(known) > self.max_evaluations:
                raise ValueError(
                    f'max_evaluations={self.max_evaluations}; {self.path} '
                    f'has {len(known)} already, must be at least as many'
                )
        elif (front := self.path.with_name(FRONT)).exists():
            raise FileExistsError(
                f'{front} is there, but not the {EVALUATIONS} that it was '
                'made from: move it away, or use another --work-dir'
            )
        # Where the config has none, runner.seed is one drawn anew.
        of_config = self.runner._randomness_cfg.get('seed')
        seeds = self.seed, of_config, earlier.get('seed'), self.runner.seed
        threads = self.threads, earlier.get('threads'), torch.get_num_threads()
        seed, number = (
            next(value for value in values if value is not None)
            for values in (seeds, threads)
        )
        return seed, number

    def _header(self, fitness: Fitness) -> dict[str, Any]:
        """What evaluations depend on."""
        given = [s.to_dict() for s in self.algorithm.given(self.space)]
        return search_header(
            self.model,
            self.table,
            self.objectives,
            fitness.data,
            batch_size=self.dataloader.batch_size,
            images=fitness.data.size,
            evaluator=self.evaluator_cfg,
            algorithm=self.algorithm_cfg,
            start=digest(given) if given else None,
            seed=self.seed,
            dtype=self.dtype,
            threads=self.threads,
            race=self.race,
        )

    def _search(
        self, ranked: RankedFitness, header: dict[str, Any]
    ) -> dict[str, Any]:
        """Everything that only rank 0 does; gives the front's numbers."""
        logger = self.runner.logger
        with open_evaluations(
            self.path, header, self.space, self.resume
        ) as known:
            if self.resume:
                logger.info(
                    f'{len(known)} evaluations of {self.path} are known'
                )
            members = self._evaluate(ranked, known)
        if len(members) < min(self.max_evaluations, self.space.size()):
            logger.warning(
                f'max_evaluations={self.max_evaluations}: the algorithm '
                f'found only {len(members)} different subnets of '
                f'{self.space.size():.3g}, within the limits if there are any'
            )
        exact = partial(ranked, dtype='float32')
        again = exact if self.dtype != 'float32' else None
        front = build_front(
            self.objectives,
            members,
            self.bins,
            again,
            len(self.dataloader.dataset),
        )
        file = self.path.with_name(FRONT)
        front.write(file)
        write_figures(front, self.objectives, members, file.parent)
        logger.info(
            f'{len(front.members)} subnets on the front, hypervolume '
            f'{front.hypervolume:.4f}: {file}'
        )
        return dict(
            hypervolume=front.hypervolume,
            members=len(front.members),
            evaluations=front.evaluations,
        )

    def _evaluate(
        self, ranked: RankedFitness, known: Sequence[Member]
    ) -> list[Member]:
        """Runs the algorithm; what it evaluates goes into the file."""
        progress = Progress(
            self.objectives, self.max_evaluations, self.runner.logger, known
        )

        def record(members: Sequence[Member]) -> None:
            append_evaluations(self.path, members)
            progress.update(members)

        chunk = _CHUNK * ranked.world_size
        first = FIRST if self.ends else 0
        evaluations = Evaluations(ranked, known, chunk, record, first)
        race = None
        if self.ends:
            race = evaluations.measure = Race(
                ranked, self.objectives, self.ends, evaluations.used
            )
        problem = SubnetProblem(self.objectives, evaluations)
        with progress.bar:
            members = run_search(
                problem,
                self.algorithm,
                evaluations,
                self.seed,
                self.max_evaluations,
            )
        if race is not None:
            members, summary = race.settle(members, self.bins)
            self.runner.logger.info(summary)
        return members
