"""mmseg's necks and heads: sliced = gated = exported = ONNX, and counted."""

from copy import deepcopy
from typing import Any

import pytest
import torch
from mmseg.models.decode_heads import FCNHead
from segmentors import (
    ALL,
    FLOWS,
    OTHER_SIZE,
    SIZE,
    C,
    config,
    fcn,
    outputs,
    segmentor,
)
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode
from toys import close, gates_for, images, random_subnet

from eavit_mm.export import dense_network
from eavit_mm.export.formats import read_onnx, write_onnx
from eavit_mm.models.axes import units_of
from eavit_mm.models.consumers_seg import _describe_fcn
from eavit_mm.rearrange.permute import apply_permutation
from eavit_mm.space import Subnet

# Networks of even seeds have a class token.
BACKBONES = (
    dict(),
    dict(with_cls_token=False, final_norm=True, img_size=OTHER_SIZE),
)


def case(name: str, seed: int) -> tuple[Any, Any, Subnet]:
    """A random segmentor, its config, and a subnet."""
    cfg = config(name, backbone=BACKBONES[seed % len(BACKBONES)])
    model = segmentor(deepcopy(cfg), seed)
    return model, cfg, random_subnet(model.backbone.space, seed)


def trained(model: Any, x: Tensor) -> tuple[list[Tensor], dict[str, Tensor]]:
    """Outputs of all heads, and the gradients of something from them."""
    model.zero_grad()
    outs = outputs(model, x)
    sum(out.sin().sum() for out in outs).backward()
    return outs, {
        name: torch.zeros_like(p) if p.grad is None else p.grad.clone()
        for name, p in model.named_parameters()
    }


def same(actual: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert actual.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(
            actual[name],
            value,
            rtol=1e-9,
            atol=1e-9,
            msg=lambda m, n=name: f'{n}: {m}',
        )


@pytest.mark.parametrize('seed', range(2))
@pytest.mark.parametrize('name', FLOWS)
def test_sliced_is_gated_is_exported(name: str, seed: int) -> None:
    """Outputs at two sizes, gradients, multiply-adds and parameters."""
    model, cfg, subnet = case(name, seed)
    vit, x = model.backbone, images(2, SIZE).double()
    dense = dense_network(model, cfg, subnet)
    gates = gates_for(vit, subnet)
    with vit.use(subnet):
        outs, gradients = trained(model, x)
        others = outputs(model, images(2, OTHER_SIZE).double())
    with vit.gated(gates):
        gated, by_gates = trained(model, x)
        close(gated, outs, 1e-9)
        close(outputs(model, images(2, OTHER_SIZE).double()), others, 1e-9)
    same(by_gates, gradients)
    exported, by_exported = trained(dense, x)
    close(exported, outs, 1e-9)
    close(outputs(dense, images(2, OTHER_SIZE).double()), others, 1e-9)
    # A supernet of the gradients exports those of the subnet.
    learnt = deepcopy(model)
    for key, p in learnt.named_parameters():
        p.data = gradients[key]
    expected = dense_network(learnt, cfg, subnet)
    same(by_exported, dict(expected.named_parameters()))

    macs, params = model.macs(subnet), model.params(subnet)
    # With gradients: otherwise torch fuses some attention, uncounted.
    with (
        FlopCounterMode(display=False) as counter,
        sdpa_kernel(SDPBackend.MATH),
    ):
        dense(images(1, vit.img_size).double())
    flops = counter.get_flop_counts()
    assert counter.get_total_flops() == 2 * macs.pop('total')
    assert sum(p.numel() for p in dense.parameters()) == params.pop('total')
    for part, number in params.items():
        module = dense.get_submodule(part)
        assert sum(p.numel() for p in module.parameters()) == number
        # mmseg calls a head's forward past the counter's hooks.
        counted = flops.get(f'EncoderDecoder.{part}', {})
        if 'head' not in part:
            assert sum(counted.values()) == 2 * macs[part]
        assert (macs[part] == 0) == (part.startswith('auxiliary'))


@pytest.mark.parametrize('name', FLOWS)
def test_permuted_is_the_same_function(name: str) -> None:
    model, *_ = case(name, 0)
    rng, x = torch.Generator().manual_seed(1), images(2, SIZE).double()
    before = outputs(model, x)
    order = {
        units: torch.randperm(number, generator=rng)
        for units, number in units_of(model.backbone.space.largest).items()
    }
    apply_permutation(model, order)
    close(outputs(model, x), before, 1e-9)
    apply_permutation(model, order, with_head=False)
    assert (outputs(model, x)[0] - before[0]).abs().max() > 1e-3


@pytest.mark.parametrize(
    'name', ['multilevel_uper', 'pyramid_ln_fpn', 'segmenter']
)
def test_onnx_is_sliced(name: str, tmp_path: Any) -> None:
    model, cfg, subnet = case(name, 3)
    dense = dense_network(model.float(), cfg, subnet)
    write_onnx(dense, images(2, SIZE), tmp_path / 'model.onnx')
    run = read_onnx(tmp_path / 'model.onnx')
    for batch in (1, 3):
        x = images(batch, SIZE)
        with torch.no_grad(), model.backbone.use(subnet):
            expected = model(x)
        scale = max(1.0, expected.abs().max().item())
        close([run(x)], [expected], 1e-4 * scale)


# What is not known, or cannot be narrowed


@pytest.mark.parametrize(
    ('parts', 'words'),
    [
        (
            dict(
                neck=dict(
                    type='Feature2Pyramid',
                    embed_dim=C,
                    norm_cfg=dict(type='GN', num_groups=4),
                ),
                decode_head=fcn(channels=6),
            ),
            r'neck.upsample_4x.1: GroupNorm over channels of the backbone',
        ),
        (
            dict(decode_head=dict(type='PSPHead', in_channels=C, channels=6)),
            'decode_head: PSPHead reads the features .* known are .*UPerHead',
        ),
        (
            dict(
                decode_head=dict(
                    type='DPTHead',
                    channels=6,
                    embed_dims=C,
                    post_process_channels=[6] * 4,
                    input_transform='multiple_select',
                    **ALL,
                )
            ),
            'DPTHead reads a class token beside every feature map',
        ),
        (
            dict(
                decode_head=fcn(
                    [C] * 2,
                    channels=2 * C,
                    num_convs=0,
                    in_index=[0, 1],
                    input_transform='resize_concat',
                )
            ),
            'decode_head.conv_cat.conv: out_channels=48; must be the embed',
        ),
        (
            dict(
                decode_head=fcn(channels=6),
                auxiliary_head=[fcn(C + 1, channels=6)],
            ),
            'auxiliary_head.0.convs.0.conv: in_channels=25; must be 24',
        ),
    ],
)
def test_refused(parts: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        segmentor(config(parts))


def test_levels_that_only_partly_are_the_backbones() -> None:
    head = FCNHead(
        in_channels=[C, C],
        in_index=[0, 1],
        channels=6,
        num_classes=3,
        input_transform='resize_concat',
    )
    with pytest.raises(
        ValueError, match=r'FCNHead: in_index=\[0, 1\]: the ne'
    ):
        _describe_fcn(head, (True, False))
    assert not _describe_fcn(head, (False, False)).leaves


def test_conversions_of_batch_norms_keep_the_leaves() -> None:
    """Also those of a list of auxiliary heads."""
    model, _, subnet = case('uper', 0)
    x = images(2, SIZE).double()

    def found() -> list[Tensor]:
        with torch.no_grad(), model.backbone.use(subnet):
            return outputs(model, x)

    before = found()
    model = nn.SyncBatchNorm.convert_sync_batchnorm(model)
    close(found(), before, 1e-12)
