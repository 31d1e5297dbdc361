"""The algorithms of a search: pymoo's NSGA-II, and chance."""

from collections.abc import Mapping
from typing import Any

from pymoo.algorithms.moo.nsga2 import NSGA2, binary_tournament
from pymoo.core.algorithm import Algorithm
from pymoo.core.population import Population
from pymoo.core.survival import Survival
from pymoo.core.termination import NoTermination
from pymoo.operators.crossover.ux import UniformCrossover
from pymoo.operators.selection.tournament import TournamentSelection
from pymoo.operators.survival.rank_and_crowding import RankAndCrowding

from eavit_mm.options import check_count, check_probability
from eavit_mm.registry import TASK_UTILS, build_part
from eavit_mm.search.operators import (
    STALE,
    ImmigrantMating,
    MemberRepair,
    NewSubnets,
    SamplerSampling,
    StartSampling,
    StepMutation,
)
from eavit_mm.space import SubnetSampler

TASK_UTILS.register_module(module=RankAndCrowding)
STRATIFIED = dict(type='eavit_mm.StratifiedSampler')


class SubnetSearch(Algorithm):
    """What the algorithms share: they propose every subnet once.

    Attributes:
        proposed: What was proposed so far.
        n_offsprings: How many a generation proposes.
        left: Of which so many are evaluated.
    """

    proposed: NewSubnets
    n_offsprings: int
    left: int | None = None

    def limit(self, left: int) -> None:
        """Keeps at most so many subnets of the next generation.

        What it proposes does not depend on it, so that a search with more
        evaluations begins with those of a shorter one.
        """
        self.left = left

    def infill(self) -> Population | None:
        """See pymoo's ``Algorithm``; remembers what it proposes."""
        infills = super().infill()
        if infills is not None and len(infills):
            infills = infills[: self.left]
            self.proposed.note(infills.get('X'))
        return infills


@TASK_UTILS.register_module(name='NSGA2')
class SubnetNSGA2(SubnetSearch, NSGA2):
    """pymoo's NSGA-II over the genomes of subnets (EA-ViT, stage 2a).

    Starts from the largest, the cheapest and every uniform(s); offspring
    that was proposed before is tried three times, then replaced by a drawn
    member. Differs from the release: one integer per decision instead of
    bits, and mutation moves it by a step or draws it anew.

    Args:
        pop_size: Subnets of a generation.
        survival: Config of who survives; ``eavit_mm.RankAndCrowding`` is
            standard NSGA-II.
        crossover_prob: How often two parents are mixed.
        mutation_prob: Of each gene; None: one gene in the mean.
        p_reset: How often a mutated gene is drawn anew.
        sampler: Config of the sampler that draws members.
        p_off: How often they have branches off.

    Example:
        >>> algorithm = dict(
        ...     type='eavit_mm.NSGA2',
        ...     survival=dict(type='eavit_mm.RankAndCrowding'))
    """

    def __init__(
        self,
        pop_size: int = 40,
        survival: Mapping[str, Any] | None = None,
        crossover_prob: float = 0.95,
        mutation_prob: float | None = None,
        p_reset: float = 0.25,
        sampler: Mapping[str, Any] | None = None,
        p_off: float = 0.5,
    ) -> None:
        check_count('pop_size', pop_size, least=4)
        check_probability('crossover_prob', crossover_prob)
        if mutation_prob is not None:
            check_probability('mutation_prob', mutation_prob)
        if survival is None:
            survival = dict(type='eavit_mm.PartitionSurvival')
        drawn = _sampler(sampler)
        self.proposed = NewSubnets()
        members = MemberRepair()
        super().__init__(
            pop_size=pop_size,
            sampling=StartSampling(drawn, p_off),
            survival=build_part('survival', survival, Survival),
            eliminate_duplicates=self.proposed,
            repair=members,
            mating=ImmigrantMating(
                TournamentSelection(func_comp=binary_tournament),
                UniformCrossover(prob=crossover_prob),
                StepMutation(mutation_prob, p_reset),
                members=members,
                eliminate_duplicates=self.proposed,
                immigrants=SamplerSampling(drawn, p_off),
            ),
            output=None,
        )
        # pymoo's NSGA2 replaces the one it is given.
        self.termination = NoTermination()

    def _initialize_infill(self) -> Population:
        return self.initialization.do(
            self.problem,
            self.n_offsprings,
            algorithm=self,
            random_state=self.random_state,
        )


@TASK_UTILS.register_module()
class RandomSearch(SubnetSearch):
    """Draws members with a sampler, each once: the honest opponent.

    Args:
        pop_size: Subnets drawn at a time.
        sampler: Config of the sampler; default: even over the MACs range.
        p_off: How often members have branches off.
    """

    def __init__(
        self,
        pop_size: int = 40,
        sampler: Mapping[str, Any] | None = None,
        p_off: float = 0.5,
    ) -> None:
        check_count('pop_size', pop_size, least=1)
        super().__init__(termination=NoTermination())
        self.n_offsprings = pop_size
        self.proposed = NewSubnets()
        self.evaluated = Population.create()
        self.sampling = SamplerSampling(_sampler(sampler), p_off)

    def _initialize_infill(self) -> Population:
        return self._infill()

    def _infill(self) -> Population:
        drawn = Population.create()
        stale = 0
        while (missing := self.n_offsprings - len(drawn)) and stale < STALE:
            new = self.sampling.do(
                self.problem, missing, random_state=self.random_state
            )
            new = self.proposed.do(new, drawn)
            drawn = Population.merge(drawn, new)
            stale = 0 if len(new) else stale + missing
        return drawn

    def _advance(self, infills: Any = None, **kwargs: Any) -> None:
        self.evaluated = Population.merge(self.evaluated, infills)
        self.pop = self.evaluated


def _sampler(cfg: Mapping[str, Any] | None) -> SubnetSampler:
    sampler: SubnetSampler = build_part(
        'sampler', STRATIFIED if cfg is None else cfg, SubnetSampler
    )
    return sampler
