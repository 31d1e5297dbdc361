"""Checkpoints that are refused, and in which words."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from test_state_dict import (
    POOL,
    WAYS,
    State,
    every_way,
    full_state,
    refused,
    renamed,
    through_init_cfg,
    through_torch,
)
from toys import (
    assert_same_weights,
    classifier,
    options,
    small_stock,
    small_vit,
)

from eavit_mm.weights.state_dict import CheckpointError, require_sound


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


def without(state: State, key: str) -> State:
    return {k: value for k, value in state.items() if k != key}


def prefixed(state: State, prefix: str) -> State:
    return renamed(state, lambda key: prefix + key)


def of_depth(depth: int) -> State:
    return full_state(arch={**options()['arch'], 'num_layers': depth})


BIAS = 'backbone.layers.1.ln2.bias'
QKV = 'backbone.layers.1.attn.qkv.weight'
OTHER_HEAD = (
    r'this checkpoint does not fit ElasticImageClassifier; 2 of another '
    r'shape: head.fc.bias: \(4,\) for \(9,\), head.fc.weight: \(4, 24\) '
    r'for \(9, 24\)'
)
WORDS = {
    'timm': "These are timm's names: convert the checkpoint to mmpretrain's f",
    'backbone': 'missing: backbone.cls_token.*unexpected: cls_token',
    'shape': rf'; 1 of another shape: {QKV}: \(3, 5\) for \(',
    'nan': f'1 that are not finite numbers: {BIAS}: 24 NaN or infinite',
}
# What is refused in place of a whole classifier's state, and in which words.
REFUSED: dict[str, tuple[Callable[[State], State], str]] = dict(
    head=(lambda s: full_state(num_classes=4), OTHER_HEAD),
    backbone=(lambda s: dict(small_stock().state_dict()), WORDS['backbone']),
    timm=(lambda s: renamed(s, timm_names), WORDS['timm']),
    # Of two networks, which one?
    wrapped_twice=(
        lambda s: {**prefixed(s, 'model.'), **prefixed(s, 'ema_model.')},
        'missing: backbone.cls_token',
    ),
    missing=(lambda s: without(s, QKV), f'; 1 missing: {QKV}$'),
    unexpected=(lambda s: {**s, 'a.b': s[BIAS]}, '; 1 unexpected: a.b$'),
    shape=(lambda s: {**s, QKV: torch.zeros(3, 5)}, WORDS['shape']),
    shallower=(lambda s: of_depth(2), r'; 12 missing: .*s.2.attn.*, \.\.\.$'),
    deeper=(lambda s: of_depth(4), r'; 12 unexpected: .*s.3.attn.*, \.\.\.$'),
    empty=(lambda s: {}, 'missing.*It holds no weights for this network$'),
    no_tensor=(lambda s: {**s, BIAS: [1.0]}, f'shape: {BIAS}: list for '),
    none=(lambda s: {**s, 'epoch': None}, '1 unexpected: epoch'),
    nan=(lambda s: {**s, BIAS: s[BIAS] * torch.nan}, WORDS['nan']),
    integers=(lambda s: {**s, BIAS: s[BIAS].long()}, f'kind.*{BIAS}: .*int64'),
    complex=(lambda s: {**s, BIAS: s[BIAS] * 1j}, f'kind.*{BIAS}: .*complex'),
)


@every_way
@pytest.mark.parametrize('kind', REFUSED)
def test_refused(load: Callable[..., None], kind: str, tmp_path: Path) -> None:
    change, words = REFUSED[kind]
    refused(classifier(), change(full_state()), words, load, tmp_path)


def test_new_head_excuses_nothing_else(tmp_path: Path) -> None:
    state = without(full_state(num_classes=4), 'backbone.cls_token')
    words = '1 missing: backbone.cls_token$'
    for way in WAYS:
        refused(classifier(new_head=True), state, words, way, tmp_path)
        refused(classifier(new_head=True), {}, 'missing', way, tmp_path)


@pytest.mark.parametrize(
    ('own', 'given', 'words'),
    [
        ({}, dict(with_cls_token=False, out_type='raw'), '1 missing: cls_tok'),
        (
            dict(out_type='avg_featmap', with_cls_token=False),
            {},
            '; 2 missing: ln2.bias, ln2.weight$',
        ),
        (
            dict(out_type='raw', final_norm=False, with_cls_token=False),
            {},
            '; 2 unexpected: ln1.bias, ln1.weight$',
        ),
        # It has no class token: its norm is not moved behind the pool.
        (
            dict(with_cls_token=False, **POOL),
            dict(with_cls_token=False, out_type='featmap'),
            '; 2 missing: ln2.bias, ln2.weight; 2 unexpected: ln1.bias, '
            "ln1.weight. Its tokens .* take out_type='featmap'",
        ),
    ],
)
@pytest.mark.parametrize('load', [through_torch, through_init_cfg])
def test_refused_by_a_backbone(
    load: Callable[..., None],
    own: dict[str, Any],
    given: dict[str, Any] | None,
    words: str,
    tmp_path: Path,
) -> None:
    size = dict(img_size=(8, 8))
    state = full_state(**size)
    if given is not None:
        state = dict(small_stock(**given, **size).state_dict())
    refused(small_vit(**own, **size), state, words, load, tmp_path)


@pytest.mark.parametrize('own', [{}, dict(with_cls_token=False, **POOL)])
@pytest.mark.parametrize('load', [through_torch, through_init_cfg])
def test_another_number_of_registers(
    load: Callable[..., None], own: dict[str, Any], tmp_path: Path
) -> None:
    state = dict(small_vit(num_register_tokens=4).state_dict())
    for number in (0, 2):
        vit = small_vit(**own, num_register_tokens=number)
        words = f"num_register_tokens={number}; must be the checkpoint's 4 "
        refused(vit, state, words, load, tmp_path)
    with pytest.raises(ValueError, match='num_register_tokens=-1; must be an'):
        small_vit(num_register_tokens=-1)


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


@pytest.mark.parametrize('kind', BAD_POSITIONS)
def test_position_embedding_that_cannot_be_resized(
    kind: str, tmp_path: Path
) -> None:
    cfg = dict(img_size=(8, 8))
    state = full_state(**cfg)
    state['backbone.pos_embed'] = BAD_POSITIONS[kind].double()
    words = '1 of another shape: backbone.pos_embed'
    model = classifier(backbone=cfg)
    refused(model, state, words, through_torch, tmp_path)


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


@every_way
@pytest.mark.parametrize('kind', [torch.float8_e4m3fn, torch.float8_e5m2fnuz])
def test_float8(
    load: Callable[..., None], kind: torch.dtype, tmp_path: Path
) -> None:
    """Read as any other precision; its NaN is seen."""
    model = classifier()
    state = {key: value.to(kind) for key, value in full_state().items()}
    load(model, state, tmp_path)
    wide = {key: value.double() for key, value in state.items()}
    assert_same_weights(model, wide)
    state[BIAS] = torch.full((24,), torch.nan).to(kind)
    words = f'1 that are not finite numbers: {BIAS}: 24 NaN or infinite'
    refused(classifier(), state, words, load, tmp_path)
