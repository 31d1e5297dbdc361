"""Checkpoints: what is loaded, what is refused, and in which words."""

from collections.abc import Callable
from math import isqrt
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mmengine.logging import MMLogger
from mmengine.runner.checkpoint import load_checkpoint
from mmpretrain.models import ImageClassifier
from mmpretrain.models.utils import resize_pos_embed
from mmpretrain.registry import MODELS
from torch import nn
from toys import (
    CLASSES,
    assert_same_weights,
    classifier,
    images,
    member,
    options,
    randomise,
    small_stock,
    small_vit,
    snapshot,
)

from eavit_mm.weights.state_dict import CheckpointError, require_sound

State = dict[str, Any]


def through_torch(model: nn.Module, state: State, tmp_path: Path) -> None:
    model.load_state_dict(state)


def through_torch_leniently(
    model: nn.Module, state: State, tmp_path: Path
) -> None:
    model.load_state_dict(state, strict=False)


def through_a_file(model: nn.Module, state: State, tmp_path: Path) -> None:
    path = tmp_path / 'checkpoint.pth'
    torch.save(dict(meta={}, state_dict=state), path)
    load_checkpoint(model, str(path), map_location='cpu')


def through_init_cfg(model: nn.Module, state: State, tmp_path: Path) -> None:
    path = tmp_path / 'checkpoint.pth'
    torch.save(state, path)
    model.init_cfg = dict(type='Pretrained', checkpoint=str(path))
    model._is_init = False
    model.init_weights()


WAYS = [
    through_torch,
    through_torch_leniently,
    through_a_file,
    through_init_cfg,
]
# Patches of 4: a grid of 2 x 3.
NOT_SQUARE = (8, 12)
every_way = pytest.mark.parametrize('load', WAYS)


def full_state(**changes: Any) -> State:
    """Of a stock classifier with other weights."""
    head = dict(
        type='LinearClsHead',
        num_classes=changes.pop('num_classes', CLASSES),
        in_channels=24,
    )
    stock = ImageClassifier(
        dict(type='VisionTransformer', **options(**changes)), head=head
    )
    return dict(randomise(stock, seed=6).double().state_dict())


def refused(
    model: nn.Module,
    state: State,
    words: str,
    load: Callable[..., None],
    tmp_path: Path,
) -> None:
    """Refused in these words, and not a weight has changed."""
    before, given = snapshot(model), dict(state)
    with pytest.raises(ValueError, match=words):
        load(model, state, tmp_path)
    if load is not through_init_cfg:  # It initialises first.
        assert_same_weights(model, before)
    assert state.keys() == given.keys()
    assert all(state[key] is value for key, value in given.items())


def renamed(state: State, change: Callable[[str], str]) -> State:
    return {change(key): value for key, value in state.items()}


def timm_names(key: str) -> str:
    for old, new in [
        ('layers.', 'blocks.'),
        ('.ln1.', '.norm1.'),
        ('.ln2.', '.norm2.'),
        ('ffn.blocks.0.0', 'mlp.fc1'),
        ('ffn.blocks.1', 'mlp.fc2'),
        ('patch_embed.projection', 'patch_embed.proj'),
        ('head.fc', 'head'),
        ('backbone.', ''),
    ]:
        key = key.replace(old, new)
    return key


# Accepted


@every_way
def test_stock_checkpoint(load: Callable[..., None], tmp_path: Path) -> None:
    model = classifier()
    state = full_state()
    assert list(model.state_dict()) == list(state)
    load(model, state, tmp_path)
    assert_same_weights(model, state)
    assert model.head_was_loaded


def test_checkpoint_goes_back_into_the_stock_model(tmp_path: Path) -> None:
    model = classifier()
    stock = ImageClassifier(
        dict(type='VisionTransformer', **options()),
        head=dict(type='LinearClsHead', num_classes=CLASSES, in_channels=24),
    ).double()
    path = tmp_path / 'elastic.pth'
    torch.save(dict(state_dict=model.state_dict()), path)
    load_checkpoint(stock, str(path), strict=True)
    assert_same_weights(stock, snapshot(model))


def test_distributed_prefix(tmp_path: Path) -> None:
    """mmengine takes 'module.' away."""
    model, state = classifier(), full_state()
    path = tmp_path / 'checkpoint.pth'
    torch.save(renamed(state, lambda key: f'module.{key}'), path)
    load_checkpoint(model, str(path))
    assert_same_weights(model, state)


def test_init_cfg_with_a_prefix(tmp_path: Path) -> None:
    path = tmp_path / 'checkpoint.pth'
    torch.save(dict(state_dict=full_state()), path)
    vit = small_vit(
        init_cfg=dict(
            type='Pretrained', checkpoint=str(path), prefix='backbone.'
        )
    ).double()
    vit.init_weights()
    expected = {
        key.removeprefix('backbone.'): value
        for key, value in full_state().items()
        if key.startswith('backbone.')
    }
    assert_same_weights(vit, expected)


@every_way
@pytest.mark.parametrize('size', [(12, 12), (16, 16), (32, 32)])
def test_position_embedding_is_resized(
    load: Callable[..., None], size: tuple[int, int], tmp_path: Path
) -> None:
    model = classifier()
    state = full_state(img_size=size)
    name = 'backbone.pos_embed'
    given = state[name].clone()
    assert given.shape != model.backbone.pos_embed.shape
    load(model, state, tmp_path)
    grid = (size[0] // 4, size[1] // 4)
    expected = resize_pos_embed(given, grid, (2, 3))
    torch.testing.assert_close(model.backbone.pos_embed.data, expected)
    assert state[name].shape == given.shape
    for key in state.keys() - {name}:
        assert torch.equal(model.state_dict()[key], state[key]), key


# A pool takes the checkpoint's final norm behind it, as timm does it.
POOLS = [
    dict(out_type='avg_featmap', final_norm=False),
    dict(out_type='featmap', final_norm=True),
    dict(out_type='raw', final_norm=True),
]


@every_way
@pytest.mark.parametrize('pool', POOLS)
@pytest.mark.parametrize('img_size', [(8, 8), NOT_SQUARE])
def test_class_token_checkpoint_into_a_pool(
    load: Callable[..., None], pool: dict, img_size: Any, tmp_path: Path
) -> None:
    vit = small_vit(**pool, with_cls_token=False, img_size=img_size)
    stock = randomise(small_stock(img_size=img_size), seed=6)
    state = dict(stock.state_dict())
    load(vit, state, tmp_path)
    assert torch.equal(vit.pos_embed, state['pos_embed'][:, 1:])
    norm = vit.ln1 if pool['final_norm'] else vit.ln2
    assert torch.equal(norm.weight, state['ln1.weight'])
    assert torch.equal(norm.bias, state['ln1.bias'])
    for key in state.keys() - {'cls_token', 'pos_embed'}:
        if not key.startswith('ln1'):
            assert torch.equal(vit.state_dict()[key], state[key]), key
    # The caller's dict is not written to.
    assert 'cls_token' in state
    assert 'ln1.weight' in state


@every_way
@pytest.mark.parametrize(
    ('pool', 'words'),
    [
        (
            dict(out_type='avg_featmap', final_norm=True),
            '; 2 missing: ln2.bias, ln2.weight$',
        ),
        (
            dict(out_type='featmap', final_norm=False),
            '; 2 unexpected: ln1.bias, ln1.weight$',
        ),
    ],
)
def test_final_norm_without_a_place(
    load: Callable[..., None], pool: dict, words: str, tmp_path: Path
) -> None:
    vit = small_vit(**pool, with_cls_token=False, img_size=(8, 8))
    state = dict(small_stock(img_size=(8, 8)).state_dict())
    refused(vit, state, words, load, tmp_path)


@every_way
def test_mean_pool_checkpoint_into_a_class_token(
    load: Callable[..., None], tmp_path: Path
) -> None:
    state = dict(
        small_stock(with_cls_token=False, out_type='raw').state_dict()
    )
    refused(small_vit(), state, '1 missing: cls_token', load, tmp_path)


@pytest.mark.parametrize('img_size', [(8, 8), (16, 16)])
def test_class_token_checkpoint_of_another_size_into_a_pool(
    img_size: tuple[int, int], tmp_path: Path
) -> None:
    """Resized as any other; or, if that cannot be, refused in words."""
    vit = randomise(
        small_vit(
            out_type='avg_featmap',
            with_cls_token=False,
            final_norm=False,
            img_size=(12, 12),
        )
    )
    state = dict(
        randomise(small_stock(img_size=img_size), seed=6).state_dict()
    )
    before = snapshot(vit)
    try:
        vit.load_state_dict(state)
    except ValueError as error:
        assert 'pos_embed' in str(error)  # noqa: PT017
        assert_same_weights(vit, before)
        return
    grid = (img_size[0] // 4, img_size[1] // 4)
    expected = resize_pos_embed(
        state['pos_embed'][:, 1:], grid, (3, 3), num_extra_tokens=0
    )
    torch.testing.assert_close(vit.pos_embed.data, expected)


@every_way
@pytest.mark.parametrize('with_cls_token', [True, False])
@pytest.mark.parametrize('img_size', [(8, 16), (12, 20), (4, 32)])
def test_a_square_grid_of_one_patch_more_is_resized(
    load: Callable[..., None],
    img_size: tuple[int, int],
    with_cls_token: bool,
    tmp_path: Path,
) -> None:
    """Its first patch is not taken for a class token: n x (n + 2) + 1."""
    pool = dict(out_type='featmap', with_cls_token=False)
    vit = small_vit(**pool, img_size=img_size)
    grid = vit.patch_resolution
    side = isqrt(grid[0] * grid[1] + 1)
    cfg = pool if not with_cls_token else {}
    stock = small_stock(**cfg, img_size=4 * side)
    state = dict(randomise(stock, seed=6).state_dict())
    load(vit, state, tmp_path)
    expected = resize_pos_embed(
        state['pos_embed'][:, int(with_cls_token) :],
        (side, side),
        grid,
        num_extra_tokens=0,
    )
    torch.testing.assert_close(vit.pos_embed.data, expected)


@every_way
def test_pooled_checkpoint_with_its_norm_before_the_pool(
    load: Callable[..., None], tmp_path: Path
) -> None:
    """It has no class token: its norm is not moved behind the pool."""
    cfg = dict(with_cls_token=False, img_size=(8, 8))
    state = dict(small_stock(**cfg, out_type='featmap').state_dict())
    vit = small_vit(**cfg, out_type='avg_featmap', final_norm=False)
    words = (
        '; 2 missing: ln2.bias, ln2.weight; 2 unexpected: ln1.bias, '
        "ln1.weight. Its tokens .* take out_type='featmap'"
    )
    refused(vit, state, words, load, tmp_path)


def test_pooled_checkpoint_of_timms_kind_keeps_its_norm() -> None:
    """A checkpoint that has ln2 already is loaded as it is."""
    cfg = dict(out_type='avg_featmap', with_cls_token=False, final_norm=False)
    vit = small_vit(**cfg)
    state = dict(randomise(small_stock(**cfg), seed=6).state_dict())
    vit.load_state_dict(state)
    assert_same_weights(vit, state)


def test_changes_are_logged(
    caplog: pytest.LogCaptureFixture, request: pytest.FixtureRequest
) -> None:
    logger = MMLogger.get_current_instance()
    logger.addHandler(caplog.handler)
    request.addfinalizer(lambda: logger.removeHandler(caplog.handler))
    cfg = dict(out_type='avg_featmap', with_cls_token=False, final_norm=False)
    vit = small_vit(**cfg, img_size=(8, 8))
    vit.load_state_dict(small_stock(img_size=(8, 8)).state_dict())
    model = classifier(new_head=True)
    model.load_state_dict(full_state(num_classes=4), strict=False)
    for words in (
        'cls_token: dropped, the network has none',
        'ln1.weight: now ln2.weight, behind the pool',
        'new head: trained from scratch; 2 weights of the checkpoint are '
        'left out',
    ):
        assert words in caplog.text


# A new head


@every_way
def test_foreign_head(load: Callable[..., None], tmp_path: Path) -> None:
    state = full_state(num_classes=4)
    refused(
        classifier(),
        state,
        r'this checkpoint does not fit ElasticImageClassifier; 2 of another '
        r'shape: head.fc.bias: \(4,\) for \(9,\), head.fc.weight: \(4, 24\) '
        r'for \(9, 24\)',
        load,
        tmp_path,
    )


FOREIGN_HEADS = dict(
    other_classes=lambda state: {
        **state,
        'head.fc.weight': torch.zeros(4, 24),
        'head.fc.bias': torch.zeros(4),
    },
    other_names=lambda state: {
        **{k: v for k, v in state.items() if not k.startswith('head.')},
        'head.layers.head.weight': torch.zeros(9, 24),
        'head.layers.head.bias': torch.zeros(9),
    },
    none=lambda state: {
        k: v for k, v in state.items() if not k.startswith('head.')
    },
    half=lambda state: {k: v for k, v in state.items() if k != 'head.fc.bias'},
)


@every_way
@pytest.mark.parametrize('foreign', FOREIGN_HEADS)
def test_new_head(
    load: Callable[..., None], foreign: str, tmp_path: Path
) -> None:
    state = FOREIGN_HEADS[foreign](full_state())
    refused(classifier(), state, 'does not fit', load, tmp_path)
    model = classifier(new_head=True)
    before = snapshot(model)
    given = dict(state)
    load(model, state, tmp_path) if load is not through_torch else (
        model.load_state_dict(state, strict=False)
    )
    assert state.keys() == given.keys()
    after = model.state_dict()
    for key, value in after.items():
        # A new head is left alone, as a whole.
        if not key.startswith('head.'):
            assert torch.equal(value, state[key]), key
        elif load is not through_init_cfg:  # It initialises first.
            assert torch.equal(value, before[key]), key
    assert not model.head_was_loaded


@every_way
def test_new_head_is_loaded_if_it_fits(
    load: Callable[..., None], tmp_path: Path
) -> None:
    model, state = classifier(new_head=True), full_state()
    load(model, state, tmp_path)
    assert_same_weights(model, state)
    assert model.head_was_loaded


@every_way
def test_new_head_excuses_nothing_else(
    load: Callable[..., None], tmp_path: Path
) -> None:
    state = full_state(num_classes=4)
    del state['backbone.cls_token']
    refused(
        classifier(new_head=True),
        state,
        '1 missing: backbone.cls_token$',
        load,
        tmp_path,
    )
    refused(classifier(new_head=True), {}, 'missing', load, tmp_path)


# Refused


@every_way
def test_whole_model_into_a_backbone(
    load: Callable[..., None], tmp_path: Path
) -> None:
    refused(
        small_vit(),
        full_state(),
        r'this checkpoint does not fit ElasticVisionTransformer; \d+ missing'
        r'.*unexpected.*, \.\.\.\. Its keys start with '
        "'backbone.': give prefix='backbone.' in init_cfg",
        load,
        tmp_path,
    )


@every_way
def test_backbone_into_a_whole_model(
    load: Callable[..., None], tmp_path: Path
) -> None:
    state = dict(small_stock().double().state_dict())
    refused(
        classifier(),
        state,
        'missing: backbone.cls_token.*unexpected: cls_token',
        load,
        tmp_path,
    )


@pytest.mark.parametrize('prefix', ['model.', 'module.', 'backbone.'])
def test_wrong_prefix(prefix: str, tmp_path: Path) -> None:
    state = renamed(full_state(), lambda key: prefix + key)
    refused(
        classifier(),
        state,
        f'Its keys start with {prefix!r}: give prefix={prefix!r}',
        through_torch,
        tmp_path,
    )


@every_way
def test_timm_names(load: Callable[..., None], tmp_path: Path) -> None:
    state = renamed(full_state(), timm_names)
    assert 'blocks.0.mlp.fc1.weight' in state
    # A backbone's init_cfg converts them: test_weights/test_pretrained.py.
    backbones = [] if load is through_init_cfg else [small_vit()]
    for model in (classifier(), *backbones):
        refused(
            model,
            state,
            "These are timm's names: convert the checkpoint to mmpretrain's "
            'first',
            load,
            tmp_path,
        )


@every_way
@pytest.mark.parametrize(
    'key',
    [
        'backbone.cls_token',
        'backbone.pos_embed',
        'backbone.patch_embed.projection.bias',
        'backbone.layers.2.ffn.layers.1.weight',
        'backbone.ln1.weight',
        'head.fc.weight',
    ],
)
def test_one_key(load: Callable[..., None], key: str, tmp_path: Path) -> None:
    state = full_state()
    value = state.pop(key)
    refused(classifier(), state, f'; 1 missing: {key}$', load, tmp_path)
    state[f'{key}s'] = value
    words = f'; 1 missing: {key}; 1 unexpected: {key}s$'
    refused(classifier(), state, words, load, tmp_path)
    del state[f'{key}s']
    state[key] = torch.zeros(3, 5)
    words = rf'; 1 of another shape: {key}: \(3, 5\) for \('
    refused(classifier(), state, words, load, tmp_path)
    state[key] = value
    state['router.weight'] = value
    words = '; 1 unexpected: router.weight$'
    refused(classifier(), state, words, load, tmp_path)


@every_way
@pytest.mark.parametrize('depth', [2, 4])
def test_other_architecture(
    load: Callable[..., None], depth: int, tmp_path: Path
) -> None:
    arch = {**options()['arch'], 'num_layers': depth}
    word = 'missing' if depth < 3 else 'unexpected'
    refused(
        classifier(),
        full_state(arch=arch),
        rf'; 12 {word}: backbone.layers.{min(depth, 3)}.attn.proj.bias, '
        r'.*, \.\.\.$',
        load,
        tmp_path,
    )
    # Narrower, as a subnet's export is.
    arch = {**options()['arch'], 'embed_dims': 20, 'num_heads': 5}
    head = dict(type='LinearClsHead', num_classes=CLASSES, in_channels=20)
    narrow = ImageClassifier(
        dict(type='VisionTransformer', **options(arch=arch)), head=head
    )
    refused(
        classifier(),
        dict(narrow.state_dict()),
        'of another shape: backbone.cls_token',
        load,
        tmp_path,
    )


@every_way
def test_empty(load: Callable[..., None], tmp_path: Path) -> None:
    words = 'missing.*It holds no weights for this network$'
    refused(classifier(), {}, words, load, tmp_path)
    if load is through_init_cfg:
        words = r'checkpoint\.pth holds no weights; its keys are none'
    refused(small_vit(), {}, words, load, tmp_path)


def test_file_without_weights(tmp_path: Path) -> None:
    path = tmp_path / 'meta.pth'
    torch.save(dict(meta=dict(epoch=3)), path)
    model = classifier()
    before = snapshot(model)
    with pytest.raises(ValueError, match='1 unexpected: meta'):
        load_checkpoint(model, str(path))
    assert_same_weights(model, before)


@pytest.mark.parametrize(
    ('load', 'value'),
    [
        *((way, value) for way in WAYS for value in (None, 3, [1.0, 2.0])),
        # A file with arrays is refused by torch.load itself.
        (through_torch, np.zeros(24, np.float32)),
    ],
)
def test_value_that_is_no_tensor(
    load: Callable[..., None], value: Any, tmp_path: Path
) -> None:
    kind = type(value).__name__
    for key in ('backbone.ln1.weight', 'backbone.pos_embed', 'head.fc.bias'):
        state = {**full_state(), key: value}
        words = f'1 of another shape: {key}: {kind} for '
        refused(classifier(), state, words, load, tmp_path)
    state = {**full_state(), 'epoch': value}
    refused(classifier(), state, '1 unexpected: epoch', load, tmp_path)


BAD_POSITIONS = dict(
    no_grid=torch.zeros(1, 12, 24),
    wrong_channels=torch.zeros(1, 17, 23),
    flat=torch.zeros(17, 24),
    two_images=torch.zeros(2, 17, 24),
    two_images_of_our_size=torch.zeros(2, 5, 24),
    # A grid of patches, but no position for the class token.
    no_token=torch.zeros(1, 16, 24),
    nothing=torch.zeros(1, 0, 24),
)


@every_way
@pytest.mark.parametrize(
    'kind',
    BAD_POSITIONS,
)
def test_position_embedding_that_cannot_be_resized(
    load: Callable[..., None], kind: str, tmp_path: Path
) -> None:
    cfg = dict(img_size=(8, 8))
    model = classifier(backbone=cfg)
    state = full_state(**cfg)
    state['backbone.pos_embed'] = BAD_POSITIONS[kind].double()
    words = '1 of another shape: backbone.pos_embed'
    refused(model, state, words, load, tmp_path)


def test_only_a_few_keys_are_listed() -> None:
    with pytest.raises(ValueError, match='does not fit') as caught:
        classifier().load_state_dict({})
    words = str(caught.value)
    assert words.count('backbone.') == 4
    assert words.count('...') == 1


def test_error_names_the_model_that_loads() -> None:
    model = MODELS.build(
        dict(
            type='eavit_mm.ElasticImageClassifier',
            backbone=dict(
                type='eavit_mm.ElasticVisionTransformer', **options()
            ),
        )
    )
    with pytest.raises(ValueError, match='ElasticImageClassifier'):
        model.load_state_dict({})
    with pytest.raises(ValueError, match='ElasticVisionTransformer'):
        model.backbone.load_state_dict({})


def test_active_subnet_does_not_matter() -> None:
    model, state = classifier(), full_state()
    with model.backbone.use(member()):
        model.load_state_dict(state)
        assert list(model.state_dict()) == list(state)
        out = model(images().double())
    fresh = classifier()
    fresh.load_state_dict(state)
    with fresh.backbone.use(member()):
        assert torch.equal(fresh(images().double()), out)


@every_way
@pytest.mark.parametrize('number', [float('nan'), float('inf')])
def test_weights_that_are_not_finite(
    load: Callable[..., None], number: float, tmp_path: Path
) -> None:
    state = full_state()
    key = 'backbone.layers.1.ln2.bias'
    state[key] = state[key].clone()
    state[key][5] = number
    refused(
        classifier(),
        state,
        rf'1 that are not finite numbers: {key}: 1 NaN or infinite',
        load,
        tmp_path,
    )


@every_way
@pytest.mark.parametrize('kind', [torch.int64, torch.bool, torch.complex64])
def test_another_kind_of_numbers(
    load: Callable[..., None], kind: torch.dtype, tmp_path: Path
) -> None:
    state = full_state()
    key = 'backbone.layers.1.ln2.bias'
    state[key] = state[key].to(kind)
    refused(
        classifier(),
        state,
        f'of another kind.*{key}: .*{kind}',
        load,
        tmp_path,
    )


def test_what_is_sound() -> None:
    counters = dict(a=torch.tensor(3), b=torch.ones(2, dtype=torch.bool))
    require_sound({**counters, 'c': torch.ones(2).half(), 'd': torch.ones(0)})
    for wrong in (
        torch.ones(2, device='meta'),
        torch.ones(2, 2).to_sparse(),
        torch.ones(2) * 1j,
        torch.zeros(2, dtype=torch.uint8).view(torch.float4_e2m1fn_x2),
        torch.ones(2).fill_(torch.inf).to(torch.float8_e5m2),
        'text',
    ):
        with pytest.raises(CheckpointError, match='1 that are not finite .*x'):
            require_sound({**counters, 'x': wrong})


FLOAT8 = [
    torch.float8_e4m3fn,
    torch.float8_e4m3fnuz,
    torch.float8_e5m2,
    torch.float8_e5m2fnuz,
]


@every_way
@pytest.mark.parametrize('kind', FLOAT8)
def test_float8(
    load: Callable[..., None], kind: torch.dtype, tmp_path: Path
) -> None:
    """Read as any other precision; its NaN is seen."""
    model = classifier()
    state = {key: value.to(kind) for key, value in full_state().items()}
    load(model, state, tmp_path)
    wide = {key: value.double() for key, value in state.items()}
    assert_same_weights(model, wide)
    key = 'backbone.layers.1.ln2.bias'
    state[key] = torch.full((24,), torch.nan).to(kind)
    words = f'1 that are not finite numbers: {key}: 24 NaN or infinite'
    refused(classifier(), state, words, load, tmp_path)
