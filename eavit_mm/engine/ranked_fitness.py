"""Different subnets on different ranks, asked for by rank 0."""

from collections import ChainMap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mmengine.dist import (
    all_gather_object,
    broadcast_object_list,
    get_dist_info,
    is_main_process,
)

from eavit_mm.engine.fitness import Metrics
from eavit_mm.space import Subnet
from eavit_mm.space.pareto import Member


@dataclass(frozen=True)
class _Outcome:
    """What a call gave, or the error that it raised."""

    value: Any = None
    error: Exception | None = None

    @classmethod
    def of(cls, function: Callable[..., Any], *args: Any) -> '_Outcome':
        try:
            return cls(function(*args))
        except Exception as error:
            return cls(error=error)

    def get(self) -> Any:
        if self.error is not None:
            raise self.error
        return self.value


class RankedFitness:
    """Rank 0 asks, every rank evaluates its share, rank 0 gets all.

    Args:
        fitness: Metrics of a subnet, with a dtype or the usual one, and on
            all images or those of a part.
        costs: Name to cost of a subnet; shares are made equal in MACs.
    """

    def __init__(
        self,
        fitness: Callable[..., Metrics],
        costs: Mapping[str, Callable[[Subnet], float]],
    ) -> None:
        self.fitness = fitness
        self.costs = costs
        self.rank, self.world_size = get_dist_info()

    def run(self, ask: Callable[[], Any]) -> Any:
        """Runs a function, which may call this object, on rank 0.

        Returns:
            What it gives, on every rank; its error is raised on all as well.
        """
        if is_main_process():
            # An error must reach every rank, or the others wait for ever.
            outcome = _broadcast(_Outcome.of(ask))
        else:
            while not isinstance(outcome := _broadcast(None), _Outcome):
                self._share(*outcome)
        return outcome.get()

    def __call__(
        self, subnets: Sequence[Subnet], *part: int, dtype: str | None = None
    ) -> list[Member]:
        """Metrics and costs of subnets, in their order; within :meth:`run`."""
        outcomes = self._share(*_broadcast((list(subnets), dtype, *part)))
        members = []
        for place, subnet in enumerate(subnets):
            costs: Any = {k: cost(subnet) for k, cost in self.costs.items()}
            members.append(Member(subnet, outcomes[place].get(), **costs))
        return members

    def _share(
        self, subnets: Sequence[Subnet], dtype: str | None, *part: int
    ) -> dict[int, _Outcome]:
        """Evaluates a share of subnets; gives all results by their place."""
        macs = [-self.costs['macs'](subnet) for subnet in subnets]
        # The dearest first: the shares of all ranks end together.
        order = sorted(range(len(subnets)), key=macs.__getitem__)
        mine = {
            i: _Outcome.of(self.fitness, subnets[i], dtype, *part)
            for i in order[self.rank :: self.world_size]
        }
        return dict(ChainMap(*all_gather_object(mine)))


def broadcast_from_rank_0(make: Callable[[], Any]) -> Any:
    """What a function gives on rank 0, on every rank; its error as well."""
    outcome = _Outcome.of(make) if is_main_process() else None
    return _broadcast(outcome).get()


def _broadcast(value: Any) -> Any:
    """Rank 0's value on every rank."""
    box = [value]
    broadcast_object_list(box)
    return box[0]
