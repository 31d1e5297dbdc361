"""Heads, positions and left-out parts; and what is refused, by name."""

import re
from collections.abc import Callable
from typing import Any

import pytest
import timm
import torch
from timm.layers import SwiGLUPacked

import eavit_mm  # noqa: F401
from eavit_mm.weights import convert_weights

from .foreign import (
    TINY,
    State,
    augreg,
    big_vision,
    hub_names,
    new_names,
    replaced,
    timm_vit,
    tower_names,
    within,
)
from .toys import assert_same, backbone, classifier, images

torch.set_num_threads(1)


def plus(key: str, names: Callable[[State], State] = dict) -> Any:
    """Names of a layout with one more weight."""
    return lambda state: names(state) | {key: torch.ones(24)}


def without(pattern: str, names: Callable[[State], State] = dict) -> Any:
    """Names of a layout, some of them missing."""
    return lambda state: {
        name: weight
        for name, weight in names(state).items()
        if not re.search(pattern, name)
    }


@pytest.mark.parametrize(
    ('names', 'extra', 'parts'),
    [
        (
            dict,
            ['mask_token', 'decoder_blocks.0.attn.qkv.weight'],
            ['mask_token', 'decoder_blocks'],
        ),
        (dict, ['head.mlp.0.weight', 'head.last_layer.weight_v'], ['head']),
        (
            hub_names,
            ['vit.pooler.dense.weight', 'vit.embeddings.mask_token'],
            ['pooler', 'embeddings'],
        ),
        (
            lambda s: {f'opt/target/{k}': w for k, w in augreg(s).items()},
            ['opt/state/step', 'opt/state/embedding/kernel/grad_ema'],
            ['state'],
        ),
    ],
)
def test_parts_of_pretraining_are_left_out_and_logged(
    names: Callable[[State], State],
    extra: list[str],
    parts: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = timm_vit(num_classes=0)
    state = names(dict(model.state_dict()))
    state.update((name, torch.ones(2)) for name in extra)
    said: list[str] = []
    where = 'eavit_mm.weights.layouts.print_log'
    monkeypatch.setattr(where, lambda text, logger: said.append(text))
    ours = backbone()
    ours.load_state_dict(convert_weights(state, prefix=''))
    assert_same(ours, model)
    (text,) = said
    assert text.startswith('left out, no part of the backbone: 2 weights of ')
    assert all(part in text for part in parts)


@pytest.mark.parametrize('layout', ['timm', 'flax'])
def test_a_hidden_layer_in_the_head(layout: str) -> None:
    """timm until 0.5 and the ViT paper's in21k files: pre_logits."""
    model = timm_vit()
    rng = torch.Generator().manual_seed(3)
    first, bias, last = (
        torch.randn(shape, generator=rng) for shape in ((15, 24), 15, (9, 15))
    )
    state = dict(model.state_dict())
    if layout == 'flax':
        state = augreg(state)
        state.update({'pre_logits/kernel': first.T, 'head/kernel': last.T})
        state['pre_logits/bias'] = bias
    else:
        state.update({'pre_logits.fc.weight': first, 'head.weight': last})
        state['pre_logits.fc.bias'] = bias
    ours = classifier('VisionTransformerClsHead', hidden_dim=15)
    ours.load_state_dict(convert_weights(state, 'vit'))
    feature = model.forward_head(model.forward_features(images()), True)
    expected = torch.tanh(feature @ first.T + bias) @ last.T + model.head.bias
    torch.testing.assert_close(
        ours(images(), mode='tensor'), expected, rtol=1e-5, atol=1e-5
    )
    for head in (None, 'linear'):
        with pytest.raises(ValueError, match='take head=vit'):
            convert_weights(state, head)


def test_heads() -> None:
    model = timm_vit()
    ours = classifier('VisionTransformerClsHead')
    ours.load_state_dict(convert_weights(model.state_dict(), 'vit'))
    assert_same(ours, model)
    # DINOv2's takes token and mean; the backbone can be had without it.
    state = hub_names(model.state_dict(), 'dinov2.')
    state['classifier.weight'] = torch.ones(9, 48)
    with pytest.raises(ValueError, match=r'shape \(9, 48\) for 24 ch'):
        convert_weights(state)
    bare = backbone()
    bare.load_state_dict(convert_weights(state, 'none', prefix=''))
    assert_same(bare, model)
    state = timm_vit(num_classes=0).state_dict()
    assert not [k for k in convert_weights(state) if k.startswith('head')]
    for head in ('linear', 'vit'):
        with pytest.raises(ValueError, match=f'head={head}: there is no'):
            convert_weights(state, head)
    with pytest.raises(ValueError, match="head='mlp'; must be one of"):
        convert_weights(state, 'mlp')


@pytest.mark.parametrize('kind', [torch.float16, torch.float8_e4m3fn])
@pytest.mark.parametrize('names', [dict, hub_names])
def test_every_tensor_is_its_own_in_its_precision(
    kind: torch.dtype, names: Any
) -> None:
    state = {k: w.to(kind) for k, w in timm_vit().state_dict().items()}
    for weight in convert_weights(names(state)).values():
        assert weight.dtype == kind
        assert weight.is_contiguous()
        size = weight.itemsize * weight.numel()
        assert weight.untyped_storage().nbytes() == size
        weight.zero_()
    assert state['pos_embed'].float().abs().sum() > 0


# Positions


@pytest.mark.parametrize('size', [(12, 20), (8, 16), (4, 60)])
def test_a_square_number_of_tokens_is_not_guessed_at(size: Any) -> None:
    """A class token and n x (n + 2) patches, or a square of patches."""
    model = timm_vit(img_size=size)
    state = model.state_dict()
    with pytest.raises(ValueError, match=r'--class-position no .* or yes'):
        convert_weights(state)
    ours = classifier(img_size=size)
    patches = ours.backbone.geometry.num_patches
    for said in (dict(class_position=True), dict(num_patches=patches)):
        ours.load_state_dict(convert_weights(state, **said))
        assert_same(ours, model, size)
    # By their names, these have a position for the class token.
    for foreign in (hub_names(state), augreg(state)):
        ours.load_state_dict(convert_weights(foreign))
        assert_same(ours, model, size)


@pytest.mark.parametrize('size', [12, 16, (8, 12), (8, 20)])
def test_positions_of_patches_alone_without_a_sign(size: Any) -> None:
    """FlexiViT: no layer scale says so, but big_vision's names do."""
    model = timm_vit('flexivit_small', img_size=size)
    state = model.state_dict()
    ours = classifier(img_size=size)
    ours.load_state_dict(convert_weights(state, class_position=False))
    assert_same(ours, model, size)
    if isinstance(size, int):
        with pytest.raises(ValueError, match='--class-position'):
            convert_weights(state)
        ours.load_state_dict(convert_weights(big_vision(state)))
        assert_same(ours, model, size)
    elif size == (8, 12):  # six rows for six patches; five are no square
        ours.load_state_dict(convert_weights(state, num_patches=6))
        assert_same(ours, model, size)


def test_positions_that_are_refused() -> None:
    state = timm_vit(class_token=False, global_pool='avg').state_dict()
    with pytest.raises(ValueError, match='there is no class token among'):
        convert_weights(state, class_position=False)
    state['pos_embed'] = torch.zeros(1, 3, 3, 24)
    with pytest.raises(ValueError, match=r'pos_embed: shape \(1, 3, 3, 24\)'):
        convert_weights(state)
    del state['pos_embed']
    with pytest.raises(ValueError, match='there is no position embedding'):
        convert_weights(state)


# Refused


def in_order(state: State) -> State:
    """As safetensors has them."""
    return {name: state[name] for name in sorted(state)}


SMALL = 'vit_small_patch16_224'
RPN = 'vit_base_patch16_rpn_224'
SIGLIP = 'vit_base_patch16_siglip_224'
PLAIN = dict(class_token=False, qkv_bias=False, global_pool='avg')
PACKED = dict(mlp_layer=SwiGLUPacked, mlp_ratio=4)
POOL = "reads what no head .*SigLIP's pool.*take head=none"


def meta_dinov3(state: State) -> State:
    """Its release has timm's names of DINOv2, and more."""
    more = {'storage_tokens': torch.ones(1, 4, 24)}
    more |= {'rope_embed.periods': torch.ones(2)}
    more |= {'blocks.0.attn.qkv.bias_mask': torch.ones(72)}
    return without('pos_embed')(state) | more


def hub_dinov3(state: State) -> State:
    """As Hugging Face has it."""
    names = {
        'layernorm_before': 'norm1',
        'layernorm_after': 'norm2',
        'vit.layernorm': 'vit.norm',
        'vit.layers.': 'vit.layer.',
        'patch_embeddings.projection': 'patch_embeddings',
        'mlp.fc1': 'mlp.up_proj',
        'mlp.fc2': 'mlp.down_proj',
    }
    hub = new_names(hub_names(without('pos_embed')(state)))
    hub['vit.embeddings.register_tokens'] = torch.ones(1, 4, 24)
    return {
        replaced(name, names).removeprefix('vit.'): weight
        for name, weight in hub.items()
    }


DINOV3 = 'rotary positions'
# timm's network, changes of it, its names, and what is said of them.
REFUSED: list[tuple[str, dict[str, Any] | None, Any, str]] = [
    ('deit_tiny_distilled_patch16_224', None, dict, 'a distilled DeiT'),
    ('vit_small_patch16_dinov3', dict(mlp_ratio=4), dict, DINOV3),
    (SMALL, dict(num_classes=0), meta_dinov3, DINOV3),
    (SMALL, dict(num_classes=0), hub_dinov3, DINOV3),
    ('beit_base_patch16_224', {}, dict, 'relative positions'),
    ('vit_relpos_small_patch16_224', {}, dict, 'relative positions'),
    ('eva02_tiny_patch14_224', None, dict, r'\(EVA|EVA-02'),
    ('eva_giant_patch14_224', {}, dict, r'\(EVA'),
    ('swin_tiny_patch4_window7_224', None, dict, 'hierarchical network'),
    ('convnext_atto', None, dict, 'not the names of a ViT'),
    ('vit_small_r26_s32_224', None, dict, 'a hybrid'),
    ('cait_xxs24_224', None, dict, r'CaiT|class attention'),
    ('mixer_s32_224', None, dict, 'not the names of a ViT'),
    ('resnet18', None, dict, 'not the names of a ViT'),
    ('naflexvit_base_patch16_gap', {}, dict, 'not the names of a'),
    (SMALL, dict(qk_norm=True), dict, 'qk_norm'),
    (SMALL, PACKED, dict, r'gated FFN \(SwiGLU\) packed by timm'),
    (SMALL, dict(scale_attn_norm=True), dict, 'norms inside of attention'),
    (SMALL, dict(pos_embed='none'), dict, 'no position'),
    # What has a ViT's names, but computes something else.
    (RPN, {}, dict, 'norms behind'),
    (RPN, dict(qkv_bias=True, class_token=True), dict, 'norms behind .*save'),
    (RPN, {}, in_order, 'norms behind'),
    (SMALL, PLAIN, in_order, 'norms behind'),
    (
        *('vit_small_patch16_rope_ape_224', dict(mlp_ratio=4)),
        *(in_order, 'rotary positions'),
    ),
    (
        *('vit_pe_core_tiny_patch16_384', dict(mlp_ratio=4)),
        *(dict, 'rotary positions .Perception Encoder'),
    ),
    (
        *('vit_pe_spatial_tiny_patch16_512', dict(mlp_ratio=4)),
        *(dict, 'rotary positions .Perception Encoder'),
    ),
    ('qwen3_vit_88m', {}, dict, 'rotary positions .Qwen3'),
    # Classifiers that read something else.
    (SIGLIP, {}, dict, POOL),
    (SMALL, {}, plus('MAPHead_0/probe', augreg), POOL),
    (SMALL, {}, plus('head.weight'), 'reads what no head'),
    (
        *('vit_base_patch16_clip_224', dict(num_classes=0)),
        lambda s: (
            within('vision_model.', tower_names)(s)
            | {'classifier.weight': torch.ones(9, 24)}
        ),
        'reads what no head',
    ),
    # A weight too much, or without a place.
    (SMALL, {}, plus('blocks.1.adapter.weight'), r'1 weights: blocks\.1\.ada'),
    (SMALL, {}, plus('reg_token'), 'another shape'),
    (SMALL, {}, plus('layers.1.ln1.bias'), r'two weights for .*\.1\.ln1'),
    (
        *(SMALL, dict(init_values=1.0), plus('blocks.0.gamma_1')),
        r'two weights for .*\.0\.attn\.gamma1',
    ),
    (
        *(SMALL, {}, plus('vit.embeddings.distillation_token', hub_names)),
        'a distilled DeiT',
    ),
    (
        *(SMALL, {}, plus('vit.layers.0.mlp.gate_proj.weight', hub_names)),
        r'w2\.weight is not',
    ),
    (
        *(SMALL, {}, plus('vit.embeddings.detection_tokens', hub_names)),
        'no place .*detection',
    ),
    (SMALL, {}, plus('vit.lora_A.weight', hub_names), 'LoRA'),
    (SMALL, {}, plus('conv_root/kernel', augreg), 'a hybrid'),
    (
        *(SMALL, {}, plus('Transformer/other/scale', augreg)),
        'no place .*other/weight',
    ),
    (
        *(SMALL, {}, plus('blocks.99999999999.norm1.weight')),
        'weights are missing',
    ),
    (
        *(SMALL, {}),
        lambda s: s | {'blocks.0.mlp.fc2.weight': torch.ones(())},
        'another shape than in a ViT',
    ),
    (
        *(SMALL, {}),
        lambda s: within('model.')(s) | within('ema_model.')(s),
        r"2 networks, whose names start with 'ema_model.', 'model.': choose",
    ),
    # Weights that are missing.
    (SMALL, {}, without(r'^blocks\.1\.mlp\.fc1\.b'), r'1\.ffn\.layers\.0\.0'),
    (SMALL, {}, without(r'\.2\.attn\.proj\.w'), r'layers\.2\.attn\.proj\.w'),
    (SMALL, {}, without(r'^norm\.bias'), r'1 weights .*: ln1\.bias'),
    (SMALL, {}, without(r'norm1\.b'), r'3 weights .*: layers\.0\.ln1\.bias'),
    (SMALL, {}, without(r'^patch_embed\.proj\.w'), 'not the names of a ViT'),
    (
        SMALL,
        {},
        without(r'^blocks\.1\.'),
        r'12 weights are missing.*layers\.1',
    ),
    (SMALL, {}, without(r'^blocks\.'), 'there are no layers'),
    (
        *(SMALL, {}, without(r'\.0\.attention.*key\.bias', hub_names)),
        r'k\.bias is not',
    ),
]


@pytest.mark.parametrize(('network', 'options', 'names', 'words'), REFUSED)
def test_refused(network: str, options: Any, names: Any, words: str) -> None:
    changes = {} if options is None else {**TINY, **options}
    state = timm.create_model(network, **changes).state_dict()
    with pytest.raises(ValueError, match=words) as error:
        convert_weights(names(dict(state)))
    assert len(str(error.value)) < 200


def test_order_shows_that_norms_stand_in_front() -> None:
    state = timm_vit(**PLAIN).state_dict()
    assert 'ln2.weight' in convert_weights(state, 'none', '')


def test_wrong_weights_are_named() -> None:
    state = timm_vit().state_dict()
    flat = state['patch_embed.proj.weight'].flatten(1)
    with pytest.raises(ValueError, match=r'patch embedding: .* \(24, 48\)'):
        convert_weights({**state, 'patch_embed.proj.weight': flat})
    packed = torch.zeros(24, dtype=torch.uint8).view(torch.float4_e2m1fn_x2)
    with pytest.raises(ValueError, match=r'ln1\.bias: .*float4_e2m1fn_x2'):
        convert_weights({**state, 'norm.bias': packed})
    for prefix in ('', 'backbone.'):
        ours = {prefix + k: w for k, w in backbone().state_dict().items()}
        with pytest.raises(ValueError, match='names already'):
            convert_weights(ours)
