"""Where a search starts, and how genomes vary."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from pymoo.core.duplicate import DuplicateElimination
from pymoo.core.mating import Mating
from pymoo.core.mutation import Mutation
from pymoo.core.population import Population
from pymoo.core.repair import Repair
from pymoo.core.sampling import Sampling

from eavit_mm.options import check_probability
from eavit_mm.search.problem import SubnetProblem
from eavit_mm.space import Level, SearchSpace, Subnet, SubnetSampler

# Draws for one member within the limits before steps lead the last to them.
_TRIES = 50
# Drawn members in a row that were proposed before: there are no others.
STALE = 400


class SamplerSampling(Sampling):
    """Members that a sampler of subnets draws, within the limits of cost.

    Args:
        sampler: As stage 1 uses them.
        p_off: Probability that branches are off.
    """

    def __init__(self, sampler: SubnetSampler, p_off: float) -> None:
        super().__init__()
        check_probability('p_off', p_off)
        self.sampler = sampler
        self.p_off = p_off
        self._level: Level | None = None
        # What a sampler of several drew beyond what was asked for.
        self._drawn: list[Subnet] = []

    def _do(
        self,
        problem: SubnetProblem,
        n_samples: int,
        *args: Any,
        random_state: np.random.Generator,
        **kwargs: Any,
    ) -> np.ndarray:
        drawn = (self._draw(problem, random_state) for _ in range(n_samples))
        return genomes(problem.space, drawn)

    def _draw(
        self, problem: SubnetProblem, rng: np.random.Generator
    ) -> Subnet:
        if self._level is None or self._level.space is not problem.space:
            self._level = Level(problem.space, p_off=self.p_off)
            self._drawn = []
        cost = problem.objectives.costs[problem.objectives.cost]
        for _ in range(_TRIES):
            if not self._drawn:
                self._drawn = self.sampler.draw(self._level, cost, rng)
            subnet = self._drawn.pop(0)
            if problem.objectives.allows_costs(subnet):
                return subnet
        return problem.reachable.near(subnet, rng)


class StartSampling(SamplerSampling):
    """Largest, cheapest, every uniform(s), and for the rest drawn ones."""

    def _do(
        self,
        problem: SubnetProblem,
        n_samples: int,
        *args: Any,
        random_state: np.random.Generator,
        **kwargs: Any,
    ) -> np.ndarray:
        space = problem.space
        objectives = problem.objectives
        ladder = scattered(even(space.uniform_ladder, n_samples - 2))
        start = dict.fromkeys((space.largest, problem.cheapest, *ladder))
        subnets = [s for s in start if objectives.allows_costs(s)][:n_samples]
        while len(subnets) < n_samples:
            subnets.append(self._draw(problem, random_state))
        return genomes(space, subnets)


def even(items: Sequence[Any], number: int) -> list[Any]:
    """At most so many of a sequence, evenly spread, the ends included."""
    if number >= len(items):
        return list(items)
    places = np.linspace(0, len(items) - 1, max(number, 0)).round()
    return [items[int(place)] for place in places]


def scattered(items: Sequence[Any]) -> list[Any]:
    """A sequence in an order whose every beginning is spread over it."""
    digits = len(items).bit_length()
    order = sorted(range(len(items)), key=lambda i: f'{i:0{digits}b}'[::-1])
    return [items[i] for i in order]


def genomes(space: SearchSpace, subnets: Iterable[Subnet]) -> np.ndarray:
    """One row per subnet."""
    return np.array([space.encode(subnet) for subnet in subnets])


class StepMutation(Mutation):
    """Moves genes by a step, or draws them anew.

    Args:
        prob_var: Of each gene; None: one gene in the mean.
        p_reset: How often a gene is drawn anew instead of moved.
    """

    def __init__(
        self, prob_var: float | None = None, p_reset: float = 0.25, **kw: Any
    ) -> None:
        super().__init__(prob_var=prob_var, **kw)
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


class MemberRepair(Repair):
    """Opens branches at random while too many are off.

    A genome then stands for a member of the space, and equal members have
    equal genomes.
    """

    def _do(
        self,
        problem: SubnetProblem,
        x: np.ndarray,
        *args: Any,
        random_state: np.random.Generator,
        **kwargs: Any,
    ) -> np.ndarray:
        space = problem.space
        return genomes(
            space,
            (repaired(space, row, random_state) for row in x.astype(int)),
        )


def repaired(
    space: SearchSpace, genes: np.ndarray, rng: np.random.Generator
) -> Subnet:
    """The member that a genome stands for, some branches opened.

    Args:
        space: With its ``max_off``.
        genes: Within the bounds.
        rng: Chooses the branches that stay off.
    """
    indices, closed = space.genome.decode(genes)
    off = [branch for branch in space.branches if branch in closed]
    if len(off) > space.max_off:
        kept = rng.permutation(len(off))[: space.max_off]
        off = [off[i] for i in sorted(kept)]
    return space.build(indices, off)


class NewSubnets(DuplicateElimination):
    """Drops genomes that were proposed before, at any time of the search."""

    def __init__(self) -> None:
        super().__init__()
        self.known: set[bytes] = set()

    def note(self, x: np.ndarray) -> None:
        """Remembers genomes."""
        self.known.update(row.tobytes() for row in x.astype(np.int64))

    def _do(
        self, pop: Population, other: Any, is_duplicate: np.ndarray
    ) -> np.ndarray:
        seen = set(self.known)
        if other is not None:
            seen.update(ind.X.astype(np.int64).tobytes() for ind in other)
        for i, individual in enumerate(pop):
            key = individual.X.astype(np.int64).tobytes()
            is_duplicate[i] = key in seen
            seen.add(key)
        return is_duplicate


class ImmigrantMating(Mating):
    """Mating that fills up with drawn members what is no new subnet.

    EA-ViT's rule: three tries for a duplicate, then a random immigrant. What
    costs more or less than the limits allow is no offspring either.

    Args:
        *args: Selection, crossover, mutation.
        members: Makes members of the offspring.
        immigrants: Draws members.
        **kwargs: Those of pymoo's ``Mating``.
    """

    def __init__(
        self,
        *args: Any,
        members: Repair,
        immigrants: Sampling,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, n_max_iterations=3, **kwargs)
        self.members = members
        self.immigrants = immigrants

    def do(
        self,
        problem: Any,
        pop: Population,
        n_offsprings: int,
        random_state: Any = None,
        **kwargs: Any,
    ) -> Population:
        """So many new genomes, if there are as many."""
        off = super().do(
            problem, pop, n_offsprings, random_state=random_state, **kwargs
        )
        stale = 0
        while (missing := n_offsprings - len(off)) and stale < STALE:
            new = self.immigrants.do(
                problem, missing, random_state=random_state
            )
            new = self.eliminate_duplicates.do(new, pop, off)
            off = Population.merge(off, new)
            stale = 0 if len(new) else stale + missing
        return off

    def _do(
        self, problem: Any, pop: Population, n_offsprings: int, **kwargs: Any
    ) -> Population:
        off = super()._do(problem, pop, n_offsprings, **kwargs)
        off = self.members(problem, off, **kwargs)
        allowed = [
            problem.objectives.allows_costs(problem.space.decode(genes))
            for genes in off.get('X')
        ]
        return off[np.flatnonzero(allowed)]
