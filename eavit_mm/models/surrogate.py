"""A router that learns from a prediction of the loss (Flextron's)."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from eavit_mm.models.gates import decision_gates_of, subnet_of
from eavit_mm.models.router import Route, RouterHead
from eavit_mm.models.router_groups import mask_of
from eavit_mm.options import check_count
from eavit_mm.registry import MODELS


@MODELS.register_module()
class SurrogateRouter(RouterHead):
    """Learns which networks are good from a model of their losses.

    An MLP predicts a network's loss from its gates. It learns from the loss
    of each network that is trained, and the router from its prediction, so
    that no step has to run the whole network with gates: a network is drawn
    with Gumbel noise and runs sliced (Flextron, arXiv 2406.10260).

    That is all that the paper's description says; size and training of the
    MLP are ours. It is trained beside the router, in the same steps.

    Args:
        surrogate: Units of the MLP's hidden layer.
        **kwargs: Those of :class:`RouterHead`; ``front`` may be left out,
            ``gated_every`` has no part.

    Example:
        >>> router = dict(type='eavit_mm.SurrogateRouter',
        ...               budgets=['latency'], latency_table='latency.json')
    """

    needs_front = False

    def __init__(self, surrogate: int = 64, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        check_count('router.surrogate', surrogate, least=1)
        largest = decision_gates_of(self.space, self.space.largest)
        gates = len(mask_of(self.space, largest))
        self.surrogate = nn.Sequential(
            nn.Linear(gates, surrogate), nn.ReLU(), nn.Linear(surrogate, 1)
        )

    def _route(
        self, budgets: Tensor, noise: torch.Generator, is_gated: bool
    ) -> Route:
        decisions = self(budgets, noise)
        subnet = subnet_of(self.space, decisions)
        return Route(subnet, budgets, decisions, None, 0.0)

    def losses(
        self, route: Route, measured: Mapping[str, Tensor] | None = None
    ) -> dict[str, Tensor]:
        """The router's, with the predicted loss and the prediction's error.

        The error moves the MLP alone, the prediction the router alone.
        """
        losses = super().losses(route)
        mask = mask_of(self.space, route.decisions)
        own = (measured or {}).items()
        total = sum(value.detach().mean() for k, value in own if 'loss' in k)
        fixed = {k: v.detach() for k, v in self.surrogate.named_parameters()}
        with torch.autocast(mask.device.type, enabled=False):
            error = self.surrogate(mask.detach()).squeeze() - total
            losses['loss_surrogate'] = error.square()
            predicted = functional_call(self.surrogate, fixed, (mask,))
        losses['loss_predicted'] = predicted.squeeze()
        return losses
