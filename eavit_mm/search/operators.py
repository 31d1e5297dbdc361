"""Where a search starts, and how genomes vary."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, count, islice
from typing import Any

import numpy as np
from pymoo.core.duplicate import DuplicateElimination
from pymoo.core.mating import Mating
from pymoo.core.mutation import Mutation
from pymoo.core.population import Population

from eavit_mm.options import check_probability
from eavit_mm.search.problem import SubnetProblem
from eavit_mm.space import Level, SearchSpace, Subnet, SubnetSampler

# Draws for one member within the limits before steps lead the last to them.
_TRIES = 50


def draw_members(
    problem: SubnetProblem,
    sampler: SubnetSampler,
    p_off: float,
    rng: np.random.Generator,
) -> Iterator[Subnet]:
    """Members of the space that keep the limits on cost, without end.

    Drawn as in stage 1; with probability ``p_off`` branches are off.
    """
    level = Level(problem.space, p_off=p_off)
    cost = problem.cost_table.of_subnet
    reachable = problem.objectives.reachable
    drawn = chain.from_iterable(
        sampler.draw(level, cost, rng) for _ in count()
    )
    while True:
        for member in islice(drawn, _TRIES):
            if reachable.keeps(member):
                break
        else:
            # The limits are so narrow that draws miss them.
            member = reachable.near(member, rng)
        yield member


def start_members(
    problem: SubnetProblem,
    number: int,
    drawn: Iterator[Subnet],
    given: Sequence[Subnet] = (),
) -> list[Subnet]:
    """The largest, the cheapest, given and uniform ones; the rest are drawn.

    As many as asked for, all within the limits on cost.
    """
    space = problem.space
    given = spread(given, number - 2)
    ladder = spread(space.uniform_ladder, number - 2 - len(given))
    cheapest = problem.cost_table.cheapest
    start = dict.fromkeys((space.largest, cheapest, *given, *ladder))
    allowed = filter(problem.objectives.reachable.keeps, start)
    return list(islice(chain(allowed, drawn), number))


def spread(items: Sequence[Any], number: int) -> list[Any]:
    """At most so many of a sequence, evenly chosen, the ends included.

    They come in the order of a van der Corput sequence: every beginning of
    the list is spread over the whole, so a search may end early.
    """
    number = min(max(number, 0), len(items))
    places = np.linspace(0, len(items) - 1, number).round().astype(int)
    digits = number.bit_length()
    order = sorted(range(number), key=lambda i: f'{i:0{digits}b}'[::-1])
    return [items[places[i]] for i in order]


def to_genomes(space: SearchSpace, subnets: Iterable[Subnet]) -> Population:
    """Members of a space as pymoo has them: a genome for each."""
    return Population.new(X=np.array([space.encode(s) for s in subnets]))


class StepMutation(Mutation):
    """Moves genes by a step, or draws them anew.

    Args:
        prob_var: Probability of each gene; None: one gene in the mean.
        p_reset: Probability that a gene is drawn anew instead of moved.
    """

    def __init__(
        self, prob_var: float | None = None, p_reset: float = 0.25
    ) -> None:
        super().__init__(prob_var=prob_var)
        check_probability('p_reset', p_reset)
        self.p_reset = p_reset

    def _do(
        self,
        problem: SubnetProblem,
        x: np.ndarray,
        *args: Any,
        random_state: np.random.Generator,
        **kwargs: Any,
    ) -> np.ndarray:
        low, high = problem.bounds()
        step = random_state.choice([-1, 1], size=x.shape)
        anew = random_state.integers(low, high + 1, size=x.shape)
        reset = random_state.random(x.shape) < self.p_reset
        changed = np.where(reset, anew, np.clip(x + step, low, high))
        chosen = random_state.random(x.shape) < self.get_prob_var(
            problem, size=(len(x), 1)
        )
        return np.where(chosen, changed, x).astype(int)


class MemberMating(Mating):
    """Mating whose offspring are members that keep the limits on cost."""

    def _do(
        self,
        problem: SubnetProblem,
        pop: Population,
        n_offsprings: int,
        random_state: Any = None,
        **kwargs: Any,
    ) -> Population:
        off = super()._do(
            problem, pop, n_offsprings, random_state=random_state, **kwargs
        )
        members = [
            build_member(problem.space, genes, random_state)
            for genes in off.get('X').astype(int)
        ]
        allowed = filter(problem.objectives.reachable.keeps, members)
        return to_genomes(problem.space, allowed)


def build_member(
    space: SearchSpace, genes: np.ndarray, rng: np.random.Generator
) -> Subnet:
    """The member that a genome stands for.

    Where too many branches are off, some are opened at random.
    """
    indices, closed = space.genome.decode(genes)
    off = [branch for branch in space.branches if branch in closed]
    if len(off) > space.max_off:
        kept = rng.permutation(len(off))[: space.max_off]
        off = [off[i] for i in sorted(kept)]
    return space.build(indices, off)


class NewGenomes(DuplicateElimination):
    """Drops genomes that were proposed before, at any time of the search.

    pymoo's own look at the population alone, which forgets what died out.
    """

    def __init__(self) -> None:
        super().__init__()
        self.known: set[bytes] = set()

    def do(self, pop: Population, *others: Population, **kw: Any) -> Any:
        """See pymoo's ``DuplicateElimination``."""
        seen = self.known.union(*map(genome_keys, others))
        kept = []
        for place, key in enumerate(genome_keys(pop)):
            if key not in seen:
                kept.append(place)
            seen.add(key)
        return pop[kept]


def genome_keys(pop: Population) -> list[bytes]:
    """What a genome is known by, whichever integers or floats it is of."""
    return [individual.X.astype(np.int64).tobytes() for individual in pop]
