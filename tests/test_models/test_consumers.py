"""Necks and heads: sliced = cut = gated, permuted, counted, or refused."""

import copy
from typing import Any

import pytest
import torch
from made_up import CLASSES as MAPS
from made_up import FLOWS, OWN, ConvHead, register_made_up
from mmengine.model import convert_sync_batchnorm, revert_sync_batchnorm
from mmpretrain.models.heads import LinearClsHead
from mmpretrain.registry import MODELS
from torch import Tensor, nn
from toys import (
    CLASSES,
    HEADS,
    classifier,
    gates_for,
    images,
    member,
    options,
    random_subnet,
    randomise,
    small_vit,
)

from eavit_mm.models import Leaf, Reading
from eavit_mm.models.consumers import (
    _DESCRIBE,
    count_consumers,
    cut_consumers,
    leaves_of,
    make_elastic,
    register_consumer,
)
from eavit_mm.models.leaves import ElasticLeaf

CHANNELS = 24
EXACT = dict(rtol=0, atol=1e-12)
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


@pytest.fixture(autouse=True)
def made_up() -> Any:
    yield from register_made_up()


def spread(module: nn.Module, seed: int = 0) -> Any:
    """Random weights and statistics, in float64 and evaluation mode."""
    randomise(module, seed).double().eval()
    rng = torch.Generator().manual_seed(seed)
    for name, buffer in module.named_buffers():
        if buffer.is_floating_point():
            noise = torch.rand(buffer.shape, generator=rng).double()
            buffer.copy_(noise + float('var' in name))
    return module


def backbone() -> Any:
    return spread(small_vit(out_type='featmap', out_indices=[0, 1, 2]))


def build(name: str, vit: Any) -> dict[str, nn.Module]:
    consumers = {
        part: spread(module, seed=len(part))
        for part, module in FLOWS[name]().items()
    }
    make_elastic(consumers, vit)
    return consumers


def run(consumers: dict[str, nn.Module], levels: Any) -> list[Tensor]:
    """What the heads give behind the neck."""
    parts = dict(consumers)
    neck = parts.pop('neck', None)
    levels = levels if neck is None else neck(levels)
    return [head(levels) for head in parts.values()]


def cut(consumers: dict[str, nn.Module], width: int) -> dict[str, nn.Module]:
    return cut_consumers(consumers, 3, width)


def close(actual: list[Tensor], expected: list[Tensor]) -> None:
    for a, b in zip(actual, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)


# mmpretrain's heads


@pytest.mark.parametrize('width', [5, 14, 24])
@pytest.mark.parametrize('name', ALL_HEADS)
def test_a_head_of_some_width_is_the_stock_head(name: str, width: int) -> None:
    cfg = ALL_HEADS[name]
    model = spread(classifier(head=cfg))
    cut_head = cut_consumers(model.consumers, 1, width)['head']
    assert cut_head.in_channels == width
    assert type(cut_head) is type(model.head)
    assert not [m for m in cut_head.modules() if isinstance(m, ElasticLeaf)]
    # It is the head that a config of this width builds.
    fresh = MODELS.build(dict(num_classes=CLASSES, in_channels=width, **cfg))
    fresh.double().eval()
    fresh.load_state_dict(cut_head.state_dict(), strict=True)
    x = torch.randn(3, width).double()
    expected = fresh((x,))
    subnet = member(width)
    with model.backbone.use(subnet):
        torch.testing.assert_close(model.head((x,)), expected, **EXACT)
    torch.testing.assert_close(cut_head((x,)), expected, **EXACT)
    linears = [m for m in fresh.modules() if isinstance(m, nn.Linear)]
    macs = sum(linear.weight.numel() for linear in linears)
    assert model.macs(subnet)['head'] == macs
    params = sum(p.numel() for p in fresh.parameters())
    assert model.params(subnet)['head'] == params


def test_leaves_keep_names_parameters_and_what_is_frozen() -> None:
    head = MODELS.build(
        dict(
            num_classes=CLASSES,
            in_channels=CHANNELS,
            **ALL_HEADS['stacked_norm'],
        )
    )
    first = 'layers.0.fc.weight'
    head.get_parameter(first).requires_grad = False
    before = dict(head.named_parameters())
    names = list(head.state_dict())
    make_elastic({'head': head}, small_vit())
    assert list(head.state_dict()) == names
    assert dict(head.named_parameters()) == before
    assert isinstance(head.layers[0].fc, nn.Linear)
    needed = {
        n: p.requires_grad
        for n, p in cut_consumers({'head': head}, 1, 5)[
            'head'
        ].named_parameters()
    }
    assert needed == {n: n != first for n in needed}


def test_a_copy_of_a_model_follows_its_own_backbone() -> None:
    model = classifier(
        backbone=dict(out_type='featmap'),
        neck=dict(type='GlobalAveragePooling'),
    )
    twin = copy.deepcopy(model)
    for one in (model, twin):
        assert one.head.fc.active is one.backbone.active
        assert one.macs(member())['neck'] == one.params()['neck'] == 0
    assert twin.backbone.active is not model.backbone.active


# Consumers of every shape


@pytest.mark.parametrize('seed', range(3))
@pytest.mark.parametrize('name', FLOWS)
def test_sliced_is_cut_is_gated(name: str, seed: int) -> None:
    vit = backbone()
    consumers = build(name, vit)
    subnet = random_subnet(vit.space, seed)
    x = images(batch=4).double()
    gates = gates_for(vit, subnet)
    found = []
    for context in (vit.use(subnet), vit.gated(gates)):
        modules = [vit, *consumers.values()]
        for module in modules:
            module.zero_grad()
        with context:
            outs = run(consumers, vit(x))
        sum(out.sin().sum() for out in outs).backward()
        gradients = [
            torch.zeros_like(p) if p.grad is None else p.grad.clone()
            for module in modules
            for p in module.parameters()
        ]
        found.append((outs, gradients))
    close(found[1][0], found[0][0])
    close(found[1][1], found[0][1])
    with torch.no_grad(), vit.use(subnet):
        levels = vit(x)
    assert levels[0].shape[1] == subnet.embed_dims
    close(run(cut(consumers, subnet.embed_dims), levels), found[0][0])


@pytest.mark.parametrize('name', FLOWS)
def test_permuted_is_the_same_function(name: str) -> None:
    vit = backbone()
    consumers = build(name, vit)
    with torch.no_grad():
        levels = vit(images().double())
        expected = run(consumers, levels)
        rng = torch.Generator().manual_seed(2)
        order = torch.randperm(CHANNELS, generator=rng)
        own = [p for m in consumers.values() for p in m.parameters()]
        for consumer in consumers.values():
            for leaf in leaves_of(consumer):
                leaf.permute(order)
        moved = [level[:, order] for level in levels]
        close(run(consumers, tuple(moved)), expected)
    # In place: an optimizer still holds the same parameters.
    after = [p for m in consumers.values() for p in m.parameters()]
    assert all(a is b for a, b in zip(after, own, strict=True))


def test_counts_are_those_at_the_real_resolution() -> None:
    """By hand, on a grid of 2 x 3 patches."""
    E, grid = 14, 6
    expected = dict(
        conv=dict(head=(E * OWN * 9 + OWN * MAPS) * grid),
        concat=dict(head=(E * OWN * 9 + (2 * OWN + E) * MAPS) * grid),
        twice=dict(head=(2 * E + OWN) * MAPS * grid),
        norms_first=dict(head=E * MAPS * grid),
        map_first=dict(head=E * E * grid * 5 + E * MAPS * 4 * grid),
        pyramid=dict(
            # A pool halves the last level to 1 x 1.
            neck=E * OWN * 4 * grid,
            head=OWN * MAPS * 4 * grid + E * MAPS * grid + E * MAPS,
            other=E * OWN * 9 + OWN * MAPS,
        ),
    )
    vit = backbone()
    for name, macs in expected.items():
        consumers = build(name, vit)
        counts = count_consumers(consumers, vit.empty_features(E))
        assert {part: count.macs for part, count in counts.items()} == macs
        for part, module in cut(consumers, E).items():
            params = sum(p.numel() for p in module.parameters())
            assert counts[part].params == params


def test_statistics_of_closed_channels_are_not_learnt() -> None:
    vit, subnet = backbone(), member()
    gates = gates_for(vit, subnet)
    x, found = images(batch=4).double(), []
    for context in (vit.use(subnet), vit.gated(gates)):
        head = build('norms_first', vit)['head'].train()
        before = head.bn.running_var.clone()
        with context:
            head(vit(x))
        found.append(head.bn)
        E = subnet.embed_dims
        assert torch.equal(head.bn.running_var[E:], before[E:])
        assert (head.bn.running_var[:E] != before[:E]).all()
        assert head.bn.num_batches_tracked == 1
    close([found[0].running_mean], [found[1].running_mean])
    close([found[0].running_var], [found[1].running_var])


def test_a_frozen_subnet_narrows_each_leaf_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    vit, x = backbone(), images(batch=4).double()
    head = build('concat', vit)['head']
    narrowed, narrow = [], ElasticLeaf.narrow

    def record(leaf: ElasticLeaf, *widths: Any) -> nn.Module:
        narrowed.append(leaf)
        return narrow(leaf, *widths)

    monkeypatch.setattr(ElasticLeaf, 'narrow', record)
    with torch.no_grad():
        for factor in (1, 2):  # of weights, which may change between blocks
            head.conv.weight.mul_(factor)
            with vit.use(member()):
                expected = head(vit(x))
            narrowed.clear()
            with vit.frozen(member()):
                for _ in range(3):
                    close([head(vit(x))], [expected])
                head.train()
                head(vit(x))  # its mode counts
                head.eval()
            assert narrowed == [head.conv, head.cat] * 2


@pytest.mark.parametrize(
    'convert',
    [
        nn.SyncBatchNorm.convert_sync_batchnorm,
        convert_sync_batchnorm,
        lambda model: revert_sync_batchnorm(convert_sync_batchnorm(model)),
    ],
)
def test_conversions_of_batch_norms_keep_the_leaves(convert: Any) -> None:
    model = classifier(
        backbone=dict(out_type='featmap', out_indices=[0, 1, 2])
    )
    model.head = spread(FLOWS['norms_first']()['head'])
    vit, x = model.eval().backbone, images(batch=4).double()
    make_elastic(model.consumers, vit)
    kind, names = type(model.head.bn), list(model.state_dict())
    gates = gates_for(vit, member())
    manners = (
        lambda: vit.use(None),
        lambda: vit.use(member()),
        lambda: vit.gated(gates),
    )

    def outputs() -> list[Tensor]:
        found = []
        for manner in manners:
            with torch.no_grad(), manner():
                found.append(model.head(vit(x)))
        return found

    before, counts = outputs(), model.params(member())
    model = convert(model).eval()  # mmengine forgets the mode
    assert isinstance(model.head.bn, ElasticLeaf)
    assert type(model.head.bn) is not kind
    close(outputs(), before)
    assert list(model.state_dict()) == names
    model._consumer_counts.clear()
    assert model.params(member()) == counts


# What is not known is refused


class SubclassedHead(LinearClsHead):
    """May read its features in another way."""


@MODELS.register_module(force=True)
class GroupHead(nn.Module):
    def __init__(self, num_classes: int, in_channels: int) -> None:
        super().__init__()
        self.gn = nn.GroupNorm(2, in_channels)
        self.grouped = nn.Conv2d(in_channels, 4, 1, groups=2)
        self.plain = nn.LayerNorm(in_channels, elementwise_affine=False)
        self.bn = nn.BatchNorm2d(2 * in_channels)
        self.map = nn.Linear(in_channels, num_classes)


MODELS.register_module(module=SubclassedHead, force=True)


@pytest.mark.parametrize(
    ('part', 'kind'),
    [('head', 'SubclassedHead'), ('neck', 'GeneralizedMeanPooling')],
)
def test_unknown_types_are_refused_at_build(part: str, kind: str) -> None:
    with pytest.raises(
        ValueError,
        match=f'{part}: {kind} reads the features of an elastic backbone, but '
        'how is not known; known are .*LinearClsHead.*register_consumer',
    ):
        classifier(
            backbone=dict(out_type='featmap'), **{part: dict(type=kind)}
        )


@pytest.mark.parametrize(
    ('path', 'leaf', 'words'),
    [
        ('gn', Leaf(), r'head.gn: GroupNorm over channels .* only \[.*Linear'),
        ('grouped', Leaf(), 'head.grouped: groups=2; channels in groups'),
        ('plain', Leaf(), 'head.plain: a LayerNorm without weight and bias'),
        ('bn', Leaf((0, 24)), 'head.bn: a BatchNorm over the blocks'),
        (
            'map',
            Leaf((0, 3)),
            'head.map: in_channels=24; must be 27: the backbone has embed',
        ),
        ('map', Leaf(passes=True), 'head.map: out_channels=9; must be the'),
    ],
)
def test_leaves_that_cannot_be_narrowed(
    path: str, leaf: Leaf, words: str
) -> None:
    register_consumer(GroupHead, lambda head, live: Reading({path: leaf}))
    with pytest.raises(ValueError, match=words):
        classifier(head=dict(type='GroupHead'))


@pytest.mark.parametrize('is_module', [False, True])
def test_shared_weights_are_refused(is_module: bool) -> None:
    vit, head, other = backbone(), ConvHead(CHANNELS), ConvHead(CHANNELS)
    if is_module:
        other.cls = head.conv
    else:
        other.conv.weight = head.conv.weight
    place = 'cls' if is_module else 'conv'
    with pytest.raises(
        ValueError, match=rf'other.{place}.weight is head.conv.weight; weights'
    ):
        make_elastic(dict(head=head, other=other), vit)
    own = ConvHead(CHANNELS)
    own.bn.weight = own.bn.bias  # none of the backbone's
    make_elastic(dict(head=own), vit)


def test_a_registered_subclass_is_read() -> None:
    register_consumer(SubclassedHead, _DESCRIBE[LinearClsHead])
    model = classifier(head=dict(type='SubclassedHead'))
    assert model.macs(member())['head'] == CLASSES * 14


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
