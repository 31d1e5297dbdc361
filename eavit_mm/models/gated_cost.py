"""Costs of a subnet as functions of its gates."""

from typing import Any

import torch
from torch import Tensor, nn

from eavit_mm.models.gates import DecisionGates
from eavit_mm.space.cells import EMBED
from eavit_mm.space.cost_table import CostTable


class GatedCost(nn.Module):
    """A cost as a share of the largest subnet's, with its gradient.

    Args:
        table: The cost of every choice; gates choose among them.
    """

    def __init__(self, table: CostTable) -> None:
        super().__init__()
        self.space = table.space
        parts: dict[str, Any] = {'stem': table.stem}
        parts |= {f'{a}_{i}': v for (a, i), v in table.branches.items()}
        for name, values in parts.items():
            costs = torch.tensor(values, dtype=torch.float64)
            shares = (costs / table.largest).float()
            self.register_buffer(name, shares, persistent=False)

    def forward(self, decisions: DecisionGates) -> Tensor:
        """The share of the largest subnet's cost: a scalar."""
        chosen: dict[tuple[str, int], Tensor] = {}
        for cell, prefix in zip(
            self.space.cells, decisions.prefixes, strict=True
        ):
            one_hot = _one_hot(prefix)
            for axis in cell.axes:
                for layer in cell.layers:
                    chosen[axis, layer] = one_hot
        embed = chosen[EMBED, 0]
        total: Tensor = self.get_buffer('stem') @ embed
        for number, (axis, layer) in enumerate(self.space.branches):
            table = self.get_buffer(f'{axis}_{layer}')
            branch = embed @ table @ chosen[axis, layer]
            if decisions.switches is not None:
                branch = branch * decisions.switches[number]
            total = total + branch
        return total


def _one_hot(prefix: Tensor) -> Tensor:
    """1 at the choice that prefix gates (choices - 1) stand for."""
    first, behind = prefix.new_ones(1), prefix.new_zeros(1)
    return -torch.cat((first, prefix, behind)).diff()
