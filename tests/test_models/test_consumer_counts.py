"""What necks and heads cost, whatever else is done with them."""

import copy
import warnings
from collections.abc import Callable
from typing import Any

import pytest
from made_up import CLASSES, OWN, ConvHead, register_made_up
from mmpretrain.registry import MODELS
from torch import Tensor, nn
from toys import HEADS, classifier, images, member

from eavit_mm.models import Leaf, Reading
from eavit_mm.models.consumers import _DESCRIBE, make_elastic

FEATMAP = dict(out_type='featmap')


@pytest.fixture(autouse=True)
def made_up() -> Any:
    yield from register_made_up()


def test_hooks_do_not_see_what_is_counted() -> None:
    calls: list[Any] = []
    model = classifier(backbone=FEATMAP)
    model.head = ConvHead(24).double()
    make_elastic(model.consumers, model.backbone)
    for module in model.head.modules():
        module.register_forward_hook(lambda *call: calls.append(call))
        module.register_forward_pre_hook(lambda *call: calls.append(call))
    assert model.macs(member())['head'] > 0
    assert not calls
    model.head(model.backbone(images().double()))
    assert len(calls) == 8


def test_another_head_is_counted_anew() -> None:
    model, other = classifier(), classifier(head=HEADS['vit_hidden'])
    before, expected = model.macs(member()), other.macs(member())
    model.head = other.head
    assert model.macs(member()) == expected != before
    assert copy.deepcopy(model).params() == other.params()


@MODELS.register_module()
class TwoMaps(nn.Module):
    """A leaf, then a second map that is run in some way."""

    def __init__(self, num_classes: int, in_channels: int) -> None:
        super().__init__()
        self.fc = nn.Linear(in_channels, OWN)
        self.last = nn.Bilinear(OWN, OWN, CLASSES)
        self.map = nn.Linear(OWN, CLASSES)
        self.unused = nn.Bilinear(OWN, OWN, CLASSES)

    def forward(self, x: tuple[Tensor, ...]) -> Tensor:
        return self.run(self.fc(x[-1]))

    def run(self, x: Tensor) -> Tensor:
        raise NotImplementedError


@pytest.mark.parametrize(
    ('run', 'is_counted'),
    [
        (lambda head, x: head.last(x, x), False),
        (lambda head, x: head.map(x), True),
    ],
)
def test_a_map_that_is_not_counted_is_warned_of(
    run: Callable[..., Tensor],
    is_counted: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reading = Reading({'fc': Leaf()})
    monkeypatch.setitem(_DESCRIBE, TwoMaps, lambda head, live: reading)
    monkeypatch.setattr(TwoMaps, 'run', run)
    model = classifier(head=dict(type='TwoMaps'))
    if is_counted:
        with warnings.catch_warnings():
            warnings.simplefilter('error')
            macs = model.macs(member())['head']
        assert macs == 14 * OWN + OWN * CLASSES
        return
    with pytest.warns(
        UserWarning, match=r'head: TwoMaps.last is a Bilinear, of which'
    ):
        model.macs(member())


def test_every_head_is_counted_without_a_warning() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        for head in HEADS.values():
            assert classifier(head=head).macs(member())['head'] > 0
