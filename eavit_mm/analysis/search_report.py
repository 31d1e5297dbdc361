"""What a search says about the space before, and about itself meanwhile."""

import time
from collections.abc import Callable, Mapping
from logging import Logger
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from eavit_mm.space import SearchSpace, Subnet

if TYPE_CHECKING:
    from eavit_mm.search.evaluations import Evaluations
    from eavit_mm.search.objectives import Objectives


def profile_table(
    space: SearchSpace, costs: Mapping[str, Callable[[Subnet], float]]
) -> str:
    """Costs of the cheapest, the middle and the largest subnet, as text."""
    rows = dict(
        smallest=space.cheapest(costs['macs']),
        middle=space.uniform(0.5),
        largest=space.largest,
    )
    table = Table(title=f'The space: {space.size():.3g} subnets')
    table.add_column('subnet')
    for name in costs:
        table.add_column(name, justify='right')
    for name, subnet in rows.items():
        values = [cost(subnet) for cost in costs.values()]
        table.add_row(name, *(_number(value) for value in values))
    console = Console(width=80)
    with console.capture() as capture:
        console.print(table)
    return f'\n{capture.get().rstrip()}'


def _number(value: float) -> str:
    return f'{value:,.0f}' if value >= 1000 else f'{value:.3f}'


class Progress:
    """Tells how far a search is, at most every few seconds.

    Args:
        objectives: For the hypervolume.
        total: Evaluations in all.
        logger: Where to.
        interval: Seconds between two lines.
    """

    def __init__(
        self,
        objectives: 'Objectives',
        total: int,
        logger: Logger,
        interval: float = 5.0,
    ) -> None:
        self.objectives = objectives
        self.total = total
        self.logger = logger
        self.interval = interval
        self.begin = self.last = time.monotonic()
        self.measured = 0

    def update(self, evaluations: 'Evaluations', measured: int) -> None:
        """After some subnets were measured."""
        self.measured += measured
        now = time.monotonic()
        done = len(evaluations.known)
        if now - self.last < self.interval and done < self.total:
            return
        self.last = now
        rate = self.measured / max(now - self.begin, 1e-9)
        left = max(self.total - done, 0) / max(rate, 1e-9)
        front = self.objectives.front(list(evaluations.known.values()))
        self.logger.info(
            f'Search [{done}/{self.total}]  {rate:.2f} evaluations/s  '
            f'eta: {int(left // 3600)}:{int(left // 60) % 60:02d}:'
            f'{int(left) % 60:02d}  front: {len(front)}  '
            f'hypervolume: {self.objectives.volume(front):.4f}'
        )
