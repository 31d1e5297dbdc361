"""A subnet becomes a classifier of mmpretrain's own."""

from dataclasses import replace

import pytest
import torch
from mmengine.optim import build_optim_wrapper
from mmpretrain.models import ImageClassifier
from mmpretrain.models.necks import LinearNeck
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.export_cases import (
    random_config,
    random_model,
    random_subnet,
)
from eavit_mm.analysis.latency import image_size
from eavit_mm.export import dense_network
from eavit_mm.models import Leaf, Reading, SlimVisionTransformer
from eavit_mm.models.consumers import _DESCRIBE, cut_consumers

from .toys import config, member, supernet


def images(model, batch: int = 7) -> torch.Tensor:
    rng = torch.Generator().manual_seed(1)
    return torch.randn(batch, *image_size(model), generator=rng)


@pytest.mark.parametrize('scala', [False, True])
@pytest.mark.parametrize('seed', range(16))
def test_exported_is_sliced(seed, scala):
    """Random options, spaces and subnets; also the largest and all off."""
    cfg = random_config(seed, scala)
    model = random_model(cfg, seed).double()
    subnet = random_subnet(model.backbone.space, seed)
    if scala and seed % 4 == 3:
        subnet = model.backbone.space.nearest(replace(subnet, embed_dims=1))
        assert subnet.side == 'suffix'
    dense = dense_network(model, cfg.model, subnet)
    assert type(dense) is ImageClassifier
    assert type(dense.backbone) is SlimVisionTransformer
    assert not dense.training
    x = images(model).double()
    with torch.no_grad(), model.backbone.use(subnet):
        for few in (x, x[:1]):
            torch.testing.assert_close(
                dense(few), model(few), rtol=0, atol=1e-9
            )
    with (
        FlopCounterMode(display=False) as counter,
        sdpa_kernel(SDPBackend.MATH),
        torch.no_grad(),
    ):
        dense(x[:1])
    assert counter.get_total_flops() == 2 * model.macs(subnet)['total']
    numbers = sum(p.numel() for p in dense.parameters())
    assert numbers == model.params(subnet)['total']


def test_weights_are_its_own_and_train():
    cfg = config()
    model = supernet(cfg)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    dense = dense_network(model, cfg.model, member())
    old = {n: p.detach().clone() for n, p in dense.named_parameters()}
    dense.train()
    optimizer = build_optim_wrapper(
        dense, dict(optimizer=dict(type='AdamW', lr=0.01))
    )
    samples = [DataSample().set_gt_label(i % 9) for i in range(7)]
    batch = dict(inputs=images(model), data_samples=samples)
    losses = [dense.train_step(batch, optimizer)['loss'] for _ in range(5)]
    assert losses[-1] < losses[0]
    for name, p in dense.named_parameters():
        assert not torch.equal(p, old[name]), name
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_a_subnet_of_another_space():
    cfg = config()
    with pytest.raises(ValueError, match='embed_dims=13 is outside this'):
        dense_network(supernet(cfg), cfg.model, member(13))


@MODELS.register_module()
class PassingNeck(nn.Module):
    """Its outputs still are backbone channels; one number or one a level."""

    def __init__(self, in_channels, out_channels) -> None:
        super().__init__()
        self.in_channels, self.out_channels = in_channels, out_channels
        both = (in_channels, out_channels)
        pairs = zip(
            *[n if isinstance(n, list) else [n] for n in both], strict=True
        )
        self.maps = nn.ModuleList(nn.Linear(*pair) for pair in pairs)

    def forward(self, x):
        x = x[-len(self.maps) :]
        return tuple(f(y) for f, y in zip(self.maps, x, strict=True))


def describe_passing(neck, live):
    leaves = {f'maps.{i}': Leaf(passes=True) for i in range(len(neck.maps))}
    if isinstance(neck.in_channels, list):  # the first becomes its own
        leaves['maps.0'] = Leaf()
        return Reading(leaves, (False, True))
    return Reading(leaves, (True,))


def describe_linear(neck, live):
    return Reading({'fc': Leaf()}, (False,))


@pytest.mark.parametrize(
    ('kind', 'ins', 'outs', 'head', 'sizes'),
    [
        ('LinearNeck', 24, 6, 6, (14, 6, 6)),
        # As wide as the backbone, but channels of its own.
        ('LinearNeck', 24, 24, 24, (14, 24, 24)),
        ('PassingNeck', 24, 24, 24, (14, 14, 14)),
        ('PassingNeck', [24, 24], [24, 24], 24, ([14, 14], [24, 14], 14)),
    ],
)
def test_necks_that_change_or_pass_channels(
    kind, ins, outs, head, sizes, monkeypatch
):
    monkeypatch.setitem(_DESCRIBE, LinearNeck, describe_linear)
    monkeypatch.setitem(_DESCRIBE, PassingNeck, describe_passing)
    cfg = config()
    cfg.model.neck = dict(type=kind, in_channels=ins, out_channels=outs)
    if kind == 'LinearNeck':
        cfg.model.neck.gap_dim = 0
    cfg.model.head.in_channels = head
    cfg.model.backbone.out_indices = [0, 1] if ins == [24, 24] else [-1]
    model = supernet(cfg).double()
    dense = dense_network(model, cfg.model, member())
    own = (dense.head.in_channels,)
    if kind == 'PassingNeck':
        own = (dense.neck.in_channels, dense.neck.out_channels, *own)
    assert own == sizes[-len(own) :]
    x = images(model).double()
    with torch.no_grad(), model.backbone.use(member()):
        torch.testing.assert_close(dense(x), model(x), rtol=0, atol=1e-9)
    params = sum(p.numel() for p in dense.parameters())
    assert params == model.params(member())['total']
    # The cut modules say the same of themselves as the built ones.
    levels = len(model.backbone.out_indices)
    for name, part in cut_consumers(model.consumers, levels, 14).items():
        built = getattr(dense, name)
        for size in ('in_channels', 'out_channels'):
            assert getattr(part, size, 0) == getattr(built, size, 0)


@MODELS.register_module()
class WideNeck(nn.Module):
    """Says its width by another name than ``in_channels``."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.map = nn.Linear(width, 24)

    def forward(self, x):
        return (self.map(x[-1]),)


def test_a_consumer_whose_config_cannot_be_cut(monkeypatch):
    def describe(neck, live):
        return Reading({'map': Leaf()}, (False,))

    monkeypatch.setitem(_DESCRIBE, WideNeck, describe)
    cfg = config()
    cfg.model.neck = dict(type='WideNeck', width=24)
    model = supernet(cfg)
    with pytest.raises(ValueError, match='must take in_channels'):
        dense_network(model, cfg.model, member())
