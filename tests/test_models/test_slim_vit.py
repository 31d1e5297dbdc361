"""The exported form against the supernet and dense networks by hand."""

from typing import Any

import pytest
import torch
from mmcv.cnn.bricks.drop import DropPath
from toys import (
    SWIGLU,
    Case,
    counted_macs,
    images,
    options,
    random_case,
    randomise,
    small_stock,
    small_vit,
)

from eavit_mm.export.config import backbone_config
from eavit_mm.models import SlimVisionTransformer
from eavit_mm.models.axes import narrow_weights

SEEDS = range(40)
ARCH = dict(
    embed_dims=14,
    num_layers=3,
    num_heads=[2, 0, 4],
    feedforward_channels=[12, 7, 0],
    head_dims=4,
)


def slim(**changes: Any) -> SlimVisionTransformer:
    cfg = {**options(), 'arch': ARCH, **changes}
    return SlimVisionTransformer(**cfg)


def exported(case: Case) -> SlimVisionTransformer:
    cfg = backbone_config(case.cfg, case.subnet)
    assert cfg.pop('type') == 'eavit_mm.SlimVisionTransformer'
    net = SlimVisionTransformer(**cfg).double()
    net.load_state_dict(narrow_weights(case.vit, case.subnet), strict=True)
    return net


def close(actual: Any, expected: Any, atol: float) -> None:
    """Equal, as far as the channels of the narrower one go."""
    assert len(actual) == len(expected) > 0
    for a, b in zip(actual, expected, strict=True):
        wide = b[tuple(map(slice, a.shape))]
        torch.testing.assert_close(a, wide, rtol=0, atol=atol)


@pytest.mark.parametrize('seed', SEEDS)
def test_exported_is_sliced_and_dense(seed: int) -> None:
    case = random_case(seed, batch=7)
    net, vit, subnet, x = exported(case), case.vit, case.subnet, case.x
    E = subnet.embed_dims
    net.eval(), vit.eval()
    with torch.no_grad(), vit.use(subnet):
        outs = net(x)
        close(outs, vit(x), 1e-9)
        close(outs, case.dense(x), 1e-9)
        close(net(x[:1]), vit(x[:1]), 1e-9)
    axis = 1 if vit.out_type == 'featmap' else -1
    assert all(out.shape[axis] == E for out in outs)
    assert sum(p.numel() for p in net.parameters()) == vit.params(subnet)
    assert counted_macs(lambda: net(x[:1])) == vit.macs(subnet)
    net.float(), vit.float()
    with torch.no_grad(), vit.use(subnet):
        scale = max(1.0, *(out.abs().max().item() for out in outs))
        for few in (x.float(), x[:1].float()):
            close(net(few), vit(few), 1e-4 * scale)


@pytest.mark.parametrize('seed', range(0, 70, 10))
def test_other_image_sizes(seed: int) -> None:
    """Position embeddings are resized, by mmpretrain in float32."""
    case = random_case(seed)
    rng = torch.Generator().manual_seed(seed)
    size = [s + 4 for s in case.x.shape[2:]]
    x = torch.randn(2, case.x.shape[1], *size, generator=rng).double()
    with torch.no_grad(), case.vit.use(case.subnet):
        close(exported(case)(x), case.vit(x), 1e-5)


def test_autocast() -> None:
    for seed in range(12):
        case = random_case(seed)
        net, vit, x = exported(case).float(), case.vit.float(), case.x.float()
        net.eval(), vit.eval()
        with (
            torch.no_grad(),
            vit.use(case.subnet),
            torch.autocast('cpu', torch.bfloat16),
        ):
            pairs = zip(net(x), vit(x), strict=True)
        for out, wide in pairs:
            expected = wide[tuple(map(slice, out.shape))].float()
            assert (out.float() - expected).norm() < 3e-2 * expected.norm()


def test_gradients_are_the_subnets() -> None:
    for seed in range(12):
        case = random_case(seed)
        net = exported(case)
        sum(out.square().sum() for out in net(case.x)).backward()
        with case.vit.use(case.subnet):
            sum(out.square().sum() for out in case.vit(case.x)).backward()
        for p in case.vit.parameters():
            p.data = torch.zeros_like(p) if p.grad is None else p.grad
        expected = narrow_weights(case.vit, case.subnet)
        for name, p in net.named_parameters():
            torch.testing.assert_close(
                p.grad, expected[name], rtol=1e-9, atol=1e-9
            )


def test_the_largest_is_the_stock_network() -> None:
    for extra in ({}, dict(layer_scale_init_value=0.3, qkv_bias=False)):
        stock = randomise(small_stock(**extra))
        stock.eval()
        vit = small_vit(**extra)
        cfg = backbone_config(options(**extra), vit.space.largest)
        del cfg['type']
        net = SlimVisionTransformer(**cfg)
        assert list(net.state_dict()) == list(stock.state_dict())
        net.load_state_dict(stock.state_dict(), strict=True)
        net.eval()
        with torch.no_grad():
            close(net(images()), stock(images()), 1e-5)


def test_names_are_those_of_the_stock_network() -> None:
    stock = small_stock(layer_cfgs=SWIGLU, layer_scale_init_value=0.3)
    net = slim(
        layer_cfgs=dict(ffn_type='swiglu_fused'), layer_scale_init_value=0.3
    )
    missing = set(stock.state_dict()) - set(net.state_dict())
    assert set(net.state_dict()) < set(stock.state_dict())
    assert {name.rsplit('.', 1)[0].split('.', 3)[1] for name in missing} == {
        '1',
        '2',
    }
    assert net.layers[0].ffn.w12.out_features == 24  # not rounded
    for name, _ in net.named_parameters():
        assert net.get_layer_depth(name) == stock.get_layer_depth(name)


def test_rates_of_dropped_paths_are_the_layers_own() -> None:
    vit = small_vit(drop_path_rate=0.4, drop_rate=0.1)
    net = slim(drop_path_rate=0.4, drop_rate=0.1)

    def rates(network: Any) -> dict[str, float]:
        return {
            name: m.drop_prob if isinstance(m, DropPath) else m.p
            for name, m in network.named_modules()
            if isinstance(m, DropPath | torch.nn.Dropout)
        }

    own, whole = rates(net), rates(vit)
    assert own == {name: whole[name] for name in own}
    assert own['layers.2.attn.out_drop'] == pytest.approx(0.4)
    assert own['layers.0.ffn.layers.2'] == 0.1


def test_initialisation_is_that_of_the_stock_layers() -> None:
    net = slim()  # its last layer has no FFN
    for layer in net.layers[:2]:
        layer.ffn.layers[1].bias.data.fill_(5.0)
    net.init_weights()
    assert all(
        layer.ffn.layers[1].bias.abs().max() < 1e-4 for layer in net.layers[:2]
    )


def test_attention_dropout_only_in_training() -> None:
    net = slim(layer_cfgs=dict(attn_drop_rate=0.5))
    randomise(net)
    x = images()
    net.eval()
    close(net(x), net(x), 0.0)
    net.train()
    assert not torch.equal(net(x)[0], net(x)[0])


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        (dict(arch='b'), "arch='b'; must be a dict of widths"),
        (dict(arch=dict(ARCH, head_dims=0)), 'arch: head_dims=0; must be'),
        (dict(qk_scale=0), 'qk_scale=0; must be positive'),
        (
            dict(arch={k: v for k, v in ARCH.items() if k != 'head_dims'}),
            r"arch: unknown keys \[\], missing keys \['head_dims'\]; valid",
        ),
        (
            dict(arch=dict(ARCH, side='prefix')),
            r"arch: unknown keys \['side'\]",
        ),
        (
            dict(arch=dict(ARCH, num_heads=[1, -2, 3])),
            'arch: layer 1: num_heads=-2; must be',
        ),
        (dict(arch=dict(ARCH, num_heads=2)), 'arch: num_heads=2; must list'),
        (dict(arch=dict(ARCH, num_layers=4)), 'num_layers=4, but num_heads'),
        (
            dict(layer_cfgs=dict(num_heads=2)),
            'layer_cfgs: layer 0: num_heads=2; widths stand in arch',
        ),
        (dict(layer_cfgs=[{}, {}]), 'layer_cfgs lists 2; must be one for'),
    ],
)
def test_wrong_architectures(changes: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        slim(**changes)
