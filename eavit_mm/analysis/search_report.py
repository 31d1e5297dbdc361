"""What a search tells before, meanwhile and in the end."""

import time
from collections.abc import Mapping, Sequence
from datetime import timedelta
from logging import Logger
from pathlib import Path

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    TextColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as Bar

from eavit_mm.analysis.plots import (
    plot_anatomy,
    plot_front,
    plot_hypervolume,
)
from eavit_mm.analysis.subnet_table import text_table
from eavit_mm.search.objectives import Objectives
from eavit_mm.space import SearchSpace
from eavit_mm.space.cost_table import CostTable
from eavit_mm.space.pareto import Member, ParetoFront

_INTERVAL = 5.0  # seconds between two lines


def profile_table(space: SearchSpace, tables: Mapping[str, CostTable]) -> str:
    """Costs of the cheapest, the middle and the largest subnet, as text."""
    rows = dict(
        smallest=tables['macs'].cheapest,
        middle=space.uniform(0.5),
        largest=space.largest,
    )
    columns = dict(subnet=list(rows))
    for name, table in tables.items():
        costs = [table.of_subnet(subnet) for subnet in rows.values()]
        columns[name] = [
            f'{c:,.0f}' if c >= 1000 else f'{c:.3f}' for c in costs
        ]
    title = f'The space: {space.size():.3g} subnets'
    return f'\n{text_table(columns, title)}'


class Progress:
    """Tells how far a search is: a bar on a terminal, else lines of a log.

    Args:
        objectives: What the hypervolume is of.
        total: Evaluations in all.
        logger: Where lines go to.
        known: What was evaluated by an earlier run of the search.
    """

    def __init__(
        self,
        objectives: Objectives,
        total: int,
        logger: Logger,
        known: Sequence[Member] = (),
    ) -> None:
        self.objectives = objectives
        self.total = total
        self.logger = logger
        self.begin = self.last = time.monotonic()
        self.members = list(known)
        self.num_known = len(known)
        console = Console(stderr=True)
        self.bar = Bar(
            '{task.description}',
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn('{task.fields[state]}'),
            console=console,
            disable=not console.is_terminal,
        )
        self._task = self.bar.add_task('Search', total=total, state='')

    def update(self, members: Sequence[Member]) -> None:
        """Tells of subnets that were just measured."""
        self.members += members
        now = time.monotonic()
        done = len(self.members)
        if now - self.last < _INTERVAL and done < self.total:
            return
        self.last = now
        rate = (done - self.num_known) / max(now - self.begin, 1e-9)
        front = self.objectives.front(self.members)
        state = (
            f'{rate:.2f} evaluations/s  front: {len(front)}  '
            f'hypervolume: {self.objectives.volume(front):.4f}'
        )
        if not self.bar.disable:
            self.bar.update(self._task, completed=done, state=state)
            return
        seconds = int(max(self.total - done, 0) / max(rate, 1e-9))
        left = timedelta(seconds=seconds)
        self.logger.info(f'Search [{done}/{self.total}]  eta: {left}  {state}')


def write_figures(
    front: ParetoFront,
    objectives: Objectives,
    members: Sequence[Member],
    folder: Path,
) -> None:
    """Draws pareto.png, anatomy.png and hypervolume.png into a folder.

    ``members`` are what the search evaluated, in order. Those that left a
    race count as evaluated, but are not shown: what they would have on all
    images was not measured.
    """
    ladder = set(front.space.uniform_ladder)
    shown = [member for member in members if not member.parts]
    uniform = [member for member in shown if member.subnet in ladder]
    plot_front(front, shown, uniform, folder / 'pareto.png')
    plot_anatomy(front, folder / 'anatomy.png')
    volumes = list(enumerate(objectives.volumes(members), 1))
    plot_hypervolume({'search': volumes}, folder / 'hypervolume.png')
