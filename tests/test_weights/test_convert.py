"""Converted weights compute what the network they come from computes."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from timm.layers import SwiGLUPacked
from torch import Tensor, nn

import eavit_mm  # noqa: F401
from eavit_mm.weights import convert_weights, layout_of

from .foreign import (
    TINY,
    big_vision_arrays,
    flax_arrays,
    hub_names,
    new_names,
    shuffle,
    timm_vit,
)
from .toys import (
    ARCH,
    POOL,
    assert_same,
    backbone,
    classifier,
    images,
    write,
)

torch.set_num_threads(1)

State = dict[str, Tensor]
SCALE = dict(layer_scale_init_value=1.0)
# timm's networks with fc_norm=False: the norm stands before the pool.
NORMED_POOL: dict[str, Any] = dict(
    neck='GlobalAveragePooling', out_type='featmap', with_cls_token=False
)


def tensors(arrays: dict[str, np.ndarray]) -> State:
    return {name: torch.from_numpy(array) for name, array in arrays.items()}


def augreg(state: State) -> State:
    return tensors(flax_arrays(state, 6))


def big_vision(state: State) -> State:
    return tensors(big_vision_arrays(state, 6))


# Networks of timm's, and ours for the same function


def test_a_published_architecture() -> None:
    model = timm.create_model('vit_small_patch8_224.dino', img_size=32)
    shuffle(model)
    ours = backbone(arch='deit-small', img_size=32, patch_size=8)
    ours.load_state_dict(convert_weights(model.state_dict(), prefix=''))
    assert_same(ours, model, 32)


@pytest.mark.parametrize(
    ('name', 'theirs', 'ours'),
    [
        ('vit_small_patch16_224', {}, {}),
        (
            'vit_small_patch16_224',
            dict(pre_norm=True, qkv_bias=False),
            dict(pre_norm=True, qkv_bias=False),
        ),
        ('vit_small_patch16_224', dict(global_pool='avg'), POOL),
        (
            'vit_small_patch16_224',
            dict(global_pool='avg', class_token=False),
            dict(with_cls_token=False, **POOL),
        ),
        ('vit_base_patch16_gap_224', {}, NORMED_POOL),
        (
            'vit_medium_patch16_gap_240',
            {},
            dict(NORMED_POOL, qkv_bias=False, **SCALE),
        ),
        # Positions for patches alone.
        ('deit3_small_patch16_224', {}, SCALE),
        ('vit_small_patch16_224', dict(img_size=(8, 12)), {}),
    ],
)
def test_networks_of_timm(name: str, theirs: Any, ours: Any) -> None:
    model = timm_vit(name, **theirs)
    size = theirs.get('img_size', 12)
    network = classifier(img_size=size, **ours)
    network.load_state_dict(convert_weights(model.state_dict()))
    assert_same(network, model, size)


def deit3_release(state: State) -> State:
    return {
        name.replace('ls1.gamma', 'gamma_1').replace('ls2.gamma', 'gamma_2'): w
        for name, w in state.items()
    }


@pytest.mark.parametrize(
    ('names', 'name', 'layout'),
    [
        (hub_names, None, 'Hugging Face'),
        (lambda s: hub_names(s, 'deit.'), None, 'Hugging Face'),
        (lambda s: hub_names(s, ''), None, 'Hugging Face'),
        (lambda s: new_names(hub_names(s)), None, 'Hugging Face'),
        (augreg, None, 'flax'),
        (big_vision, 'flexivit_small', 'flax'),
        (deit3_release, 'deit3_small_patch16_224', 'timm'),
    ],
)
def test_names_of_other_libraries(
    names: Any, name: Any, layout: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = timm_vit(name or 'vit_small_patch16_224')
    state = names(model.state_dict())
    assert layout_of(state) == layout
    said: list[str] = []
    where = 'eavit_mm.weights.convert.print_log'
    monkeypatch.setattr(where, lambda text, *others: said.append(text))
    ours = classifier(**(SCALE if 'deit3' in (name or '') else {}))
    ours.load_state_dict(convert_weights(state))
    assert_same(ours, model)
    # Which of two networks it is, no file tells.
    may_be_another = names is deit3_release
    assert ['rope_ape' in text for text in said] == [True] * may_be_another


def test_arrays_of_one_head() -> None:
    model = timm_vit(num_heads=1)
    ours = classifier(arch=dict(ARCH, num_heads=1))
    arrays = tensors(flax_arrays(model.state_dict(), 1))
    ours.load_state_dict(convert_weights(arrays))
    assert_same(ours, model)


def test_npz_as_timm_reads_it(tmp_path: Path) -> None:
    """Our writer of the layout is right: timm's own reader says so."""
    model, other = timm_vit(), shuffle(timm_vit(), seed=1)
    other.load_pretrained(str(write('npz', model, tmp_path)))
    torch.testing.assert_close(other.state_dict(), model.state_dict())


def test_swiglu_of_dinov2s_release() -> None:
    model = timm_vit(
        init_values=1.0,
        mlp_layer=SwiGLUPacked,
        act_layer=nn.SiLU,
        mlp_ratio=4,
        num_classes=0,
    )
    state = {
        name.replace('mlp.fc1', 'mlp.w12').replace('mlp.fc2', 'mlp.w3'): w
        for name, w in model.state_dict().items()
    }
    hidden = model.blocks[0].mlp.fc2.in_features
    ffn = dict(ffn_type='swiglu_fused', feedforward_channels=hidden * 3 // 2)
    ours = backbone(layer_cfgs=ffn, **SCALE)
    ours.load_state_dict(convert_weights(state, prefix=''))
    assert_same(ours, model)


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
    state = timm_vit(num_classes=0).state_dict()
    assert not [k for k in convert_weights(state) if k.startswith('head')]
    for head in ('linear', 'vit'):
        with pytest.raises(ValueError, match=f'head={head}: there is no'):
            convert_weights(state, head)
    with pytest.raises(ValueError, match="head='mlp'; choose from linear"):
        convert_weights(state, 'mlp')


def test_dinov2s_classifier_of_hugging_face() -> None:
    """It takes token and mean; the backbone can be had without it."""
    model = timm_vit()
    state = hub_names(model.state_dict(), 'dinov2.')
    state['classifier.weight'] = torch.ones(9, 48)
    with pytest.raises(ValueError, match=r'shape \(9, 48\) for 24 ch'):
        convert_weights(state)
    ours = backbone()
    ours.load_state_dict(convert_weights(state, 'none', prefix=''))
    assert_same(ours, model)


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


@pytest.mark.parametrize(
    ('name', 'options', 'words'),
    [
        ('deit_tiny_distilled_patch16_224', {}, 'a distilled DeiT'),
        ('vit_small_patch14_reg4_dinov2', TINY, 'register tokens'),
        ('beit_base_patch16_224', TINY, 'relative positions'),
        ('vit_relpos_small_patch16_224', TINY, 'relative positions'),
        ('eva02_tiny_patch14_224', {}, r'\(EVA|EVA-02'),
        ('eva_giant_patch14_224', TINY, r'\(EVA'),
        ('swin_tiny_patch4_window7_224', {}, 'hierarchical network'),
        ('convnext_atto', {}, 'not the names of a ViT'),
        ('vit_base_patch16_siglip_224', TINY, "SigLIP's pool.* head=none"),
        ('vit_small_r26_s32_224', {}, 'a hybrid'),
        ('vit_small_patch16_224', dict(TINY, qk_norm=True), 'qk_norm'),
        ('cait_xxs24_224', {}, r'CaiT|class attention'),
        ('mixer_s32_224', {}, 'not the names of a ViT'),
        ('resnet18', {}, 'not the names of a ViT'),
        (
            'vit_small_patch16_224',
            dict(TINY, mlp_layer=SwiGLUPacked, mlp_ratio=4),
            r'gated FFN \(SwiGLU\) packed by timm',
        ),
        (
            'vit_small_patch16_224',
            dict(TINY, scale_attn_norm=True),
            'norms inside of attention',
        ),
        ('vit_small_patch16_224', dict(TINY, pos_embed='none'), 'no position'),
    ],
)
def test_refused_networks(name: str, options: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        convert_weights(timm.create_model(name, **options).state_dict())


@pytest.mark.parametrize(
    ('names', 'key', 'words'),
    [
        (dict, 'blocks.1.adapter.weight', r'1 weights: blocks\.1\.adapter'),
        (dict, 'layers.1.ln1.bias', r'two weights for .*\.1\.ln1'),
        (dict, 'blocks.0.gamma_1', r'two weights for .*\.0\.attn\.gamma1'),
        (hub_names, 'vit.embeddings.distillation_token', 'a distilled DeiT'),
        (hub_names, 'vit.embeddings.register_tokens', 'register tokens'),
        (hub_names, 'vit.layers.0.mlp.gate_proj.weight', r'w2\.weight is not'),
        (hub_names, 'vit.embeddings.detection_tokens', 'no place .*detection'),
        (hub_names, 'vit.lora_A.weight', 'LoRA'),
        (augreg, 'MAPHead_0/probe', "SigLIP's pool.* head=none"),
        (augreg, 'conv_root/kernel', 'a hybrid'),
        (augreg, 'Transformer/other/scale', 'no place .*other/weight'),
    ],
)
def test_refused_parts(names: Any, key: str, words: str) -> None:
    model = timm_vit(init_values=1.0 if names is dict else None)
    state = names(dict(model.state_dict()))
    state[key] = torch.ones(24)
    with pytest.raises(ValueError, match=words):
        convert_weights(state)


@pytest.mark.parametrize(
    ('names', 'missing', 'words'),
    [
        (dict, r'^blocks\.1\.mlp\.fc1\.bias', r'1\.ffn\.layers\.0\.0\.bias'),
        (dict, r'\.2\.attn\.proj\.weight', r'layers\.2\.attn\.proj\.weight'),
        (dict, r'^norm\.bias', r'1 weights .*: ln1\.bias'),
        (dict, r'norm1\.bias', r'3 weights .*: layers\.0\.ln1\.bias'),
        (dict, r'^patch_embed\.proj\.weight', 'not the names of a ViT'),
        (dict, r'^blocks\.1\.', r'12 weights are missing.*layers\.1'),
        (dict, r'^blocks\.', 'there are no layers'),
        (hub_names, r'\.0\.attention.*key\.bias', r'k\.bias is not'),
    ],
)
def test_missing_weights_are_named(
    names: Any, missing: str, words: str
) -> None:
    state = names(timm_vit().state_dict())
    cut = {k: w for k, w in state.items() if not re.search(missing, k)}
    with pytest.raises(ValueError, match=words):
        convert_weights(cut)


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
