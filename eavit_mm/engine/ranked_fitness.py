"""Different subnets on different ranks."""

from collections.abc import Callable, Sequence
from typing import Any

from mmengine.dist import (
    all_gather_object,
    broadcast_object_list,
    get_dist_info,
    is_main_process,
)

from eavit_mm.engine.fitness import Metrics
from eavit_mm.space import Subnet


class RankedFitness:
    """Rank 0 asks, every rank evaluates its share, rank 0 gets all.

    Args:
        fitness: Metrics of a subnet, with a dtype or the usual one.
        cost: Of a subnet; shares are made equal in it.
    """

    def __init__(
        self,
        fitness: Callable[[Subnet, str | None], Metrics],
        cost: Callable[[Subnet], float],
    ) -> None:
        self.fitness = fitness
        self.cost = cost
        self.rank, self.world_size = get_dist_info()
        self._failed = False

    def __call__(
        self, subnets: Sequence[Subnet], dtype: str | None = None
    ) -> list[Metrics]:
        """Metrics of subnets, in their order; on rank 0 only.

        Args:
            subnets: Members of the space.
            dtype: In place of the usual one.
        """
        return self._share(*_from_rank_0((list(subnets), dtype)))

    def serve(self) -> None:
        """Evaluates what rank 0 asks for, until it closes."""
        while (asked := _from_rank_0(None)) is not None:
            self._share(*asked)

    def close(self) -> None:
        """Lets the other ranks return from :meth:`serve`."""
        if not self._failed:  # else they have left already
            _from_rank_0(None)

    def _share(
        self, subnets: Sequence[Subnet], dtype: str | None
    ) -> list[Metrics]:
        order = sorted(
            range(len(subnets)), key=lambda i: -self.cost(subnets[i])
        )
        mine = {
            i: self._result(subnets[i], dtype)
            for i in order[self.rank :: self.world_size]
        }
        found: dict[int, Any] = {}
        for part in all_gather_object(mine):
            found.update(part)
        for result in found.values():
            if isinstance(result, Exception):
                self._failed = True
                raise result
        return [found[i] for i in range(len(subnets))]

    def _result(self, subnet: Subnet, dtype: str | None) -> Any:
        # An error must reach every rank, or the others would wait for ever.
        try:
            return self.fitness(subnet, dtype)
        except Exception as error:
            if self.world_size == 1:
                raise
            return error


def told_by_rank_0(make: Callable[[], Any]) -> Any:
    """What rank 0 makes, on every rank; its error as well."""
    found = None
    if is_main_process():
        try:
            found = make()
        except Exception as error:
            found = error
    found = _from_rank_0(found)
    if isinstance(found, Exception):
        raise found
    return found


def _from_rank_0(value: Any) -> Any:
    box = [value]
    broadcast_object_list(box)
    return box[0]
