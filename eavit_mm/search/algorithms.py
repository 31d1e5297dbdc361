"""The algorithms of a search: pymoo's NSGA-II, and chance."""

from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

from pymoo.algorithms.moo.nsga2 import NSGA2, binary_tournament
from pymoo.core.algorithm import Algorithm
from pymoo.core.population import Population
from pymoo.core.survival import Survival
from pymoo.core.termination import NoTermination
from pymoo.operators.crossover.ux import UniformCrossover
from pymoo.operators.selection.tournament import TournamentSelection
from pymoo.operators.survival.rank_and_crowding import RankAndCrowding

from eavit_mm.options import check_count, check_path, check_probability
from eavit_mm.registry import TASK_UTILS, build_part
from eavit_mm.search.evaluations import Evaluations
from eavit_mm.search.operators import (
    MemberMating,
    NewGenomes,
    StepMutation,
    draw_members,
    genome_keys,
    start_members,
    to_genomes,
)
from eavit_mm.search.problem import SubnetProblem
from eavit_mm.space import SearchSpace, Subnet, SubnetSampler
from eavit_mm.space.pareto import Member, ParetoFront

TASK_UTILS.register_module(module=RankAndCrowding)
# Drawn members in a row that were proposed before: there are no others.
_STALE = 400


class SubnetSearch(Algorithm):
    """What the algorithms share: they propose every subnet once.

    Attributes:
        new: Knows what was proposed so far.
        drawn: Members that the sampler draws, without end.
        n_offsprings: How many a generation proposes.
        left: How many of the next generation are evaluated; None: all. What
            it proposes does not depend on it, so that a search with more
            evaluations begins with those of a shorter one.
    """

    drawn: Iterator[Subnet]
    n_offsprings: int
    left: int | None = None

    def __init__(
        self,
        new: NewGenomes,
        sampler: Mapping[str, Any] | None,
        p_off: float,
        **kwargs: Any,
    ) -> None:
        check_probability('p_off', p_off)
        super().__init__(**kwargs)
        self.new, self.p_off = new, p_off
        if sampler is None:
            sampler = dict(type='eavit_mm.StratifiedSampler')
        self.sampler: SubnetSampler = build_part(
            'sampler', sampler, SubnetSampler
        )
        # pymoo's NSGA2 replaces the one that its constructor is given.
        self.termination = NoTermination()

    def given(self, space: SearchSpace) -> list[Subnet]:
        """Members of a file that the search begins with; here none."""
        return []

    def _setup(self, problem: SubnetProblem, **kwargs: Any) -> None:
        self.drawn = draw_members(
            problem, self.sampler, self.p_off, self.random_state
        )

    def infill(self) -> Population:
        """See pymoo's ``Algorithm``; remembers what it proposes."""
        infills = super().infill()[: self.left]
        self.new.known.update(genome_keys(infills))
        return infills

    def fill(self, off: Population) -> Population:
        """Adds drawn members until a generation is full of new ones.

        There may be fewer left in the space.
        """
        stale = 0
        while (missing := self.n_offsprings - len(off)) and stale < _STALE:
            members = islice(self.drawn, missing)
            new = self.new.do(to_genomes(self.problem.space, members), off)
            off = Population.merge(off, new)
            stale = 0 if len(new) else stale + missing
        return off


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
        crossover_prob: Probability that two parents are mixed.
        mutation_prob: Probability of each gene; None: one gene in the mean.
        p_reset: Probability that a mutated gene is drawn anew.
        sampler: Config of the sampler that draws members; None: even over
            the MACs range.
        p_off: Probability that branches of a drawn member are off.
        start: A ``pareto.json`` of the same space, such as of
            ``tools/snap.py``, whose members are in the first generation: at
            most ``pop_size`` - 2 of them, evenly chosen.

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
        start: str | None = None,
    ) -> None:
        check_count('pop_size', pop_size, least=4)
        check_path('start', start)
        self.start = start
        check_probability('crossover_prob', crossover_prob)
        if mutation_prob is not None:
            check_probability('mutation_prob', mutation_prob)
        if survival is None:
            survival = dict(type='eavit_mm.PartitionSurvival')
        new = NewGenomes()
        super().__init__(
            new,
            sampler,
            p_off,
            pop_size=pop_size,
            survival=build_part('survival', survival, Survival),
            mating=MemberMating(
                TournamentSelection(func_comp=binary_tournament),
                UniformCrossover(prob=crossover_prob),
                StepMutation(mutation_prob, p_reset),
                eliminate_duplicates=new,
                n_max_iterations=3,  # EA-ViT's tries for new offspring
            ),
            output=None,
        )

    def given(self, space: SearchSpace) -> list[Subnet]:
        """See the base class."""
        if self.start is None:
            return []
        front = ParetoFront.read(self.start, space)
        return [member.subnet for member in front.members]

    def _initialize_infill(self) -> Population:
        given = self.given(self.problem.space)
        start = start_members(self.problem, self.pop_size, self.drawn, given)
        return self.new.do(to_genomes(self.problem.space, start))

    def _infill(self) -> Population:
        off = self.mating.do(
            self.problem,
            self.pop,
            self.n_offsprings,
            algorithm=self,
            random_state=self.random_state,
        )
        return self.fill(off)


@TASK_UTILS.register_module()
class RandomSearch(SubnetSearch):
    """Draws members with a sampler, each once: the honest opponent.

    Args:
        pop_size: How many subnets are drawn at a time.
        sampler: As for :class:`SubnetNSGA2`.
        p_off: Likewise.
    """

    def __init__(
        self,
        pop_size: int = 40,
        sampler: Mapping[str, Any] | None = None,
        p_off: float = 0.5,
    ) -> None:
        check_count('pop_size', pop_size, least=1)
        super().__init__(NewGenomes(), sampler, p_off)
        self.n_offsprings = pop_size

    def _initialize_infill(self) -> Population:
        return self.fill(Population.create())

    _infill = _initialize_infill


def run_search(
    problem: SubnetProblem,
    algorithm: SubnetSearch,
    evaluations: Evaluations,
    seed: int,
    max_evaluations: int,
) -> list[Member]:
    """Runs an algorithm; a function of its arguments and the results alone.

    Args:
        problem: Asks ``evaluations`` for results.
        algorithm: Proposes subnets.
        evaluations: What is known already is not measured again.
        seed: Seed of every draw.
        max_evaluations: Different subnets, those known before included;
            fewer come where the algorithm finds no new ones.
    """
    algorithm.setup(problem, seed=seed)
    while (left := max_evaluations - len(evaluations.used)) > 0:
        before = len(evaluations.used)
        algorithm.left = left
        algorithm.next()
        if len(evaluations.used) == before:
            break
    return list(evaluations.used.values())
