"""The supernet against the stock network and against dense ones by hand."""

import copy
import pickle

import pytest
import torch
from dense import full_gradients
from mmengine.runner.activation_checkpointing import (
    turn_on_activation_checkpointing,
)
from mmpretrain.models import ImageClassifier, VisionTransformer
from toys import (
    ARCH,
    SPACE,
    SWIGLU,
    Case,
    classifier,
    dense_twin,
    images,
    member,
    narrow_state,
    options,
    random_case,
    random_subnet,
    randomise,
    small_stock,
    small_vit,
)

from eavit_mm.models import ElasticImageClassifier, ElasticVisionTransformer
from eavit_mm.space import Subnet

SEEDS = range(70)
OUT_TYPES = ['cls_token', 'raw', 'featmap', 'avg_featmap']
VARIANTS = dict(
    plain={},
    no_cls=dict(with_cls_token=False, out_type='raw'),
    no_final_norm=dict(final_norm=False),
    pre_norm=dict(pre_norm=True),
    patch_norm=dict(patch_cfg=dict(norm_cfg=dict(type='LN'))),
    overlapping=dict(patch_cfg=dict(kernel_size=5, stride=3, padding=1)),
    layer_scale=dict(layer_scale_init_value=0.3),
    no_qkv_bias=dict(qkv_bias=False),
    swiglu=dict(layer_cfgs=SWIGLU, layer_scale_init_value=0.3),
    # ReLU, and a hidden width for each layer.
    layers_differ=dict(
        layer_cfgs=[
            dict(feedforward_channels=f, act_cfg=dict(type='ReLU'))
            for f in (12, 20, 28)
        ]
    ),
    one_head=dict(
        arch=dict(
            embed_dims=24, num_layers=3, num_heads=1, feedforward_channels=20
        )
    ),
)


def close(
    actual: tuple[torch.Tensor, ...],
    expected: tuple[torch.Tensor, ...],
    atol: float,
) -> None:
    assert len(actual) == len(expected) > 0
    for a, b in zip(actual, expected, strict=True):
        assert a.shape == b.shape
        torch.testing.assert_close(a, b, rtol=0, atol=atol)


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


@pytest.mark.parametrize('name', VARIANTS)
def test_largest_is_stock(name: str) -> None:
    vit = small_vit(space=None, **VARIANTS[name])
    assert_is_stock(vit, small_stock(**VARIANTS[name]), images())


@pytest.mark.parametrize('out_type', OUT_TYPES)
@pytest.mark.parametrize('out_indices', [[-1], [0, 2], [1], [0, 1, 2]])
@pytest.mark.parametrize('size', [(8, 12), (8, 8), (12, 20), (7, 13)])
def test_largest_is_stock_for_outputs_and_sizes(
    out_type: str, out_indices: list[int], size: tuple[int, int]
) -> None:
    cfg = dict(out_type=out_type, out_indices=out_indices)
    assert_is_stock(small_vit(**cfg), small_stock(**cfg), images(size=size))


@pytest.mark.parametrize('mode', ['bilinear', 'bicubic'])
def test_interpolation_is_the_configured_one(mode: str) -> None:
    vit = randomise(small_vit(interpolate_mode=mode))
    dense = dense_twin(vit, member(), options(interpolate_mode=mode))
    x = images(size=(16, 8))
    with vit.use(member()):
        close([vit(x)[0][:, :14]], dense(x), 1e-5)


def test_vit_b_is_stock() -> None:
    arch = dict(arch='b', img_size=224, patch_size=16)
    head = dict(type='LinearClsHead', num_classes=11, in_channels=768)
    stock = ImageClassifier(dict(type='VisionTransformer', **arch), head=head)
    elastic = ElasticImageClassifier(
        dict(type='eavit_mm.ElasticVisionTransformer', **arch), head=head
    )
    rng = torch.Generator().manual_seed(3)
    for p in stock.parameters():
        fan_in = p.shape[-1] if p.ndim > 1 else 25
        p.data = torch.randn(p.shape, generator=rng) / fan_in**0.5
    elastic.load_state_dict(stock.state_dict(), strict=True)
    stock.load_state_dict(elastic.state_dict(), strict=True)
    stock.eval(), elastic.eval()
    x = torch.randn(1, 3, 224, 224, generator=rng)
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    with torch.no_grad():
        logits = stock(x)
        assert logits.std() > 1e-2
        close([elastic(x)], [logits], 1e-5)
        with elastic.backbone.use(elastic.backbone.space.largest):
            close([elastic(x)], [logits], 1e-5)
    torch.set_num_threads(threads)


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


def test_layer_depth_is_the_stock_networks() -> None:
    vit, stock = small_vit(), small_stock()
    for name, _ in stock.named_parameters():
        assert vit.get_layer_depth(name) == stock.get_layer_depth(name)


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
    stock = dict(vit.named_parameters())
    for name, (gradient, used) in full_gradients(dense, stock).items():
        actual = stock[name].grad
        if actual is None:
            actual = torch.zeros_like(gradient)
        torch.testing.assert_close(
            actual, gradient, rtol=1e-9, atol=1e-9, msg=lambda m, n=name: n + m
        )
        # Where no slice is, exactly nothing arrives.
        assert not actual[~used].any(), name
    with torch.no_grad(), vit.frozen(subnet):
        close(vit(x), expected, 1e-9)


@pytest.mark.parametrize('seed', SEEDS)
def test_sliced_is_dense(seed: int) -> None:
    check_case(random_case(seed))


def test_cases_meet_every_option() -> None:
    """The random cases above would mean little without this."""
    seen = set()
    for seed in SEEDS:
        vit, _, subnet, x, cfg = random_case(seed)
        D, C = vit.geometry.head_dims, vit.embed_dims
        seen |= {
            f'out_type {cfg["out_type"]}',
            f'cls {cfg["with_cls_token"]}',
            f'final_norm {cfg["final_norm"]}',
            f'pre_norm {cfg["pre_norm"]}',
            f'patch_norm {"norm_cfg" in cfg["patch_cfg"]}',
            f'padding {"padding" in cfg["patch_cfg"]}',
            f'qkv_bias {cfg["qkv_bias"]}',
            f'scale {bool(cfg["layer_scale_init_value"])}',
            f'swiglu {any(vit.geometry.swiglu)}',
            f'attention off {0 in subnet.num_heads}',
            f'ffn off {0 in subnet.feedforward_channels}',
            f'E is a multiple of D {subnet.embed_dims % D == 0}',
            f'E is C {subnet.embed_dims == C}',
            f'heads hold all of E {D * max(subnet.num_heads) == C}',
            f'one head {vit.layers[0].attn.num_heads == 1}',
            f'grey {x.shape[1] == 1}',
        }
        if subnet.num_off == 2 * subnet.num_layers:
            seen.add('all off')
    binary = {
        f'{name} {value}'
        for name in (
            'cls',
            'final_norm',
            'pre_norm',
            'patch_norm',
            'padding',
            'qkv_bias',
            'scale',
            'swiglu',
            'attention off',
            'ffn off',
            'E is a multiple of D',
            'E is C',
            'heads hold all of E',
            'one head',
            'grey',
        )
        for value in (True, False)
    }
    outs = {f'out_type {out_type}' for out_type in OUT_TYPES}
    assert seen >= binary | outs | {'all off'}


@pytest.mark.parametrize('seed', range(20))
def test_sliced_is_dense_at_other_sizes(seed: int) -> None:
    """Position embeddings are resized, by mmpretrain in float32."""
    case = random_case(seed)
    rng = torch.Generator().manual_seed(seed)
    size = [s + 4 for s in case.x.shape[2:]]
    x = torch.randn(2, case.x.shape[1], *size, generator=rng).double()
    with torch.no_grad(), case.vit.use(case.subnet):
        close(case.vit(x), case.dense(x), 1e-5)


@pytest.mark.parametrize('batch', [1, 3])
def test_batch_sizes(batch: int) -> None:
    for seed in range(8):
        check_case(random_case(seed, batch=batch))


def test_empty_batch() -> None:
    vit = small_vit()
    x = images()[:0]
    with vit.use(member()):
        assert vit(x)[0].shape == (0, member().embed_dims)


@pytest.mark.parametrize('frozen', [False, True])
def test_input_that_is_not_contiguous(frozen: bool) -> None:
    vit = randomise(small_vit())
    x = images()
    strided = x.flip(3).permute(0, 3, 2, 1).contiguous().permute(0, 3, 2, 1)
    channels_last = x.flip(3).to(memory_format=torch.channels_last)
    with vit.frozen(member()) if frozen else vit.use(member()):
        expected = vit(x.flip(3).contiguous())
        close(vit(strided), expected, 1e-6)
        close(vit(channels_last), expected, 1e-6)


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


def test_autocast() -> None:
    """bf16 sliced is bf16 dense, and both are near float32."""
    for seed in range(12):
        case = random_case(seed)
        vit, dense, x = case.vit.float(), case.dense.float(), case.x.float()
        with torch.no_grad(), vit.use(case.subnet):
            exact = vit(x)
            with torch.autocast('cpu', torch.bfloat16):
                outs = vit(x)
                expected = dense(x)
        for out, dense_out, full in zip(outs, expected, exact, strict=True):
            out, scale = out.float(), full.norm()
            assert (out - dense_out.float()).norm() < 3e-2 * scale
            assert (out - full).norm() < 0.1 * scale


def test_bf16_weights() -> None:
    vit = randomise(small_vit())
    x = images()
    with torch.no_grad(), vit.use(member()):
        exact = vit(x)[0]
        out = vit.bfloat16()(x.bfloat16())[0]
    assert out.dtype == torch.bfloat16
    assert (out - exact).norm() < 5e-2 * exact.norm()


# The active subnet


def test_use_restores_what_was_active() -> None:
    vit = small_vit()
    other = member(8)
    assert vit.subnet is None
    with vit.use(member()):
        assert vit.subnet == member()
        with vit.frozen(other):
            assert vit.subnet == other
            with vit.use(None):
                assert vit.subnet is None
            assert vit.subnet == other
        assert vit.subnet == member()
    assert vit.subnet is None
    with pytest.raises(RuntimeError, match='stop'), vit.frozen(other):
        raise RuntimeError('stop')
    assert vit.subnet is None
    vit.set_subnet(other)
    assert vit.subnet == other


def test_nested_use_runs_the_inner_subnet() -> None:
    vit = randomise(small_vit())
    x, other = images(), member(8, (1, 6, 0), (0, 1, 20))
    with vit.use(other):
        expected = vit(x)
    with vit.use(None):
        full = vit(x)
    with vit.frozen(member()):
        mine = vit(x)
        with vit.use(other):
            close(vit(x), expected, 0.0)
        with vit.use(None):
            close(vit(x), full, 0.0)
        close(vit(x), mine, 0.0)
    close(vit(x), full, 0.0)


def test_set_subnet_inside_frozen_drops_the_slices() -> None:
    vit = randomise(small_vit())
    x, other = images(), member(8)
    with vit.use(other):
        expected = vit(x)
    with vit.frozen(member()):
        vit.set_subnet(other)
        close(vit(x), expected, 0.0)
    assert vit.subnet is None


@pytest.mark.parametrize(
    ('subnet', 'words'),
    [
        (member(13), 'embed_dims=13 is outside this space'),
        (member(num_heads=(3, 1, 1)), 'layer 0: num_heads=3 is outside'),
        (
            member(feedforward_channels=(1, 1, 8)),
            'layer 2: feedforward_channels=8 is outside',
        ),
        (member(head_dims=3), 'head_dims=3, this space has 4'),
        (Subnet(14, (1,), (1,), 4), 'has 1 layers, this space 3'),
        (
            Subnet(14, (1, 1, 1), (1, 1, 1), 4, side='suffix'),
            "side='suffix', this space has prefixes",
        ),
    ],
)
def test_foreign_subnet(subnet: Subnet, words: str) -> None:
    vit = small_vit()
    vit.set_subnet(member(8))
    for manner in (vit.use, vit.frozen):
        with pytest.raises(ValueError, match=words), manner(subnet):
            pass
    with pytest.raises(ValueError, match=words):
        vit.set_subnet(subnet)
    assert vit.subnet == member(8)


def test_a_step_between_two_passes_is_seen() -> None:
    """Slices are views: nothing of a pass outlives it."""
    vit = randomise(small_vit())
    x = images()
    with vit.use(member()):
        before = vit(x)[0].detach()
        vit(x)[0].sum().backward()
        torch.optim.SGD(vit.parameters(), 0.1).step()
        after = vit(x)[0].detach()
        # As an EMA swap does it: the version of the tensor stays.
        vit.layers[0].attn.qkv.weight.data.mul_(2)
        assert not torch.allclose(after, vit(x)[0])
    assert not torch.allclose(before, after)


def test_frozen_none_is_the_stock_network() -> None:
    vit = randomise(small_vit())
    expected = vit(images())
    with vit.frozen(None):
        assert vit.subnet is None
        close(vit(images()), expected, 0.0)


# Training mode


NARROW = {**ARCH, 'embed_dims': 8, 'num_heads': 2, 'feedforward_channels': 12}
NARROW_SUBNET = member(8, (2, 2, 2), (12, 12, 12))


@pytest.mark.parametrize('frozen', [False, True])
@pytest.mark.parametrize('active', ['none', 'narrow'])
@pytest.mark.parametrize(
    'rates',
    [
        dict(drop_path_rate=0.5),
        dict(drop_rate=0.4),
        dict(layer_cfgs=dict(attn_drop_rate=0.4)),
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
    stock.load_state_dict(narrow_state(vit, stock))
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


def test_drop_path_drops_whole_branches_of_a_subnet() -> None:
    """With a rate near 1, the last layer is the identity in training."""
    vit = randomise(small_vit(final_norm=False, drop_path_rate=0.999999))
    only_last = member(8, (0, 0, 6), (0, 0, 20))
    none = member(8, (0, 0, 0), (0, 0, 0))
    x = images()
    torch.manual_seed(0)
    with vit.use(none):
        expected = vit(x)
    with vit.use(only_last):
        close(vit(x), expected, 0.0)
        vit.eval()
        assert not torch.allclose(vit(x)[0], expected[0], atol=1e-3)


@pytest.mark.parametrize('stages', [0, 1, 2, 3])
def test_frozen_stages(stages: int) -> None:
    cfg = dict(frozen_stages=stages, out_type='avg_featmap')
    vit, stock = small_vit(**cfg), small_stock(**cfg)
    needed = {n: p.requires_grad for n, p in stock.named_parameters()}
    assert {n: p.requires_grad for n, p in vit.named_parameters()} == needed
    randomise(vit)
    with vit.use(member(num_heads=(1, 2, 4), feedforward_channels=(1, 7, 7))):
        out = vit(images())[0]
    assert out.requires_grad == any(needed.values())
    if out.requires_grad:
        out.square().sum().backward()
    for name, p in vit.named_parameters():
        arrived = p.grad is not None and bool(p.grad.any())
        assert arrived == needed[name], name


@pytest.mark.parametrize('stages', [1, 3])
def test_frozen_stages_are_built_in_eval_mode(stages: int) -> None:
    vit, stock = (
        build(frozen_stages=stages) for build in (small_vit, small_stock)
    )
    modes = {n: m.training for n, m in stock.named_modules()}
    assert {n: m.training for n, m in vit.named_modules()} == modes


@pytest.mark.parametrize('reentrant', [True, False])
def test_checkpointed_layers(reentrant: bool) -> None:
    """mmengine replaces the layers' forward; gradients stay the same."""
    gradients = []
    for checkpointed in (False, True):
        vit = randomise(small_vit(drop_path_rate=0.3)).double()
        names = [f'layers.{i}' for i in range(3)]
        if checkpointed and reentrant:
            turn_on_activation_checkpointing(vit, names)
        elif checkpointed:
            for layer in vit.layers:
                layer.forward = _not_reentrant(layer.forward)
        torch.manual_seed(0)
        with vit.use(member()):
            out = vit(images().double())[0]
        # The recomputation happens when no subnet is active any more.
        out.square().sum().backward()
        gradients.append({n: p.grad for n, p in vit.named_parameters()})
    for name, gradient in gradients[0].items():
        other = gradients[1][name]
        assert (gradient is None) == (other is None), name
        if gradient is not None:
            close([other], [gradient], 1e-12)


def _not_reentrant(forward):
    def wrapped(*args):
        return torch.utils.checkpoint.checkpoint(
            forward, *args, use_reentrant=False
        )

    return wrapped


# Copies


def manners(vit: ElasticVisionTransformer) -> dict:
    return dict(
        none=vit.use(None), use=vit.use(member()), frozen=vit.frozen(member())
    )


@pytest.mark.parametrize('manner', ['none', 'use', 'frozen'])
@pytest.mark.parametrize(
    'duplicate',
    [copy.deepcopy, lambda vit: pickle.loads(pickle.dumps(vit))],
    ids=['deepcopy', 'pickle'],
)
def test_copies_are_independent(manner: str, duplicate) -> None:
    vit = randomise(small_vit())
    x = images()
    with torch.no_grad():
        with vit.use(member()):
            sliced = vit(x)
        with manners(vit)[manner]:
            twin = duplicate(vit)
        # The copy's weights change, the original's outputs do not.
        randomise(twin, seed=8)
        with vit.use(member()):
            close(vit(x), sliced, 0.0)
        fresh = randomise(small_vit(), seed=8)
        for subnet in (None, member(), member(8)):
            with twin.use(subnet), fresh.use(subnet):
                close(twin(x), fresh(x), 0.0)
        with twin.use(member(8)):
            assert vit.subnet is None
    # Loading a copy resizes for the copy, not for the original.
    larger = randomise(small_stock(img_size=(12, 12)), seed=4).state_dict()
    twin.load_state_dict(larger)
    assert twin.pos_embed.shape == vit.pos_embed.shape


def test_copy_made_inside_frozen_has_no_stale_slices() -> None:
    """The cache lives only inside the block (design.md)."""
    vit = randomise(small_vit())
    x = images()
    with vit.frozen(member()):
        twin = copy.deepcopy(vit)
    randomise(twin, seed=8)
    fresh = randomise(small_vit(), seed=8)
    fresh.set_subnet(twin.subnet)
    with torch.no_grad():
        close(twin(x), fresh(x), 1e-6)


def test_classifier_copies() -> None:
    model = classifier()
    x = images().double()
    with model.backbone.use(member()):
        expected = model(x)
        twin = copy.deepcopy(model)
        randomise(twin, seed=2)
        close([model(x)], [expected], 0.0)
    again = pickle.loads(pickle.dumps(model))
    with again.backbone.use(member()):
        close([again(x)], [expected], 0.0)


# Construction


@pytest.mark.parametrize(
    ('changes', 'words'),
    [
        (
            dict(patch_cfg=dict(conv_type='Conv2dAdaptivePadding')),
            'patch_embed: conv_type=.*only Conv2d can be sliced',
        ),
        (
            dict(norm_cfg=dict(type='BN1d')),
            'layers.0.ln1: norm BatchNorm1d cannot be sliced; only norm_cfg '
            "type 'LN' can",
        ),
        (
            dict(patch_cfg=dict(norm_cfg=dict(type='BN1d'))),
            'patch_embed.norm: norm BatchNorm1d cannot be sliced',
        ),
        (
            dict(layer_cfgs=[{}, dict(num_fcs=3), {}]),
            'layer 1: num_fcs=3; only FFNs of 2 linear maps can be sliced',
        ),
        (
            dict(layer_cfgs=[{}, {}, dict(num_heads=4)]),
            'layer 2: head_dims=6, layer 0 has 4; all layers must have heads '
            'of one width',
        ),
        (
            dict(drop_path_rate=2.0),
            r'^drop_path_rate=2.0; must be in \[0, 1\)$',
        ),
        (dict(drop_path_rate=1), r'^drop_path_rate=1.0; must be in'),
        (dict(drop_path_rate=-0.1), r'^drop_path_rate=-0.1; must be in'),
        (
            dict(layer_cfgs=[{}, dict(drop_path_rate=3.0), {}]),
            '^drop_path_rate=3.0; must be in',
        ),
        (
            dict(arch={**options()['arch'], 'num_heads': 5}, space=None),
            'layer 0: embed_dims=24 does not divide into num_heads=5 heads',
        ),
        (
            dict(space={**SPACE, 'embed_dims': [8, 14]}),
            "the largest embed_dims is 14, the network's own is 24; the "
            'largest choice must be the whole network',
        ),
        (
            dict(space={**SPACE, 'num_heads': [1, 2]}),
            r"the largest num_heads is \(2, 2, 2\), the network's own is "
            r'\(6, 6, 6\)',
        ),
        (
            dict(space={**SPACE, 'feedforward_channels': [1, 40]}),
            r'the largest feedforward_channels is \(40, 40, 40\), the '
            r"network's own is \(20, 20, 20\)",
        ),
        (
            dict(layer_cfgs=SWIGLU),
            r'the largest feedforward_channels is \(20, 20, 20\), the '
            r"network's own is \(24, 24, 24\)",
        ),
        (
            dict(space={**SPACE, 'head_dims': 8}),
            'head_dims=8, but the network has head_dims=4',
        ),
        (
            dict(space=dict(embed_dims=[24])),
            r"missing keys \['feedforward_channels', 'num_heads'\]",
        ),
        (
            dict(space={**SPACE, 'depth': [1]}),
            r"unknown keys \['depth'\]",
        ),
    ],
)
def test_refused_at_construction(changes: dict, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        small_vit(**changes)


@pytest.mark.parametrize(
    'norm_cfg',
    [
        dict(type='LN', elementwise_affine=False),
        dict(type='LN', bias=False),
    ],
)
def test_norms_without_weights(norm_cfg: dict) -> None:
    """Either sliced as they are, or refused at construction by name."""
    try:
        vit = small_vit(norm_cfg=norm_cfg)
    except ValueError as error:
        assert 'ln1' in str(error)  # noqa: PT017
        return
    randomise(vit)
    x = images()
    with vit.use(vit.space.largest):
        out = vit(x)
    close(out, vit(x), 1e-5)
    assert vit.params() == sum(p.numel() for p in vit.parameters())


def test_without_a_space_only_the_network_itself() -> None:
    vit = small_vit(space=None)
    assert vit.space.size() == 1
    with pytest.raises(ValueError, match='embed_dims=14 is outside'):
        vit.set_subnet(member())


def test_random_subnets_change_with_their_seed() -> None:
    vit = small_vit()
    assert len({random_subnet(vit.space, seed) for seed in range(50)}) > 40
