"""A subnet becomes a classifier of mmpretrain's own."""

import pytest
import torch
from mmengine.optim import build_optim_wrapper
from mmpretrain.models import ImageClassifier
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
from eavit_mm.models.consumers import _DESCRIBE

from .toys import config, member, supernet


def images(model, batch: int = 7) -> torch.Tensor:
    rng = torch.Generator().manual_seed(1)
    return torch.randn(batch, *image_size(model), generator=rng)


@pytest.mark.parametrize('seed', range(16))
def test_exported_is_sliced(seed):
    """Random options, spaces and subnets; also the largest and all off."""
    cfg = random_config(seed)
    model = random_model(cfg, seed).double()
    subnet = random_subnet(model.backbone.space, seed)
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
