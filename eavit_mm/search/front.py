"""What a search found: the front and the references, or why there is none."""

from collections.abc import Callable, Sequence

from eavit_mm.search.limits import shown_values
from eavit_mm.search.objectives import Objectives
from eavit_mm.space import Subnet
from eavit_mm.space.pareto import METRIC, Member, ParetoFront, best_per_bin


def build_front(
    objectives: Objectives,
    members: Sequence[Member],
    bins: int,
    again: Callable[[Sequence[Subnet]], Sequence[Member]] | None = None,
    samples: int | None = None,
) -> ParetoFront:
    """The front and the references of what was evaluated.

    Args:
        objectives: The space, what was minimised, and within which limits.
        members: What was evaluated.
        bins: Parts of the MACs range; each has one reference.
        again: Evaluates in float32 what was chosen in lower precision; None
            where everything was.
        samples: On how many held-out samples.

    Raises:
        ValueError: If no evaluated subnet keeps the limits; names the one
            that comes nearest.
    """
    number = len(members)
    of_what, advice = f'{number} evaluated subnets', ''
    front, references = best_members(objectives, members, bins)
    if front and again is not None:
        chosen = dict.fromkeys(m.subnet for m in [*front, *references])
        members = again(list(chosen))
        front, references = best_members(objectives, members, bins)
        of_what = f'{len(members)} best of {number} subnets, now in float32,'
        advice = ". Others of them may: search with dtype='float32'"
    if not front:
        raise ValueError(
            f'constraints={objectives.limits}: none of the {of_what} '
            f'keeps them; the nearest has {_nearest(objectives, members)}'
            + advice
        )
    return ParetoFront(
        objectives.space,
        objectives.metric,
        objectives.rule,
        objectives.names,
        tuple(front),
        tuple(references),
        objectives.volume(front),
        number,
        samples,
        objectives.reachable.ranges or None,
    )


def best_members(
    objectives: Objectives, members: Sequence[Member], bins: int
) -> tuple[list[Member], list[Member]]:
    """The front, and the best subnet of every MACs bin, within the limits."""
    macs = objectives.tables['macs']
    references = best_per_bin(
        objectives.allowed(members),
        objectives.quality,
        macs.lowest,
        macs.largest,
        bins,
    )
    return objectives.front(members), references


def _nearest(objectives: Objectives, members: Sequence[Member]) -> str:
    """Limited values of the subnet that breaks the limits least."""

    def excess(member: Member) -> float:
        return sum(max(v, 0.0) for v in objectives.violations(member))

    nearest = min(members, key=excess)
    return shown_values(
        {
            objectives.metric if name == METRIC else name: (
                objectives.limited_value(name, nearest)
            )
            for name in objectives.limits
        }
    )
