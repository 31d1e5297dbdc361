"""The figures that a search leaves beside its front."""

from collections.abc import Sequence
from pathlib import Path

from eavit_mm.analysis.pareto_plots import (
    plot_anatomy,
    plot_front,
    plot_hypervolume,
)
from eavit_mm.search.objectives import Objectives
from eavit_mm.space.pareto import Member, ParetoFront


def write_figures(
    front: ParetoFront,
    objectives: Objectives,
    members: Sequence[Member],
    folder: Path,
) -> None:
    """The figures of a search.

    Args:
        front: What it found.
        objectives: For the hypervolume.
        members: What it evaluated, in order.
        folder: Where they go to.
    """
    ladder = set(front.space.uniform_ladder)
    plot_front(
        front,
        members,
        [member for member in members if member.subnet in ladder],
        folder / 'pareto.png',
    )
    plot_anatomy(front, folder / 'anatomy.png')
    volumes = list(enumerate(objectives.volumes(members), 1))
    plot_hypervolume({'search': volumes}, folder / 'hypervolume.png')
