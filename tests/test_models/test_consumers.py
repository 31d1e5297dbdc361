"""Necks and heads that are cut, permuted and counted."""

import copy

import pytest
import torch
from mmpretrain.models.heads import LinearClsHead
from mmpretrain.registry import MODELS
from torch import nn
from toys import CLASSES, HEADS, SPACE, classifier, images, options, randomise

from eavit_mm.models import (
    cut_consumer,
    permute_consumer,
    register_consumer,
)
from eavit_mm.models.consumers import (
    channel_axes,
    consumer_macs,
    consumer_params,
)

CHANNELS = 24
WIDTHS = [1, 5, 14, 23, 24]
ALL_HEADS = {
    **HEADS,
    'multi_label': dict(type='MultiLabelLinearClsHead'),
    'stacked_norm': dict(
        type='StackedLinearClsHead',
        mid_channels=[11, 13],
        norm_cfg=dict(type='BN1d'),
    ),
    # As wide inside as its input: only the first weight may be cut.
    'stacked_square': dict(
        type='StackedLinearClsHead', mid_channels=[CHANNELS, CHANNELS]
    ),
    'vit_square': dict(type='VisionTransformerClsHead', hidden_dim=CHANNELS),
}


def build(name: str, in_channels: int = CHANNELS) -> nn.Module:
    head = MODELS.build(
        dict(num_classes=CLASSES, in_channels=in_channels, **ALL_HEADS[name])
    )
    randomise(head).double().eval()
    for module in head.modules():
        if isinstance(module, nn.BatchNorm1d):
            nn.init.uniform_(module.running_mean)
            nn.init.uniform_(module.running_var, 0.5, 2)
    return head


def features(channels: int = CHANNELS) -> torch.Tensor:
    rng = torch.Generator().manual_seed(1)
    return torch.randn(3, channels, generator=rng).double()


@pytest.mark.parametrize('width', WIDTHS)
@pytest.mark.parametrize('name', ALL_HEADS)
def test_cut_head_reads_what_the_padded_one_reads(
    name: str, width: int
) -> None:
    head, x = build(name), features()
    padded = torch.cat([x[:, :width], torch.zeros_like(x[:, width:])], dim=1)
    expected = head((padded,))
    cut = cut_consumer(head, width)
    cut.eval()
    assert type(cut) is type(head)
    actual = cut((x[:, :width],))
    torch.testing.assert_close(actual, expected, rtol=0, atol=1e-12)
    # It is the head that a config of this width builds.
    fresh = build(name, in_channels=width)
    fresh.load_state_dict(cut.state_dict(), strict=True)
    torch.testing.assert_close(fresh((x[:, :width],)), actual)
    assert cut.in_channels == width
    linears = [m for m in cut.modules() if isinstance(m, nn.Linear)]
    assert all(m.weight.shape[1] == m.in_features for m in linears)


@pytest.mark.parametrize('name', ALL_HEADS)
def test_cut_is_a_copy(name: str) -> None:
    head, x = build(name), features()
    expected = head((x,))
    cut = cut_consumer(head, CHANNELS)
    randomise(cut, seed=9)
    torch.testing.assert_close(head((x,)), expected, rtol=0, atol=0)
    assert head.in_channels == CHANNELS
    cut_consumer(head, 3)
    assert head.in_channels == CHANNELS


def test_cut_keeps_what_is_frozen() -> None:
    head = build('stacked')
    first = 'layers.0.fc.weight'
    head.get_parameter(first).requires_grad = False
    cut = cut_consumer(head, 5)
    needed = {n: p.requires_grad for n, p in cut.named_parameters()}
    assert needed == {n: n != first for n in needed}


@pytest.mark.parametrize('name', ALL_HEADS)
def test_permuted_head(name: str) -> None:
    head, x = build(name), features()
    expected = head((x,))
    rng = torch.Generator().manual_seed(2)
    order = torch.randperm(CHANNELS, generator=rng)
    before = dict(head.named_parameters())
    permute_consumer(head, order)
    actual = head((x[:, order],))
    torch.testing.assert_close(actual, expected, rtol=0, atol=1e-12)
    assert not torch.allclose(head((x,)), expected)
    # In place: an optimizer still holds the same parameters.
    assert all(p is before[n] for n, p in head.named_parameters())
    permute_consumer(head, order.argsort())
    torch.testing.assert_close(head((x,)), expected, rtol=0, atol=0)


def test_average_pool_neck() -> None:
    neck = MODELS.build(dict(type='GlobalAveragePooling'))
    x = torch.randn(2, CHANNELS, 2, 3)
    cut = cut_consumer(neck, 5)
    permute_consumer(neck, torch.arange(CHANNELS).flip(0))
    torch.testing.assert_close(cut(x[:, :5]), neck(x)[:, :5])
    assert consumer_params(neck, 5) == consumer_macs(neck, 5) == 0
    model = classifier(
        backbone=dict(out_type='featmap'), neck=dict(neck_cfg())
    )
    assert list(model.consumers) == ['neck', 'head']
    assert model.macs()['neck'] == model.params()['neck'] == 0


def neck_cfg() -> dict:
    return dict(type='GlobalAveragePooling')


@pytest.mark.parametrize('width', WIDTHS)
@pytest.mark.parametrize('name', ALL_HEADS)
def test_counts_are_those_of_the_cut_head(name: str, width: int) -> None:
    head = build(name)
    cut = cut_consumer(head, width)
    params = sum(p.numel() for p in cut.parameters())
    assert consumer_params(head, width) == params
    linears = [m.weight for m in cut.modules() if isinstance(m, nn.Linear)]
    macs = sum(w.numel() for w in linears)
    assert consumer_macs(head, width) == macs


# What is not known is refused


class SubclassedHead(LinearClsHead):
    """May read its features in another way."""


class NormFirstHead(nn.Module):
    def __init__(self, num_classes: int, in_channels: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(in_channels)
        self.fc = nn.Linear(in_channels, num_classes)


for kind in (SubclassedHead, NormFirstHead):
    MODELS.register_module(module=kind, force=True)


@pytest.mark.parametrize('kind', ['SubclassedHead', 'NormFirstHead'])
def test_unknown_head_is_refused_at_build(kind: str) -> None:
    with pytest.raises(
        ValueError,
        match=f'{kind} reads the features of an elastic backbone, but how to '
        'cut it is not known; known are .*LinearClsHead.*register_consumer',
    ):
        classifier(head=dict(type=kind))


def test_unknown_neck_is_refused_at_build() -> None:
    neck = dict(type='GeneralizedMeanPooling')
    with pytest.raises(ValueError, match='GeneralizedMeanPooling reads'):
        classifier(backbone=dict(out_type='featmap'), neck=neck)


@pytest.mark.parametrize(
    'call',
    [
        lambda head: channel_axes(head),
        lambda head: cut_consumer(head, 3),
        lambda head: permute_consumer(head, torch.arange(4)),
        lambda head: consumer_macs(head, 3),
        lambda head: consumer_params(head, 3),
    ],
)
def test_unknown_consumer_is_refused_by_every_function(call) -> None:
    with pytest.raises(ValueError, match='NormFirstHead reads'):
        call(NormFirstHead(3, 4))


def test_registered_consumer(monkeypatch: pytest.MonkeyPatch) -> None:
    from eavit_mm.models import consumers

    monkeypatch.setattr(consumers, '_AXES', dict(consumers._AXES))
    register_consumer(SubclassedHead, lambda head: {'fc.weight': 1})
    model = classifier(head=dict(type='SubclassedHead'))
    assert model.macs()['head'] == CLASSES * CHANNELS
    assert cut_consumer(model.head, 5).fc.weight.shape == (CLASSES, 5)


def test_backbone_must_be_elastic() -> None:
    stock = dict(type='VisionTransformer', **options())
    with pytest.raises(
        ValueError,
        match='backbone VisionTransformer is not elastic; use '
        "type='eavit_mm.ElasticVisionTransformer'",
    ):
        MODELS.build(
            dict(
                type='eavit_mm.ElasticImageClassifier',
                backbone=stock,
                head=dict(type='LinearClsHead', num_classes=3, in_channels=24),
            )
        )


def test_cut_model_is_the_sliced_model() -> None:
    """Neck and head behind the sliced backbone, padded or cut."""
    for name in HEADS:
        model = classifier(
            head=HEADS[name],
            backbone=dict(out_type='featmap', space=SPACE),
            neck=neck_cfg(),
        )
        x = images().double()
        subnet = model.backbone.space.uniform(0.5)
        with torch.no_grad(), model.backbone.use(subnet):
            logits = model(x)
            E = subnet.embed_dims
            open_features = tuple(f[:, :E] for f in model.backbone(x))
        cut = cut_consumer(copy.deepcopy(model.head), E)
        actual = cut(model.neck(open_features))
        torch.testing.assert_close(actual, logits, rtol=0, atol=1e-12)
