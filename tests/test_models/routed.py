"""Models whose routers answer budgets, trained or not."""

import json
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from fronts import front_of
from toys import classifier

from eavit_mm.space.pareto import Member

# Steps fine enough that a budget can be used.
FINE = dict(
    embed_dims=list(range(6, 25, 3)),
    num_heads=list(range(1, 7)),
    feedforward_channels=list(range(2, 21, 2)),
    max_off=2,
)


BUILT: dict[str, Any] = {}  # models by the options of their routers


def model_with(router: dict[str, Any] | None = None) -> Any:
    if str(router) not in BUILT:
        cfg = None
        if router is not None:
            cfg = dict(type='eavit_mm.RouterHead', **router)
        BUILT[str(router)] = classifier(backbone=dict(space=FINE), router=cfg)
    return deepcopy(BUILT[str(router)])


def untrained(seed: int = 0, **router: Any) -> Any:
    """With a router that answers before anything has trained it."""
    torch.manual_seed(seed)
    model = model_with(router)
    model.router.is_ready = True
    model.router.apply(_reset)
    return model


def _reset(module: torch.nn.Module) -> None:
    if isinstance(module, torch.nn.Linear):
        module.reset_parameters()
        torch.nn.init.normal_(module.bias, std=3.0)


def front_file(folder: Path) -> Path:
    path = folder / 'pareto.json'
    path.write_text(json.dumps(front_of(model_with(), 16).to_dict()))
    return path


def fitted(folder: Path, **router: Any) -> Any:
    """With a router that knows the front of such a file."""
    path, options = front_file(folder), {'fit_steps': 200, **router}
    if str(options) not in BUILT:
        model = model_with(dict(front=str(path), **options))
        model.router.init_weights()
        BUILT[str(options)] = model
    return deepcopy(BUILT[str(options)])


def cost(model: Any, subnet: Any, kind: str) -> int:
    return getattr(model, kind)(subnet)['total']


def evaluated(
    model: Any, accuracies: Any, samples: int | None = None
) -> list[Any]:
    """Gives a router the largest uniform subnets, as if it had measured them.

    Args:
        model: With a router and its front.
        accuracies: Of each, from the smallest on.
        samples: On how many samples.
    """
    router = model.router
    subnets = model.backbone.space.uniform_ladder[-len(accuracies) :]
    found = [
        Member(
            subnet,
            {router.front.metric: float(accuracy)},
            cost(model, subnet, 'macs'),
            cost(model, subnet, 'params'),
        )
        for subnet, accuracy in zip(subnets, accuracies, strict=True)
    ]
    # The router's own answers count as those of the front do.
    router.evaluated = dict(front=tuple(found[::2]), router=tuple(found[1::2]))
    router.samples = samples
    return found
