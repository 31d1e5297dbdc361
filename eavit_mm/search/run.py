"""One search: generation after generation until nothing may be evaluated."""

from collections.abc import Callable

from eavit_mm.search.algorithms import SubnetSearch
from eavit_mm.search.evaluations import Evaluations
from eavit_mm.search.problem import SubnetProblem
from eavit_mm.space.pareto import Member


def run_search(
    problem: SubnetProblem,
    algorithm: SubnetSearch,
    evaluations: Evaluations,
    seed: int,
    max_evaluations: int,
    after_generation: Callable[[int], None] | None = None,
) -> list[Member]:
    """Runs an algorithm; a function of its arguments and the results alone.

    Args:
        problem: Asks ``evaluations`` for results.
        algorithm: Proposes subnets.
        evaluations: What is known already is not measured again.
        seed: Of every draw.
        max_evaluations: Different subnets, those known before included.
        after_generation: Called with the generation's number.

    Returns:
        The evaluated subnets in order. Fewer than asked for where the
        algorithm finds no new ones.
    """
    algorithm.setup(problem, seed=seed)
    generation = 0
    while (left := max_evaluations - len(evaluations.used)) > 0:
        before = len(evaluations.used)
        algorithm.limit(left)
        algorithm.next()
        if len(evaluations.used) == before:
            break
        generation += 1
        if after_generation is not None:
            after_generation(generation)
    return list(evaluations.used.values())
