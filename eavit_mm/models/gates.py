"""Gates, open units as numbers that gradients reach, and their costs.

A decision group has one gate per choice beyond its smallest; the number of
open gates is the index of its choice. Gates are hard, 0 or 1, and have the
gradient of the soft ones they were made of (straight-through).

Letters: C channels of the residual stream, H heads, F hidden channels.
"""

from functools import lru_cache
from itertools import groupby, starmap
from math import isnan
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from eavit_mm.space import SearchSpace, Subnet
from eavit_mm.space.cells import EMBED, Cell, Decisions
from eavit_mm.space.cost_table import CostTable
from eavit_mm.space.subnet import PREFIX

# The group of the branches' switches, beside those of the cells.
SWITCHES = 'switches'


class Gates(NamedTuple):
    """Gates of every unit of a network, prefixes of ones and zeros behind.

    Attributes:
        embed_dims: (C).
        num_heads: (H) per layer; all zero where the branch is off.
        feedforward_channels: (F) per layer, likewise.
        subnet: The same widths as numbers.
    """

    embed_dims: Tensor
    num_heads: tuple[Tensor, ...]
    feedforward_channels: tuple[Tensor, ...]
    subnet: Subnet


class DecisionGates(NamedTuple):
    """Gates of every decision about a subnet.

    Attributes:
        prefixes: (..., cells, gates), descending; zeros behind those of cells
            with fewer choices than others.
        switches: (..., branches); None where none may be off.
    """

    prefixes: Tensor
    switches: Tensor | None


def check_gates(subnet: Subnet, head_dims: int) -> None:
    """Raises unless gates can stand for a subnet: prefixes of whole heads."""
    if subnet.head_dims != head_dims or subnet.side != PREFIX:
        raise ValueError(
            f'gates open the first of whole heads; this subnet has head_dims='
            f'{subnet.head_dims} of {head_dims}, side={subnet.side!r}. Take '
            'a space without such subnets, or no router'
        )


def straight_through(soft: Tensor) -> Tensor:
    """1 above a half and 0 below, with the gradient of the soft values."""
    hard = (soft > 0.5).to(soft.dtype)
    return hard + (soft - soft.detach())


def prefix_gates(soft: Tensor) -> Tensor:
    """The hard gates of a group (..., gates), open ones first.

    Each gradient goes to the gate that landed in its position.
    """
    return straight_through(soft.sort(descending=True, stable=True).values)


def switch_gates(soft: Tensor, max_off: int) -> Tensor:
    """Hard gates (..., branches), of which only ``max_off`` may be off.

    Of too many that want to be off, those with the lowest soft gates are.
    """
    gates = straight_through(soft)
    order = soft.detach().argsort()
    forced = torch.zeros_like(soft).scatter(-1, order[..., max_off:], 1)
    return gates + (forced - gates.detach()).clamp(min=0)


def by_decision(space: SearchSpace, gates: Tensor) -> DecisionGates:
    """The gates of all groups in one vector (..., G) as those of decisions."""
    runs = runs_of(space)
    sizes = [cells * number for cells, number in runs]
    sizes.append(len(space.branches) if space.max_off else 0)
    *parts, switches = torch.split(gates, sizes, dim=-1)
    most = max(number for _, number in runs)
    rows = [
        F.pad(part.reshape(*part.shape[:-1], *run), (0, most - run[1]))
        for part, run in zip(parts, runs, strict=True)
    ]
    prefixes = torch.cat(rows, dim=-2)
    return DecisionGates(prefixes, switches if space.max_off else None)


def runs_of(space: SearchSpace) -> list[tuple[int, int]]:
    """(cells, gates of each) of neighbours with as many gates."""
    sizes = groupby(cell.num_choices - 1 for cell in space.cells)
    return [(len([*cells]), gates) for gates, cells in sizes]


def harden(space: SearchSpace, soft: Tensor) -> DecisionGates:
    """The hard gates of soft ones (..., G) in (0, 1), with their gradient."""
    prefixes, switches = by_decision(space, soft)
    if switches is not None:
        switches = switch_gates(switches, space.max_off)
    return DecisionGates(prefix_gates(prefixes), switches)


def subnet_of(space: SearchSpace, decisions: DecisionGates) -> Subnet:
    """The subnet that decisions stand for.

    Raises:
        FloatingPointError: If a gate is NaN; names the router's MLPs.
    """
    return subnets_of(space, decisions)[0]


def subnets_of(space: SearchSpace, decisions: DecisionGates) -> list[Subnet]:
    """Likewise of each row of decisions."""
    return [space.build(*each) for each in choices_of(space, decisions)]


def choices_of(
    space: SearchSpace, decisions: DecisionGates
) -> list[Decisions]:
    """Likewise, as decisions about widths and branches."""
    values = decisions.prefixes.sum(-1)
    if decisions.switches is not None:
        values = torch.cat((values, decisions.switches), dim=-1)
    number, found = len(space.cells), []
    # One copy from the device for all of them.
    for row in values.reshape(-1, values.shape[-1]).tolist():
        broken = {
            group_name(space.cells[i]) if i < number else SWITCHES: None
            for i, value in enumerate(row)
            if isnan(value)
        }
        if broken:
            raise FloatingPointError(
                f'the gates of router.groups.{{{",".join(broken)}}} are NaN, '
                'as some of its weights are; training stops before others '
                'change. Lower the learning rate, clip gradients, or resume '
                'from the last checkpoint'
            )
        # Without switches no branch is off.
        switches = zip(space.branches, row[number:], strict=False)
        off = frozenset(branch for branch, on in switches if not on)
        found.append(Decisions(tuple(map(round, row[:number])), off))
    return found


def group_name(cell: Cell) -> str:
    """Name of a cell's group: its axes, and its layer if it has only one."""
    axes = '+'.join(cell.axes)
    is_one = len(cell.layers) == 1 and cell.branches
    return f'{axes}_{cell.layers[0]}' if is_one else axes


def decision_gates_of(space: SearchSpace, subnet: Subnet) -> DecisionGates:
    """The inverse of :func:`subnet_of`, without gradients.

    Raises:
        ValueError: If the subnet is not in the space.
    """
    space.check(subnet)
    most = max(cell.num_choices for cell in space.cells) - 1
    indices = torch.tensor(space.decisions(subnet).indices)
    prefixes = (torch.arange(most) < indices[:, None]).float()
    if not space.max_off:
        return DecisionGates(prefixes, None)
    is_on = [getattr(subnet, axis)[i] > 0 for axis, i in space.branches]
    return DecisionGates(prefixes, torch.tensor(is_on).float())


def gates_of(space: SearchSpace, decisions: DecisionGates) -> Gates:
    """The gates of all units: width gates times the gate of the branch."""
    cells, openers, sizes = _expansion(space, decisions.prefixes.device)
    rows = _opened(decisions.prefixes)[cells]  # (places, choices)
    if decisions.switches is not None:
        rows = rows * F.pad(decisions.switches, (1, 0), value=1.0)[:, None]
    embed_dims, *branches = torch.split(rows.flatten()[openers], sizes)
    return Gates(
        embed_dims,
        tuple(branches[: space.num_layers]),
        tuple(branches[space.num_layers :]),
        subnet_of(space, decisions),
    )


def _opened(prefixes: Tensor) -> Tensor:
    """A gate for each choice: the smallest is always open."""
    return F.pad(prefixes, (1, 0), value=1.0)


@lru_cache(maxsize=16)
def _expansion(
    space: SearchSpace, device: torch.device
) -> tuple[Tensor, Tensor, list[int]]:
    """How decisions become gates of units.

    Of the embedding and then each branch: the cell (places), the number of
    units; and of all their units, in one, the choice that opens it.
    """
    owners = {
        place: number
        for number, cell in enumerate(space.cells)
        for place in cell.choices
    }
    places = [(EMBED, 0), *space.branches]
    most = max(cell.num_choices for cell in space.cells)
    openers = [
        number * most + np.repeat(range(len(own)), np.diff((0, *own)))
        for number, own in enumerate(starmap(space.choices, places))
    ]
    cells = torch.tensor([owners[place] for place in places])
    index = torch.from_numpy(np.concatenate(openers))
    sizes = [len(opener) for opener in openers]
    return cells.to(device), index.to(device), sizes


class GatedCost(nn.Module):
    """A cost as a share of the largest subnet's, with its gradient.

    Args:
        table: The cost of every choice; gates choose among them.
    """

    def __init__(self, table: CostTable) -> None:
        super().__init__()
        self.space = table.space
        stem, *tables = (
            (torch.tensor(c, dtype=torch.float64) / table.largest).float()
            for c in (table.stem, *table.branches.values())
        )
        # (branches, choices, frames), with zeros behind fewer choices.
        branches = pad_sequence([t.mT for t in tables], batch_first=True)
        self.register_buffer('stem', stem, persistent=False)
        self.register_buffer('branches', branches, persistent=False)

    def forward(self, decisions: DecisionGates) -> Tensor:
        """The share of the largest subnet's cost: a scalar.

        In the type of the gates: autocast would round it to three digits.
        """
        stem, branches = self.get_buffer('stem'), self.get_buffer('branches')
        chosen = _one_hot(decisions.prefixes)
        rows = {
            place: row
            for cell, row in zip(self.space.cells, chosen, strict=True)
            for place in cell.choices
        }
        embed = rows[EMBED, 0][: len(stem)]
        own = torch.stack([rows[branch] for branch in self.space.branches])
        with torch.autocast(stem.device.type, enabled=False):
            parts = branches @ embed * own[:, : branches.shape[1]]
            if decisions.switches is not None:
                parts = parts * decisions.switches[:, None]
            return stem @ embed + parts.sum()


def _one_hot(prefixes: Tensor) -> Tensor:
    """1 at the choice that prefixes (..., gates) stand for: (..., choices)."""
    return _opened(prefixes) - F.pad(prefixes, (0, 1))
