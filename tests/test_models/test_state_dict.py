"""Checkpoints that are loaded, and what of them may differ."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine.logging import MMLogger
from mmengine.runner.checkpoint import load_checkpoint
from mmpretrain.models import ImageClassifier
from mmpretrain.models.utils import resize_pos_embed
from torch import nn
from toys import (
    CLASSES,
    assert_same_weights,
    classifier,
    options,
    randomise,
    small_stock,
    small_vit,
    snapshot,
)

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


STATES: dict[str, State] = {}


def full_state(num_classes: int = CLASSES, **changes: Any) -> State:
    """The state of a stock classifier with other weights."""
    key = f'{num_classes} {changes}'
    if key not in STATES:
        backbone = dict(type='VisionTransformer', **options(**changes))
        head = dict(
            type='LinearClsHead', num_classes=num_classes, in_channels=24
        )
        stock = randomise(ImageClassifier(backbone, head=head), seed=6)
        STATES[key] = dict(stock.double().state_dict())
    return dict(STATES[key])


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


@every_way
def test_stock_checkpoint(load: Callable[..., None], tmp_path: Path) -> None:
    model = classifier()
    state = full_state()
    assert list(model.state_dict()) == list(state)
    load(model, state, tmp_path)
    assert_same_weights(model, state)
    assert model.head_was_loaded


@every_way
@pytest.mark.parametrize('prefix', ['_orig_mod.', 'model._orig_mod.module.'])
def test_names_in_wrappers(
    load: Callable[..., None], prefix: str, tmp_path: Path
) -> None:
    """torch.compile's and Lightning's, in front and in between."""
    model, state = classifier(), full_state()
    wrapped = renamed(state, lambda key: prefix + key)
    inner = 'layers.1.', 'layers.1._orig_mod.'
    load(model, renamed(wrapped, lambda key: key.replace(*inner)), tmp_path)
    assert_same_weights(model, state)


@every_way
@pytest.mark.parametrize('size', [(12, 12), (32, 32)])
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
POOL = dict(out_type='avg_featmap', final_norm=False)


FEATMAP = dict(out_type='featmap')
RAW = dict(out_type='raw')
# The pool, the image sizes of the checkpoint and of the network, and whether
# the checkpoint has a class token.
INTO_A_POOL = [
    (pool, given, own, True)
    for pool in (POOL, FEATMAP, RAW)
    for given, own in (
        ((8, 8), (8, 8)),
        ((16, 16), (8, 8)),
        (NOT_SQUARE, NOT_SQUARE),
        # Of one patch more, n x (n + 2) + 1: none of them is a class token.
        ((12, 12), (8, 16)),
        ((12, 12), (4, 32)),
    )
] + [(FEATMAP, (12, 12), own, False) for own in ((8, 16), (4, 32))]


@pytest.mark.parametrize('load', [through_torch, through_a_file])
@pytest.mark.parametrize(('pool', 'given', 'own', 'has_token'), INTO_A_POOL)
def test_a_checkpoint_into_a_pool(
    load: Callable[..., None],
    pool: dict,
    given: tuple[int, int],
    own: tuple[int, int],
    has_token: bool,
    tmp_path: Path,
) -> None:
    vit = small_vit(**pool, with_cls_token=False, img_size=own)
    cfg = {} if has_token else dict(pool, with_cls_token=False)
    stock = randomise(small_stock(**cfg, img_size=given), seed=6)
    state = dict(stock.state_dict())
    load(vit, state, tmp_path)
    grids = (tuple(n // 4 for n in size) for size in (given, own))
    patches = state['pos_embed'][:, int(has_token) :]
    expected = resize_pos_embed(patches, *grids, num_extra_tokens=0)
    torch.testing.assert_close(vit.pos_embed.data, expected)
    norm = vit.ln2 if pool is POOL else vit.ln1
    assert torch.equal(norm.weight, state['ln1.weight'])
    assert torch.equal(norm.bias, state['ln1.bias'])
    for key in state.keys() - {'cls_token', 'pos_embed'}:
        if not key.startswith('ln1'):
            assert torch.equal(vit.state_dict()[key], state[key]), key
    # The caller's dict is not written to.
    assert state.keys() == stock.state_dict().keys()


def test_registers_stay_in_a_pool(tmp_path: Path) -> None:
    """Without the class token, which stands before them."""
    given = randomise(small_vit(num_register_tokens=2, img_size=(16, 16)))
    cfg = dict(with_cls_token=False, num_register_tokens=2, **POOL)
    vit = small_vit(**cfg, img_size=(8, 8))
    for load in (through_torch, through_a_file):
        load(vit, dict(given.state_dict()), tmp_path)
        assert torch.equal(vit.cls_token, given.cls_token[:, 1:])
        assert torch.equal(vit.pos_embed[:, :2], given.pos_embed[:, 1:3])
    assert torch.equal(vit.ln2.weight, given.ln1.weight)
    own = dict(randomise(vit, seed=3).state_dict())
    vit.load_state_dict(own)
    assert_same_weights(vit, own)


def test_pooled_checkpoint_of_timms_kind_keeps_its_norm() -> None:
    """A checkpoint that has ln2 already is loaded as it is."""
    cfg = dict(with_cls_token=False, **POOL)
    vit = small_vit(**cfg)
    state = dict(randomise(small_stock(**cfg), seed=6).state_dict())
    vit.load_state_dict(state)
    assert_same_weights(vit, state)


@pytest.mark.parametrize('source', [{}, dict(with_cls_token=False, **POOL)])
def test_feature_maps_before_the_last_norm_leave_it_out(source: dict) -> None:
    """Of a pretrained backbone; a whole network has what it needs."""
    taps = dict(with_cls_token=False, out_type='featmap', final_norm=False)
    vit, state = small_vit(**taps), dict(small_stock(**source).state_dict())
    vit.load_state_dict(state)
    for key, value in vit.state_dict().items():
        if key != 'pos_embed':
            assert torch.equal(value, state[key]), key
    model = classifier(backbone=taps, neck=dict(type='GlobalAveragePooling'))
    state = dict(model.state_dict())
    state['backbone.ln1.weight'] = torch.ones(24)
    with pytest.raises(ValueError, match=r'1 unexpected: backbone\.ln1'):
        model.load_state_dict(state)


def test_changes_are_logged(
    caplog: pytest.LogCaptureFixture, request: pytest.FixtureRequest
) -> None:
    logger = MMLogger.get_current_instance()
    logger.addHandler(caplog.handler)
    request.addfinalizer(lambda: logger.removeHandler(caplog.handler))
    cfg = dict(with_cls_token=False, **POOL)
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


def with_head(**weights: torch.Tensor) -> State:
    """A state dict with another head; names with '__' for dots."""
    state = {k: v for k, v in full_state().items() if 'head.' not in k}
    names = {k: f'head.{k.replace("__", ".")}' for k in weights}
    return {**state, **{names[k]: v for k, v in weights.items()}}


FOREIGN_HEADS: dict[str, State] = dict(
    other_classes=dict(fc__weight=torch.zeros(4, 24), fc__bias=torch.zeros(4)),
    other_names=dict(
        layers__head__weight=torch.zeros(9, 24),
        layers__head__bias=torch.zeros(9),
    ),
    none={},
    half=dict(fc__weight=torch.zeros(9, 24)),
)


@every_way
@pytest.mark.parametrize('foreign', FOREIGN_HEADS)
def test_new_head(
    load: Callable[..., None], foreign: str, tmp_path: Path
) -> None:
    state = with_head(**FOREIGN_HEADS[foreign])
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


def test_new_head_is_loaded_if_it_fits() -> None:
    model, state = classifier(new_head=True), full_state()
    model.load_state_dict(state)
    assert_same_weights(model, state)
    assert model.head_was_loaded
