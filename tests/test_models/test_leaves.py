"""Leaves of consumers: what they take, what they refuse, whole or gated."""

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import pytest
import torch
from mmpretrain.models.utils import LayerNorm2d
from torch import Tensor, nn
from toys import classifier, images, member, randomise, small_vit

from eavit_mm.models import Leaf, Reading
from eavit_mm.models.consumers import (
    _DESCRIBE,
    cut_consumers,
    make_elastic,
)
from eavit_mm.models.gates import decision_gates_of, gates_of

CHANNELS = 24
POOL = dict(type='GlobalAveragePooling')


class Parts(nn.Module):
    """Its modules, and what it does with the last level."""

    def __init__(self, run: Callable[..., Tensor], **parts: nn.Module) -> None:
        super().__init__()
        self.run = run
        for name, part in parts.items():
            self.add_module(name, part)

    def forward(self, x: tuple[Tensor, ...]) -> Tensor:
        return self.run(self, x[-1])


def conv(outs: int = 4) -> nn.Conv2d:
    return nn.Conv2d(CHANNELS, outs, 1)


def last_axis(level: Tensor) -> Tensor:
    return level.permute(0, 2, 3, 1)


CASES: dict[str, Callable[[], Parts]] = dict(
    output_size=lambda: Parts(
        lambda s, x: s.up(x, output_size=(6, 9)),
        up=nn.ConvTranspose2d(CHANNELS, 4, 2, stride=3),
    ),
    channel_last=lambda: Parts(
        lambda s, x: s.map(s.norm(last_axis(x), data_format='channel_last')),
        norm=LayerNorm2d(CHANNELS),
        map=nn.Linear(CHANNELS, 4),
    ),
    keyword=lambda: Parts(
        lambda s, x: s.conv(input=s.bn(input=s.norm(x=x))),
        norm=LayerNorm2d(CHANNELS),
        bn=nn.BatchNorm2d(CHANNELS),
        conv=conv(),
    ),
    one_map=lambda: Parts(
        lambda s, x: torch.stack([s.conv(each) for each in x]), conv=conv()
    ),
    # Closed channels become a half on the way.
    sigmoid=lambda: Parts(
        lambda s, x: s.conv(s.passing(x).sigmoid()),
        passing=conv(CHANNELS),
        conv=conv(),
    ),
    # And not finite.
    inverse=lambda: Parts(lambda s, x: s.conv(1 / x), conv=conv()),
)


def reading(parts: Parts) -> Reading:
    leaves = {name: Leaf() for name, _ in parts.named_children()}
    if 'passing' in leaves:
        leaves['passing'] = Leaf(passes=True)
    return Reading(leaves)


@pytest.mark.parametrize('name', CASES)
def test_sliced_is_cut_is_gated(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(_DESCRIBE, Parts, lambda head, live: reading(head))
    vit: Any = randomise(small_vit(out_type='featmap')).double()
    vit.eval()  # which returns nothing
    head: Any = randomise(CASES[name](), 1).double().eval()
    make_elastic(dict(head=head), vit)
    x, subnet = images().double(), member()
    gates = gates_of(vit.space, decision_gates_of(vit.space, subnet))
    found = []
    for context in (vit.use(subnet), vit.gated(gates)):
        head.zero_grad()
        with context:
            level = vit(x)
            out = head(level)
        out.sin().sum().backward()
        found.append([out, *(p.grad for p in head.parameters())])
    torch.testing.assert_close(found[1], found[0], rtol=1e-9, atol=1e-9)
    with torch.no_grad(), vit.use(subnet):
        cut = cut_consumers(dict(head=head), 1, subnet.embed_dims)['head']
        expected = cut(vit(x))
    torch.testing.assert_close(found[0][0], expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize('widths', [24, 14])
@pytest.mark.parametrize('is_gated', [False, True])
def test_features_of_another_width_are_refused(
    widths: int, is_gated: bool
) -> None:
    """A pool over the wrong axis leaves the head one number for a token."""
    model = classifier(backbone=dict(out_type='raw'), neck=POOL)
    vit = model.backbone
    gates = gates_of(vit.space, decision_gates_of(vit.space, member(widths)))
    context = vit.gated(gates) if is_gated else vit.use(member(widths))
    with context, pytest.raises(RuntimeError, match='shape|size'):
        model(images().double())


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
@pytest.mark.parametrize('with_amp', [False, True])
def test_gated_in_half_precision(dtype: torch.dtype, with_amp: bool) -> None:
    model = classifier(backbone=dict(out_type='featmap'), neck=POOL)
    model.float().eval()
    vit = model.backbone
    gates = gates_of(vit.space, decision_gates_of(vit.space, member()))
    with torch.no_grad():
        with vit.use(member()):
            expected = model(images())
        x = images()
        if not with_amp:
            model, x = model.to(dtype), x.to(dtype)
        around = torch.autocast('cpu', dtype) if with_amp else nullcontext()
        with vit.gated(gates), around:
            out = model(x)
    assert out.dtype == dtype
    assert (out.float() - expected).norm() < 3e-2 * expected.norm()
