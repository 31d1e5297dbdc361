"""The router's MLPs, one for each decision group, and their gates.

A group is a cell of the space that has a choice, with one gate for each choice
beyond the smallest, or the switches of all branches, with one gate each.

Letters: K kinds of budgets, R references of the Pareto front, G gates of all
groups.
"""

from itertools import groupby
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from eavit_mm.models.gates import (
    SWITCHES,
    DecisionGates,
    by_decision,
    check_gates,
    choices_of,
    group_name,
    harden,
    runs_of,
)
from eavit_mm.options import check_count, check_number
from eavit_mm.space import SearchSpace
from eavit_mm.space.cells import Branch

# How sure the router is of a width gate and of a branch once it is fitted to
# the references. Targets below 1 keep some gradient alive. Noise and the
# deviation from the budget move what is less sure; a branch that goes off by
# chance costs far more than a step of a width.
_SURE_OF_WIDTHS, _SURE_OF_BRANCHES = 0.9, 0.99


class Groups(nn.ModuleDict):
    """A two-layer MLP for each group, from budgets to its logits.

    Args:
        space: The search space.
        inputs: K.
        hidden: Units of a hidden layer for each gate.
        temperature: Temperature of the Gumbel sigmoid.

    Raises:
        ValueError: If an option is not valid, or the space has one member.
    """

    def __init__(
        self, space: SearchSpace, inputs: int, hidden: int, temperature: float
    ) -> None:
        check_count('router.hidden', hidden, least=1)
        check_number('router.temperature', temperature, positive=True)
        check_gates(space.smallest, space.largest.head_dims)
        sizes = {group_name(c): c.num_choices - 1 for c in space.cells}
        # The last group, as mask_of has it.
        sizes[SWITCHES] = len(space.branches) if space.max_off else 0
        if not any(sizes.values()):
            raise ValueError(
                'model.router: the space has one member, there is nothing to '
                'choose; give backbone.space more, or router=None'
            )
        super().__init__(
            {
                name: nn.Sequential(
                    nn.Linear(inputs, hidden * gates),
                    nn.ReLU(),
                    nn.Linear(hidden * gates, gates),
                )
                for name, gates in sizes.items()
                if gates
            }
        )
        self.space = space
        self.num_switches = sizes[SWITCHES]
        self.temperature = temperature

    def forward(
        self, budgets: Tensor, generator: torch.Generator | None = None
    ) -> Tensor:
        """Soft gates in (0, 1), (..., G): sigmoids of logits and noise.

        Args:
            budgets: (..., K), shares of the largest subnet's costs; on the
                host.
            generator: Draws the Gumbel noise; None for none, as in use.
        """
        # Copies to the device that are not waited for, here and below.
        budgets = budgets.to(next(self.parameters()), non_blocking=True)
        logits = self.logits(budgets)
        if generator is not None:
            # The difference of two Gumbel variables is logistic. Drawn on
            # the CPU, so that every device gets the same.
            u = torch.rand(logits.shape, generator=generator)
            noise = torch.logit(u, eps=1e-6).to(logits, non_blocking=True)
            logits = (logits + noise) / self.temperature
        return logits.sigmoid()

    def logits(self, budgets: Tensor) -> Tensor:
        """Those of all gates, (..., G), of budgets (..., K).

        Neighbours of equal size go through their MLPs as one.
        """
        found = []
        # Faster than ``parameters``.
        mlps: Any = self.values()
        own = ([a.weight, a.bias, b.weight, b.bias] for a, _, b in mlps)
        for _, alike in groupby(own, lambda each: each[-1].shape):
            weights = map(torch.stack, zip(*alike, strict=True))
            first, shift, second, offset = weights
            hidden = torch.einsum('nhk,...k->...nh', first, budgets) + shift
            group = torch.einsum('ngh,...nh->...ng', second, hidden.relu())
            found.append((group + offset).flatten(-2))
        return torch.cat(found, dim=-1)

    def fit(self, costs: Tensor, masks: Tensor, steps: int) -> None:
        """Moves the MLPs towards references, from where they are.

        Args:
            costs: (R, K), what they cost.
            masks: (R, G), their gates, see :func:`mask_of`.
            steps: Steps of Adam.
        """
        sure = masks.new_full(masks.shape[1:], _SURE_OF_WIDTHS)
        sure[len(sure) - self.num_switches :] = _SURE_OF_BRANCHES
        targets = masks * sure + (1 - masks) * (1 - sure)
        optimizer = torch.optim.Adam(self.parameters(), lr=1e-2)
        for _ in range(steps):
            logits = self.logits(costs)
            error = F.binary_cross_entropy_with_logits(logits, targets)
            optimizer.zero_grad()
            torch.autograd.backward(error)
            optimizer.step()
        optimizer.zero_grad()


def nested_choices(
    space: SearchSpace, soft: Tensor
) -> tuple[np.ndarray, frozenset[Branch]]:
    """Subnets around the choice that soft gates stand for, smallest first.

    Gates are opened in the order of how sure the router is of them: of each
    group as many as are above a threshold, which is the same for all groups.
    At a half it is the router's choice. Branches that it leaves on or off
    stay so.

    Returns:
        The indices of the cells, (subnets, cells), and what is off in all.
    """
    soft = soft.detach().cpu()  # waits for a device
    ((_, off),) = choices_of(space, harden(space, soft))
    prefixes = np.array(by_decision(space, soft).prefixes.tolist())
    falling = np.unique([0.0, 1.0, *prefixes.flat])[::-1]
    # All thresholds at once: (thresholds, cells, gates).
    return (prefixes > falling[:, None, None]).sum(axis=-1), off


def mask_of(space: SearchSpace, decisions: DecisionGates) -> Tensor:
    """All gates of the groups in one vector, (G).

    The width of a branch that is off does not count: it is no fact of the
    subnet.
    """
    prefixes, switches = decisions
    if switches is not None:
        on = dict(zip(space.branches, switches.unbind(), strict=True))
        one = switches.new_ones(())
        own = [
            one if others else on.get(place, one)
            for place, *others in (cell.choices for cell in space.cells)
        ]
        prefixes = prefixes * torch.stack(own)[:, None]
    runs = runs_of(space)
    rows = torch.split(prefixes, [cells for cells, _ in runs])
    masks = [
        row[:, :number].flatten()
        for row, (_, number) in zip(rows, runs, strict=True)
    ]
    return torch.cat(masks if switches is None else [*masks, switches])
