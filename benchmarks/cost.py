"""What training costs: forward-backward MACs, in dense image passes."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from mmengine.config import Config
from mmengine.logging import MessageHub
from mmengine.registry import init_default_scope
from mmpretrain.registry import MODELS

from eavit_mm.models import FrozenDistillation
from eavit_mm.models.surrogate import SurrogateRouter
from eavit_mm.space import Curriculum

CURRICULUM, ROUTER = 'eavit_mm.CurriculumHook', 'eavit_mm.RouterHook'
# The share of a forward pass in the cost of a forward and a backward pass.
FORWARD = 1 / 3
# How far a run's cost may be off: a longer run also draws other subnets.
_TOLERANCE = 0.002
_TRIES = 8


def with_cost(cfgs: Sequence[Config], passes: int) -> list[Config]:
    """Phases of so many iterations that they cost as much as dense passes.

    Args:
        cfgs: The configs of a run's phases, which count iterations; their
            lengths keep their proportions.
        passes: Images through forward and backward of the whole network.
    """
    found = list(cfgs)
    models = list(map(_build, cfgs))
    for _ in range(_TRIES):
        share = passes / sum(map(training_cost, found, models))
        if abs(1 / share - 1) < _TOLERANCE:
            break
        lengths = [round(cfg.train_cfg.max_iters * share) for cfg in found]
        found = list(map(with_length, cfgs, lengths))
    return found


def training_cost(cfg: Config, model: Any = None) -> float:
    """What a run costs, in images through the whole network and back.

    Replays every draw of the run: a function of seed and iteration alone.

    Args:
        cfg: The run's config.
        model: Its model, if it is there.
    """
    model = model or _build(cfg)
    hub = MessageHub.get_current_instance()
    hub.update_info('seed', cfg.randomness.seed)
    _set_levels(cfg, model)
    total = 0.0
    for iteration in range(cfg.train_cfg.max_iters):
        total += _cost_of(model, model.draw_subnets(iteration))
    return total * cfg.train_dataloader.batch_size


def _build(cfg: Config) -> Any:
    init_default_scope(cfg.default_scope)
    return MODELS.build(cfg.model)


def _set_levels(cfg: Config, model: Any) -> None:
    for hook in cfg.custom_hooks:
        if hook['type'] == CURRICULUM:
            length = cfg.train_cfg.max_iters
            space = model.backbone.space
            found = Curriculum(space, hook['levels'], length)
            model.levels = list(zip(found.begins, found.levels, strict=True))


def _cost_of(model: Any, subnets: list[Any]) -> float:
    """Cost of a step, the whole network's forward and backward being 1."""
    whole = model.macs()['total']
    cost = sum(model.macs(subnet)['total'] for subnet in subnets) / whole
    is_frozen = isinstance(model.distillation, FrozenDistillation)
    is_drawn = model.backbone.space.largest in subnets and not is_frozen
    if model.distillation is not None and not is_drawn:
        cost += FORWARD  # the teacher runs for itself
    return cost


def routed_share(cfg: Config) -> float:
    """What an iteration costs for which a router draws the subnets.

    Their mean, at most: a sliced pass costs no more than the budget that was
    drawn, a gated one as much as the whole network, which is 1. While the
    router warms up, no weight of the network has a gradient: a sliced pass
    has no backward then, a gated one that of the activations. A teacher runs
    for itself where the largest network, which would teach, is not drawn.
    """
    model = _build(cfg)
    router = model.router
    lowest = max(table.lowest_share for table in router.tables.values())
    places = np.linspace(0, 1, 1001) ** router.skew
    shares = (lowest + places * (router.highest - lowest)).clip(max=1.0)
    is_sliced = isinstance(router, SurrogateRouter)
    gated = 0.0 if is_sliced else 1 / router.gated_every
    sliced = (1 - gated) * shares.mean()
    alone = FORWARD * (2 * gated + sliced)
    (warmup,) = (h.warmup for h in cfg.custom_hooks if h['type'] == ROUTER)
    if isinstance(warmup, int):  # iterations, no share of them
        warmup /= cfg.train_cfg.max_iters
    passes = router.passes * (warmup * alone + (1 - warmup) * (gated + sliced))
    teacher = 0.0
    if model.distillation is not None:
        is_frozen = isinstance(model.distillation, FrozenDistillation)
        is_drawn = 0.0 if is_frozen else (shares == 1).mean()
        teacher = FORWARD * (1 - is_drawn) ** router.passes
    return float(passes + teacher)


def with_length(cfg: Config, max_iters: int) -> Config:
    """The run of so many iterations; schedules keep their proportions."""
    before = cfg.train_cfg.max_iters
    cfg = Config(cfg.to_dict())

    def rescale(iteration: int) -> int:
        return round(iteration * max_iters / before)

    for schedule in cfg.param_scheduler:
        for key in ('begin', 'end'):
            if key in schedule:
                schedule[key] = rescale(schedule[key])
    for hook in cfg.custom_hooks:
        if hook['type'] == CURRICULUM:
            for level in hook['levels']:
                if isinstance(level['begin'], int):  # no share of the whole
                    level['begin'] = rescale(level['begin'])
    cfg.max_iters = cfg.train_cfg.max_iters = max_iters
    cfg.train_cfg.val_interval = max_iters
    return cfg
