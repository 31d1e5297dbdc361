"""What the speed benchmark times: a stock ViT-S/16 and subnets of it."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from itertools import cycle
from typing import Any

import numpy as np
import torch
from mmengine.optim import build_optim_wrapper
from mmengine.registry import init_default_scope
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample

import eavit_mm  # noqa: F401
from eavit_mm.space import SearchSpace, Subnet
from eavit_mm.space.pareto import Member, ParetoFront
from eavit_mm.space.samplers import FixedListSampler

OPTIMIZER = dict(type='AdamW', lr=1e-4, weight_decay=0.05)
STOCK, AGAIN, LARGEST = 'stock', 'stock again', 'largest'
# Steps of stage 2, with the router: through gates, or sliced in between.
GATED, SLICED = 'stage 2, gated', 'stage 2, sliced'
NEVER = 10**9
# The iterations whose budgets the steps of stage 2 take, in turn.
DRAWS = range(1, 9)


@dataclass(frozen=True)
class Network:
    """A Vision Transformer and the space of its subnets.

    Further options of backbone and head stand in place of a class token and
    mmpretrain's head for it.
    """

    arch: Mapping[str, int]
    space: Mapping[str, Any]
    size: int = 224
    patch: int = 16
    classes: int = 100
    backbone: Mapping[str, Any] = field(default_factory=dict)
    head: Mapping[str, Any] = field(default_factory=dict)


VIT_S = Network(
    dict(
        embed_dims=384, num_layers=12, num_heads=6, feedforward_channels=1536
    ),
    dict(
        embed_dims=list(range(64, 385, 64)),
        num_heads=list(range(1, 7)),
        feedforward_channels=list(range(192, 1537, 192)),
        max_off=12,
    ),
)


@dataclass(frozen=True)
class Setting:
    """How a network is timed.

    Attributes:
        batch_size: Images of a step or forward.
        device: Where it runs.
        network: The network.
        dtype: Of the forward in a step; all but float32 by autocast.
    """

    batch_size: int
    device: str
    network: Network = VIT_S
    dtype: str = 'float32'


@dataclass(frozen=True)
class Case:
    """Something to time.

    Attributes:
        name: What is timed, as the page names it.
        share: Its MACs over those of the largest subnet.
        reference: Name of the case that it is held against.
        runs: What is timed, by name: 'step', 'forward' or both.
    """

    name: str
    share: float
    reference: str
    runs: Mapping[str, Callable[[], Any]]


def build(elastic: bool, setting: Setting, **options: Any) -> Any:
    """A classifier; the stock one or the supernet, with equal weights.

    Args:
        elastic: Whether to build the supernet.
        setting: Its network and its device.
        **options: Further fields of the model's config.
    """
    init_default_scope('mmpretrain')
    torch.manual_seed(0)
    cfg = dict(model_config(elastic, setting.network), **options)
    return MODELS.build(cfg).to(setting.device)


def model_config(elastic: bool, network: Network = VIT_S) -> dict[str, Any]:
    """The config of :func:`build`."""
    backbone: dict[str, Any] = dict(
        type='VisionTransformer',
        arch=dict(network.arch),
        img_size=network.size,
        patch_size=network.patch,
        **network.backbone,
    )
    if elastic:
        backbone.update(
            type='eavit_mm.ElasticVisionTransformer', space=network.space
        )
    return dict(
        type='eavit_mm.ElasticImageClassifier'
        if elastic
        else 'ImageClassifier',
        backbone=backbone,
        head=dict(
            type='VisionTransformerClsHead',
            num_classes=network.classes,
            in_channels=network.arch['embed_dims'],
        )
        | network.head,
    )


def subnets_of(model: Any) -> dict[str, Subnet]:
    """The largest, uniform ones of about 75, 50, 25 % MACs, half the depth."""
    space = model.backbone.space
    whole = model.macs()['total']
    ladder = space.uniform_ladder
    shares = np.array([model.macs(s)['total'] / whole for s in ladder])
    uniform = {
        f'uniform {target:.0%}': ladder[np.abs(shares - target).argmin()]
        for target in (0.75, 0.5, 0.25)
    }
    return {LARGEST: space.largest, **uniform, 'half off': half_off(space)}


def half_off(space: SearchSpace) -> Subnet:
    """Full width, every second attention and FFN branch off."""
    whole = space.largest

    def every_second(widths: tuple[int, ...]) -> list[int]:
        return [width * (i % 2) for i, width in enumerate(widths)]

    fields = dict(
        whole.to_dict(),
        num_heads=every_second(whole.num_heads),
        feedforward_channels=every_second(whole.feedforward_channels),
    )
    return space.resolve(fields)


def stock_cases(setting: Setting) -> list[Case]:
    """The stock network, twice: the ratio of the two is the noise."""
    model = build(False, setting)
    batch = batch_of(setting)
    runs = _runs(model, None, optimizer_of(model, setting), batch)
    return [Case(name, 1.0, STOCK, runs) for name in (STOCK, AGAIN)]


def elastic_cases(setting: Setting) -> list[Case]:
    """The supernet with each of :func:`subnets_of`."""
    model = build(True, setting)
    optimizer, batch = optimizer_of(model, setting), batch_of(setting)
    whole = model.macs()['total']
    return [
        Case(
            name,
            model.macs(subnet)['total'] / whole,
            STOCK if name == LARGEST else LARGEST,
            _runs(model, subnet, optimizer, batch),
        )
        for name, subnet in subnets_of(model).items()
    ]


def stage2_cases(setting: Setting) -> list[Case]:
    """Steps of a router that was fitted to the uniform networks."""
    model = build(True, setting, router=dict(type='eavit_mm.RouterHead'))
    ladder = model.backbone.space.uniform_ladder
    costs = [
        (model.macs(subnet)['total'], model.params(subnet)['total'])
        for subnet in ladder
    ]
    members = tuple(
        Member(subnet, {'made up': float(i)}, *cost)
        for i, (subnet, cost) in enumerate(zip(ladder, costs, strict=True))
    )
    space, names = model.backbone.space, ('metric', 'macs')
    front = (space, 'made up', 'greater', names, members, members, 0.0, 0)
    model.router.set_front(ParetoFront(*front))
    model.router.init_weights()
    optimizer, batch = optimizer_of(model, setting), batch_of(setting)

    def step(gated_every: int, iterations: Iterator[int]) -> None:
        model.train()
        model.router.gated_every = gated_every
        optimizer._inner_count = next(iterations)
        model.train_step(batch, optimizer)

    model.router.gated_every = NEVER
    drawn = [model.draw_passes(iteration)[0].subnet for iteration in DRAWS]
    macs = np.mean([model.macs(subnet)['total'] for subnet in drawn])
    mean = float(macs / model.macs()['total'])
    return [
        Case(
            name, share, LARGEST, dict(step=partial(step, every, cycle(DRAWS)))
        )
        for name, share, every in ((GATED, 1.0, 1), (SLICED, mean, NEVER))
    ]


def optimizer_of(model: Any, setting: Setting) -> Any:
    """The recipe's optimizer, with autocast where the setting wants it."""
    cfg: dict[str, Any] = dict(optimizer=OPTIMIZER)
    if setting.dtype != 'float32' and setting.device == 'cpu':
        cfg.update(type='eavit_mm.CpuAmpOptimWrapper')
    elif setting.dtype != 'float32':
        scale = dict(enabled=setting.dtype == 'float16')
        cfg.update(
            type='AmpOptimWrapper', dtype=setting.dtype, loss_scale=scale
        )
    return build_optim_wrapper(model, cfg)


def batch_of(setting: Setting) -> dict[str, Any]:
    """Random images on the device, as a loader's batch."""
    number, network = setting.batch_size, setting.network
    shape = (number, 3, network.size, network.size)
    return dict(
        inputs=torch.rand(shape, device=setting.device),
        data_samples=[
            DataSample().set_gt_label(i % network.classes)
            for i in range(number)
        ],
    )


def _runs(
    model: Any, subnet: Subnet | None, optimizer: Any, batch: dict[str, Any]
) -> dict[str, Callable[[], Any]]:
    """A training step as users run it, and a forward pass."""

    def step() -> None:
        model.train()
        if subnet is not None:
            fields = subnet.to_dict()
            model.sampler = FixedListSampler([fields])
        model.train_step(batch, optimizer)

    @torch.no_grad()
    def forward() -> None:
        model.eval()
        if subnet is None:
            model(batch['inputs'], mode='tensor')
            return
        with model.backbone.use(subnet):
            model(batch['inputs'], mode='tensor')

    return dict(step=step, forward=forward)
