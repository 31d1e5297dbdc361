"""The supernet against the stock network and against dense ones by hand."""

from copy import deepcopy

import numpy as np
import pytest
import torch
from mmpretrain.models import VisionTransformer
from steps import assert_gradients, gradients
from toys import (
    ARCH,
    Case,
    close,
    dense_twin,
    images,
    member,
    options,
    random_backbone,
    random_case,
    randomise,
    small_stock,
    small_vit,
)

from eavit_mm.models import ElasticVisionTransformer
from eavit_mm.models.axes import narrow_weights

SEEDS = range(45)
OUT_TYPES = ['cls_token', 'raw', 'featmap', 'avg_featmap']

# The largest subnet is the stock network


def assert_is_stock(
    vit: ElasticVisionTransformer, stock: VisionTransformer, x: torch.Tensor
) -> None:
    """Same names in the same order, weights both ways, same features."""
    randomise(stock)
    assert list(vit.state_dict()) == list(stock.state_dict())
    vit.load_state_dict(stock.state_dict(), strict=True)
    vit.eval(), stock.eval()
    with torch.no_grad():
        close(vit(x), stock(x), 1e-5)
        with vit.use(vit.space.largest):
            close(vit(x), stock(x), 1e-5)
        with vit.frozen(vit.space.largest):
            close(vit(x), stock(x), 1e-5)
        randomise(vit, seed=5)
        before = stock(x)
        stock.load_state_dict(vit.state_dict(), strict=True)
        assert not torch.allclose(before[-1], stock(x)[-1], atol=1e-2)
        close(vit(x), stock(x), 1e-5)


@pytest.mark.parametrize('seed', range(20))
def test_largest_is_stock(seed: int) -> None:
    """With images of the usual size, and of another one."""
    cfg = random_backbone(np.random.default_rng(seed))
    del cfg['space'], cfg['num_register_tokens']
    for added in (0, 3):
        vit, stock = (
            kind(**deepcopy(cfg))
            for kind in (ElasticVisionTransformer, VisionTransformer)
        )
        size = (cfg['in_channels'], *(n + added for n in cfg['img_size']))
        assert_is_stock(vit, stock, torch.randn(2, *size))


@pytest.mark.parametrize('mode', ['bilinear', 'bicubic'])
def test_interpolation_is_the_configured_one(mode: str) -> None:
    vit = randomise(small_vit(interpolate_mode=mode))
    dense = dense_twin(vit, member(), options(interpolate_mode=mode))
    x = images(size=(16, 8))
    with vit.use(member()):
        close([vit(x)[0][:, :14]], dense(x), 1e-5)


@pytest.mark.parametrize(
    'extra', [{}, dict(layer_scale_init_value=0.1), dict(pre_norm=True)]
)
def test_initialisation_is_the_stock_networks(extra: dict) -> None:
    networks = []
    for build in (small_vit, small_stock):
        torch.manual_seed(0)
        networks.append(build(**extra))
        networks[-1].init_weights()
    for (name, a), (other, b) in zip(
        networks[0].named_parameters(),
        networks[1].named_parameters(),
        strict=True,
    ):
        assert name == other
        torch.testing.assert_close(a, b, rtol=0, atol=0)
        depths = [net.get_layer_depth(name) for net in networks]
        assert depths[0] == depths[1]


def test_frozen_stages_freeze_registers() -> None:
    vit = small_vit(num_register_tokens=2, frozen_stages=1)
    assert vit.cls_token.shape[1] == 3
    assert not vit.cls_token.requires_grad
    assert not vit.pos_embed.requires_grad


# A subnet is the dense network by hand


def check_case(case: Case) -> None:
    """Features and all gradients."""
    vit, dense, subnet, x, _ = case
    rng = torch.Generator().manual_seed(7)
    inputs = [x.clone().requires_grad_() for _ in range(2)]
    with vit.use(subnet):
        outs = vit(inputs[0])
    expected = dense(inputs[1])
    close(outs, expected, 1e-9)  # of the open channels alone
    weights = [
        torch.randn(out.shape, generator=rng, dtype=out.dtype) for out in outs
    ]
    for found in (outs, expected):
        pairs = zip(found, weights, strict=True)
        sum((o * w).sum() for o, w in pairs).backward()
    close([inputs[0].grad], [inputs[1].grad], 1e-9)
    found = gradients(vit)
    assert_gradients(found, gradients(dense))
    for name, gradient in found.items():
        # Where no slice is, exactly nothing arrives.
        used = dense.used.get(name, torch.zeros_like(gradient).bool())
        assert not gradient[~used].any(), name
    with torch.no_grad(), vit.frozen(subnet):
        close(vit(x), expected, 1e-9)


@pytest.mark.parametrize('seed', SEEDS)
def test_sliced_is_dense(seed: int) -> None:
    check_case(random_case(seed, batch=seed % 3 + 1))


def test_narrow_heads_and_suffixes_are_dense() -> None:
    """Scala's: of each head some channels, at the scale of the whole one."""
    met = set()
    for seed in range(12):
        case = random_case(seed, batch=1, scala=True)
        check_case(case)
        is_narrow = case.subnet.head_dims < case.vit.geometry.head_dims
        met.add((case.subnet.side, is_narrow and any(case.subnet.num_heads)))
    assert {('prefix', True), ('suffix', True)} <= met


def test_cases_meet_every_option() -> None:
    """The random cases above would mean little without this."""
    seen: dict[str, set] = {}
    for seed in SEEDS:
        vit, _, subnet, x, cfg = random_case(seed)
        D, C = vit.geometry.head_dims, vit.embed_dims
        options = dict(
            out_type=cfg['out_type'],
            cls=cfg['with_cls_token'],
            registers=cfg['num_register_tokens'] > 0,
            registers_alone=vit.num_extra_tokens > cfg['with_cls_token'] == 0,
            final_norm=cfg['final_norm'],
            pre_norm=cfg['pre_norm'],
            patch_norm='norm_cfg' in cfg['patch_cfg'],
            padding='padding' in cfg['patch_cfg'],
            qkv_bias=cfg['qkv_bias'],
            scale=bool(cfg['layer_scale_init_value']),
            swiglu=any(vit.geometry.swiglu),
            attention_off=0 in subnet.num_heads,
            ffn_off=0 in subnet.feedforward_channels,
            all_off=subnet.num_off == 2 * subnet.num_layers,
            multiple_of_head=subnet.embed_dims % D == 0,
            all_channels=subnet.embed_dims == C,
            all_heads=D * max(subnet.num_heads) == C,
            one_head=vit.layers[0].attn.num_heads == 1,
            grey=x.shape[1] == 1,
        )
        for name, value in options.items():
            seen.setdefault(name, set()).add(value)
    assert seen.pop('out_type') == set(OUT_TYPES)
    assert all(values == {True, False} for values in seen.values()), seen


def test_empty_batch() -> None:
    vit = small_vit()
    x = images()[:0]
    with vit.use(member()):
        assert vit(x)[0].shape == (0, member().embed_dims)


def test_weights_that_are_not_contiguous() -> None:
    """As ``load_state_dict(..., assign=True)`` may leave them."""
    vit = randomise(small_vit())
    x = images()
    with vit.use(member()):
        expected = vit(x)
    for p in vit.parameters():
        if p.ndim == 2:
            p.data = p.data.T.contiguous().T
    for manner in (vit.use, vit.frozen):
        with manner(member()):
            close(vit(x), expected, 1e-5)


# Training mode


NARROW = {**ARCH, 'embed_dims': 8, 'num_heads': 2, 'feedforward_channels': 12}
NARROW_SUBNET = member(8, (2, 2, 2), (12, 12, 12))


@pytest.mark.parametrize('frozen', [False, True])
@pytest.mark.parametrize('active', ['none', 'narrow'])
@pytest.mark.parametrize(
    'rates',
    [
        dict(drop_path_rate=0.5),
        dict(
            drop_rate=0.2,
            drop_path_rate=0.5,
            layer_scale_init_value=0.5,
            layer_cfgs=dict(attn_drop_rate=0.2),
        ),
    ],
)
def test_noise_of_training_is_the_stock_networks(
    rates: dict, active: str, frozen: bool
) -> None:
    """Same seed, same noise: it falls at the same places in the same order.

    Some subnets are stock networks themselves.
    """
    vit = randomise(small_vit(**rates))
    subnet = NARROW_SUBNET if active == 'narrow' else None
    stock = small_stock(**rates, arch=NARROW if subnet else ARCH)
    stock.load_state_dict(narrow_weights(vit, subnet or vit.space.largest))
    x = images(batch=5)
    use = vit.frozen if frozen else vit.use
    outs = []
    for network in (vit, stock):
        torch.manual_seed(0)
        with use(subnet):
            outs.append(network(x)[0])
    width = stock.embed_dims
    close([outs[0][:, :width]], [outs[1]], 1e-5)
    vit.eval(), stock.eval()
    with use(subnet):
        quiet = vit(x)[0]
        close([vit(x)[0]], [quiet], 0.0)
    close([quiet[:, :width]], stock(x), 1e-5)
    assert not torch.allclose(outs[0], quiet, atol=1e-3)


@pytest.mark.parametrize('stages', [0, 1, 3])
def test_frozen_stages(stages: int) -> None:
    cfg = dict(frozen_stages=stages, out_type='avg_featmap')
    vit, stock = small_vit(**cfg), small_stock(**cfg)
    needed = {n: p.requires_grad for n, p in stock.named_parameters()}
    assert {n: p.requires_grad for n, p in vit.named_parameters()} == needed
    modes = {n: m.training for n, m in stock.named_modules()}
    own = {n: m.training for n, m in vit.named_modules()}
    assert {n: own[n] for n in modes} == modes
    randomise(vit)
    with vit.use(member(num_heads=(1, 2, 4), feedforward_channels=(1, 7, 7))):
        out = vit(images())[0]
    assert out.requires_grad == any(needed.values())
    if out.requires_grad:
        out.square().sum().backward()
    for name, p in vit.named_parameters():
        arrived = p.grad is not None and bool(p.grad.any())
        assert arrived == needed[name], name


def test_hooks_of_an_activation_run_without_gradients() -> None:
    """GELU runs in place there, unless somebody wants to see it."""
    vit, seen = small_vit(), []
    vit.layers[1].ffn.layers[0][1].register_forward_hook(
        lambda module, inputs, output: seen.append(output)
    )
    with torch.no_grad(), vit.use(member()):
        vit(images())
    assert len(seen) == 1
