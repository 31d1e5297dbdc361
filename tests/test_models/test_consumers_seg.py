"""mmseg's necks and heads: sliced = gated = exported, and counted."""

from copy import deepcopy
from dataclasses import replace
from typing import Any

import pytest
import torch
from mmseg.models.decode_heads import FCNHead
from segmentors import (
    FLOWS,
    OTHER_SIZE,
    SCALA,
    SIDE,
    C,
    config,
    head,
    many,
    outputs,
    pyramid,
    segmentor,
    uper,
)
from steps import assert_gradients, gradients
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode
from toys import close, gates_for, images, random_subnet

from eavit_mm.export import dense_network
from eavit_mm.models.axes import units_of
from eavit_mm.models.consumers_seg import _describe_fcn
from eavit_mm.rearrange.permute import apply_permutation
from eavit_mm.space import Subnet

# Networks of even seeds have a class token; that of the last is a suffix.
BACKBONES: tuple[dict[str, Any], ...] = (
    dict(),
    dict(with_cls_token=False, final_norm=True, img_size=OTHER_SIZE),
    dict(space=SCALA, num_register_tokens=2),
)


def case(name: str, seed: int) -> tuple[Any, Any, Subnet]:
    """A random segmentor, its config, and a subnet."""
    cfg = config(name, backbone=BACKBONES[seed])
    model = segmentor(deepcopy(cfg), seed)
    subnet = random_subnet(model.backbone.space, seed)
    if model.backbone.space.suffix_smallest:
        narrow = replace(subnet, embed_dims=1, head_dims=2)
        subnet = model.backbone.space.nearest(narrow)
    return model, cfg, subnet


def results(model: Any) -> tuple[list[Tensor], dict[str, Tensor]]:
    """Outputs at two sizes, and gradients of those at the first."""
    model.zero_grad()
    outs = outputs(model)
    sum(out.sin().sum() for out in outs).backward()
    with torch.no_grad():
        return [*outs, *outputs(model, OTHER_SIZE)], gradients(model)


@pytest.mark.parametrize('seed', range(3))
@pytest.mark.parametrize('name', FLOWS)
def test_sliced_is_gated_is_exported(name: str, seed: int) -> None:
    model, cfg, subnet = case(name, seed)
    vit, dense = model.backbone, dense_network(model, cfg, subnet)
    with vit.use(subnet):
        outs, grads = results(model)
    exported, by_exported = results(dense)
    close(exported, outs, 1e-9)
    if subnet.side == 'prefix':
        with vit.gated(gates_for(vit, subnet)):
            gated, by_gates = results(model)
        close(gated, outs, 1e-9)
        assert_gradients(by_gates, grads)
    else:
        with (
            pytest.raises(ValueError, match='head_dims=2 of 4, side=.suffix'),
            vit.gated(gates_for(vit, subnet)),
        ):
            pass
    macs, params = model.macs(subnet), model.params(subnet)
    # With the gradients as weights, the gradients of a subnet are exported.
    for key, p in model.named_parameters():
        p.data = grads[key]
    learnt = dense_network(model, cfg, subnet).named_parameters()
    assert_gradients(by_exported, dict(learnt))
    # With gradients: otherwise torch fuses some attention, uncounted.
    with FlopCounterMode(display=False) as flops, sdpa_kernel(SDPBackend.MATH):
        dense(images(1, vit.img_size).double())
    assert flops.get_total_flops() == 2 * macs['total']
    assert not any(n for part, n in macs.items() if 'auxiliary' in part)
    for part, number in params.items():
        module = dense.get_submodule('' if part == 'total' else part)
        assert sum(p.numel() for p in module.parameters()) == number


@pytest.mark.parametrize('name', FLOWS)
def test_permuted_is_the_same_function(name: str) -> None:
    model, _, _ = case(name, 0)
    rng, before = torch.Generator().manual_seed(1), outputs(model)
    units = units_of(model.backbone.space.largest)
    order = {k: torch.randperm(n, generator=rng) for k, n in units.items()}
    apply_permutation(model, order)
    close(outputs(model), before, 1e-9)
    apply_permutation(model, order, with_head=False)
    assert (outputs(model)[0] - before[0]).abs().max() > 1e-3


def test_conversions_of_batch_norms_keep_the_leaves() -> None:
    """Also those of a list of auxiliary heads."""
    model, found = segmentor('uper'), []
    subnet = model.backbone.space.smallest
    for _ in range(2):
        with torch.no_grad(), model.backbone.use(subnet):
            found.append(outputs(model))
        model = nn.SyncBatchNorm.convert_sync_batchnorm(model)
    close(*found, 1e-12)


GN, FCN = dict(type='GN', num_groups=4), head('FCN')
DPT: dict[str, Any] = dict(embed_dims=C, post_process_channels=[6] * 4)
DPT = many('DPT', input_transform='multiple_select', **DPT)
TWO = many('FCN', 2 * C, num_convs=0, in_index=[0, 1], **SIDE)
WIDE = [head('FCN', in_channels=C + 1)]
REFUSED: dict[str, dict[str, Any]] = {
    'neck.upsample_4x.1: GroupNorm over channels of the backbone cannot': dict(
        neck=pyramid(GN), decode_head=uper()
    ),
    'decode_head: DPTHead reads the features .* known are .*UPerHead': dict(
        decode_head=DPT
    ),
    'decode_head.conv_cat.conv: out_channels=48; must be the embed': dict(
        decode_head=TWO
    ),
    'auxiliary_head.0.convs.0.conv: in_channels=25; must be 24': dict(
        decode_head=FCN, auxiliary_head=WIDE
    ),
    r'decode_head: UPerHead reads levels \[0, 1, 2, 3\] and is given 2': dict(
        decode_head=uper(), backbone=dict(out_indices=[1, 3])
    ),
    'neck: Feature2Pyramid reads levels .* and is given 1; out_indices': dict(
        neck=pyramid(), decode_head=uper(), backbone=dict(out_indices=[3])
    ),
    "backbone.out_type='raw'; must be 'featmap', which necks and heads": dict(
        decode_head=FCN, backbone=dict(out_type='raw')
    ),
}


@pytest.mark.parametrize('words', REFUSED)
def test_refused(words: str) -> None:
    with pytest.raises(ValueError, match=words):
        segmentor(config(REFUSED[words]))


def test_levels_that_only_partly_are_the_backbones() -> None:
    options = many('FCN', in_index=[0, 1], **SIDE)
    del options['type']
    made = FCNHead(**options)
    with pytest.raises(ValueError, match=r'in_index=\[0, 1\]: the neck pass'):
        _describe_fcn(made, (True, False))
    assert not _describe_fcn(made, (False, False)).leaves
