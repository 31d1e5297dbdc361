"""Converted weights compute what timm's network computes."""

import runpy
import sys
from argparse import Namespace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from mmpretrain.registry import MODELS
from safetensors.torch import save_file
from timm.layers import SwiGLUPacked
from torch import Tensor, nn

import eavit_mm  # noqa: F401
from eavit_mm.models import ElasticVisionTransformer
from eavit_mm.weights import (
    convert_weights,
    from_flax,
    from_hugging_face,
    from_timm,
    layout_of,
    place_head,
    read_weights,
)

from .foreign import (
    TINY,
    big_vision_arrays,
    flax_arrays,
    hub_names,
    new_names,
    shuffle,
    timm_vit,
)

torch.set_num_threads(1)

TOOL = Path(__file__).resolve().parents[2] / 'tools' / 'convert.py'
# What TINY is in mmpretrain's words.
ARCH = dict(embed_dims=24, num_layers=3, num_heads=6, feedforward_channels=48)
TINY_VIT: dict[str, Any] = dict(arch=ARCH, img_size=12, patch_size=4)
POOL = dict(out_type='avg_featmap', final_norm=False)
# Of timm's networks with fc_norm=False: the norm stands before the pool.
NORMED_POOL = dict(out_type='featmap', with_cls_token=False)
HEADS = dict(linear='LinearClsHead', vit='VisionTransformerClsHead')


def classifier(
    head: str = 'linear',
    num_classes: int = 9,
    hidden: dict[str, Any] | None = None,
    neck: str | None = None,
    **backbone: Any,
) -> nn.Module:
    cfg = {**TINY_VIT, **backbone}
    channels = {'b': 768, 'deit-small': 384}.get(str(cfg['arch']), 24)
    model: nn.Module = MODELS.build(
        dict(
            type='eavit_mm.ElasticImageClassifier',
            backbone=dict(type='eavit_mm.ElasticVisionTransformer', **cfg),
            neck=dict(type=neck) if neck else None,
            head=dict(
                type=HEADS[head],
                num_classes=num_classes,
                in_channels=channels,
                **(hidden or {}),
            ),
        )
    )
    model.eval()
    return model


def backbone(**changes: Any) -> ElasticVisionTransformer:
    vit = ElasticVisionTransformer(**{**TINY_VIT, **changes})
    vit.eval()
    return vit


def images(size: int | tuple[int, int] = 12) -> Tensor:
    height, width = (size, size) if isinstance(size, int) else size
    return torch.randn(
        2, 3, height, width, generator=torch.Generator().manual_seed(7)
    )


@torch.no_grad()
def assert_same_logits(
    ours: nn.Module, theirs: nn.Module, size: int | tuple[int, int]
) -> None:
    x = images(size)
    expected = theirs(x)
    assert expected.std() > 0.1
    torch.testing.assert_close(
        ours(x, mode='tensor'), expected, rtol=1e-5, atol=1e-5
    )


@torch.no_grad()
def assert_same_features(
    ours: nn.Module,
    theirs: nn.Module,
    size: int | tuple[int, int] = 12,
) -> None:
    x = images(size)
    (feature,) = ours(x)
    expected = theirs.forward_head(theirs.forward_features(x), pre_logits=True)
    assert expected.std() > 0.1
    torch.testing.assert_close(feature, expected, rtol=1e-5, atol=1e-5)


# Networks as published


@pytest.mark.parametrize(
    ('name', 'arch'),
    [
        ('vit_base_patch16_224', 'b'),
        ('vit_base_patch16_224.augreg_in21k', 'b'),
        ('deit_small_patch16_224', 'deit-small'),
    ],
)
def test_published_classifiers(name: str, arch: str, tmp_path: Path) -> None:
    classes = 1000 if '21k' not in name else 17
    model = timm.create_model(
        name, pretrained=False, img_size=48, num_classes=classes
    )
    shuffle(model)
    path = tmp_path / 'deit.pth'
    torch.save(dict(model=model.state_dict()), path)
    ours = classifier(
        arch=arch, img_size=48, patch_size=16, num_classes=classes
    )
    ours.load_state_dict(convert_weights(read_weights(path)))
    assert_same_logits(ours, model, 48)


def test_dino(tmp_path: Path) -> None:
    model = timm.create_model(
        'vit_small_patch8_224.dino', pretrained=False, img_size=32
    )
    shuffle(model)
    path = tmp_path / 'dino.pth'
    torch.save(model.state_dict(), path)
    ours = backbone(arch='deit-small', img_size=32, patch_size=8)
    ours.load_state_dict(convert_weights(read_weights(path), prefix=''))
    assert_same_features(ours, model, 32)


def test_dino_training_checkpoint(tmp_path: Path) -> None:
    """As main_dino.py writes it: both networks, options, a projector."""
    model = timm_vit(num_classes=0)
    teacher = {f'backbone.{k}': w for k, w in model.state_dict().items()}
    teacher['head.mlp.0.weight'] = torch.randn(5, 24)
    teacher['head.last_layer.weight_v'] = torch.randn(5, 5)
    student = {f'module.{k}': torch.zeros_like(w) for k, w in teacher.items()}
    path = tmp_path / 'checkpoint.pth'
    torch.save(
        dict(
            student=student,
            teacher=teacher,
            epoch=3,
            args=Namespace(arch='vit_small'),
            optimizer=dict(state={}, param_groups=[]),
        ),
        path,
    )
    ours = backbone()
    ours.load_state_dict(convert_weights(read_weights(path), prefix=''))
    assert_same_features(ours, model)
    # 'module.' of a network in parallel.
    torch.save(
        dict(teacher={f'module.{k}': w for k, w in teacher.items()}), path
    )
    again = convert_weights(read_weights(path), prefix='')
    assert all(torch.equal(again[k], w) for k, w in ours.state_dict().items())


# Variants of one network


@pytest.mark.parametrize('head', ['linear', 'vit'])
def test_heads(head: str) -> None:
    model = timm_vit()
    ours = classifier(head)
    ours.load_state_dict(convert_weights(model.state_dict(), head))
    assert_same_logits(ours, model, 12)


@pytest.mark.parametrize('class_token', [True, False])
def test_mean_pool(class_token: bool) -> None:
    model = timm_vit(global_pool='avg', class_token=class_token)
    assert 'fc_norm.weight' in model.state_dict()
    ours = classifier(with_cls_token=class_token, **POOL)
    ours.load_state_dict(convert_weights(model.state_dict()))
    assert_same_logits(ours, model, 12)


NORMED_POOLS = {
    'vit_base_patch16_gap_224': dict(),
    'vit_medium_patch16_gap_240': dict(
        qkv_bias=False, layer_scale_init_value=1.0
    ),
}


@pytest.mark.parametrize('name', NORMED_POOLS)
def test_a_norm_before_the_mean(name: str) -> None:
    model = timm_vit(name)
    state = convert_weights(model.state_dict())
    options: Any = NORMED_POOLS[name]
    ours = classifier(neck='GlobalAveragePooling', **NORMED_POOL, **options)
    ours.load_state_dict(state)
    assert_same_logits(ours, model, 12)
    # The norm behind the pool is another function.
    other = classifier(with_cls_token=False, **POOL, **options)
    words = r"ln1\.bias.*take out_type='featmap'.*GlobalAveragePooling"
    with pytest.raises(ValueError, match=words):
        other.load_state_dict(state)


def test_layer_scale_of_deit3() -> None:
    """timm's DeiT III: positions for patches alone, too."""
    model = timm_vit('deit3_small_patch16_224')
    state = model.state_dict()
    assert state['pos_embed'].shape[1] == 9
    ours = classifier(layer_scale_init_value=1.0)
    ours.load_state_dict(convert_weights(state))
    assert_same_logits(ours, model, 12)
    # The names of its own release.
    released = {
        name.replace('ls1.gamma', 'gamma_1').replace('ls2.gamma', 'gamma_2'): w
        for name, w in state.items()
    }
    ours.load_state_dict(convert_weights(released))
    assert_same_logits(ours, model, 12)


def test_no_qkv_bias_and_a_norm_in_front() -> None:
    model = timm_vit(pre_norm=True, qkv_bias=False)
    ours = classifier(pre_norm=True, qkv_bias=False)
    ours.load_state_dict(convert_weights(model.state_dict()))
    assert_same_logits(ours, model, 12)


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
    state['mask_token'] = torch.randn(1, 24)
    hidden = model.blocks[0].mlp.fc2.in_features
    ours = backbone(
        layer_scale_init_value=1.0,
        layer_cfgs=dict(
            ffn_type='swiglu_fused', feedforward_channels=hidden * 3 // 2
        ),
    )
    ours.load_state_dict(convert_weights(state, prefix=''))
    assert_same_features(ours, model)


def test_what_masked_pretraining_leaves(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """MAE's full checkpoint: decoder and mask token are dropped, logged."""
    model = timm_vit(num_classes=0)
    state = dict(model.state_dict())
    for key in ('mask_token', 'decoder_embed.weight', 'decoder_pos_embed'):
        state[key] = torch.ones(2)
    state['decoder_blocks.0.attn.qkv.weight'] = torch.ones(2)
    said: list[str] = []
    monkeypatch.setattr(
        'eavit_mm.weights.renaming.print_log',
        lambda text, logger: said.append(text),
    )
    ours = backbone()
    ours.load_state_dict(convert_weights(state, prefix=''))
    assert_same_features(ours, model)
    (text,) = said
    assert 'of pretraining only: decoder_blocks.0.attn' in text


def test_a_hidden_layer_in_the_head() -> None:
    """timm until 0.5 and the ViT paper's in21k files: pre_logits."""
    model = timm_vit()
    rng = torch.Generator().manual_seed(3)
    state = dict(model.state_dict())
    state['pre_logits.fc.weight'] = torch.randn(15, 24, generator=rng)
    state['pre_logits.fc.bias'] = torch.randn(15, generator=rng)
    state['head.weight'] = torch.randn(9, 15, generator=rng)
    ours = classifier('vit', hidden=dict(hidden_dim=15))
    ours.load_state_dict(convert_weights(state, 'vit'))
    feature = model.forward_head(model.forward_features(images()), True)
    hidden = torch.tanh(
        feature @ state['pre_logits.fc.weight'].T + state['pre_logits.fc.bias']
    )
    expected = hidden @ state['head.weight'].T + state['head.bias']
    torch.testing.assert_close(
        ours(images(), mode='tensor'), expected, rtol=1e-5, atol=1e-5
    )
    for head in (None, 'linear'):
        with pytest.raises(ValueError, match='take head=vit'):
            convert_weights(state, head)


# Other libraries' names


@pytest.mark.parametrize('names', ['hub', 'transformers 5'])
@pytest.mark.parametrize('start', ['vit.', 'deit.', ''])
def test_hugging_face(names: str, start: str) -> None:
    model = timm_vit()
    state = hub_names(model.state_dict(), start)
    if names != 'hub':
        state = new_names(state)
        assert f'{start}layers.0.attention.q_proj.weight' in state
    assert layout_of(state) == 'Hugging Face'
    ours = classifier()
    ours.load_state_dict(convert_weights(state))
    assert_same_logits(ours, model, 12)
    # What pretraining leaves in such files.
    state[f'{start}pooler.dense.weight'] = torch.randn(24, 24)
    state[f'{start}embeddings.mask_token'] = torch.randn(1, 1, 24)
    ours.load_state_dict(convert_weights(state))


@pytest.mark.parametrize('arrays', [flax_arrays, big_vision_arrays])
@pytest.mark.parametrize('heads', [6, 1])
def test_npz(arrays: Any, heads: int, tmp_path: Path) -> None:
    model = timm_vit(num_heads=heads)
    path = tmp_path / 'S_16.npz'
    np.savez(path, **arrays(model.state_dict(), heads))
    weights = read_weights(path)
    assert layout_of(weights) == 'flax'
    ours = classifier(arch=dict(ARCH, num_heads=heads))
    ours.load_state_dict(convert_weights(weights))
    assert_same_logits(ours, model, 12)


def test_npz_as_timm_reads_it(tmp_path: Path) -> None:
    """Our writer of the layout is right: timm's own reader says so."""
    model = timm_vit()
    path = tmp_path / 'S_16.npz'
    np.savez(path, **flax_arrays(model.state_dict(), 6))
    other = timm_vit()
    shuffle(other, seed=1)
    other.load_pretrained(str(path))
    torch.testing.assert_close(other.state_dict(), model.state_dict())


def test_npz_with_a_hidden_layer_in_the_head() -> None:
    model = timm_vit()
    arrays = {
        k: torch.from_numpy(v)
        for k, v in flax_arrays(model.state_dict(), 6).items()
    }
    arrays['pre_logits/kernel'] = torch.randn(24, 15)
    arrays['pre_logits/bias'] = torch.randn(15)
    arrays['head/kernel'] = torch.randn(15, 9)
    state = convert_weights(arrays, 'vit')
    torch.testing.assert_close(
        state['head.layers.pre_logits.weight'], arrays['pre_logits/kernel'].T
    )
    classifier('vit', hidden=dict(hidden_dim=15)).load_state_dict(state)


def test_every_layout_gives_the_same_weights() -> None:
    state = timm_vit().state_dict()
    arrays = {k: torch.from_numpy(v) for k, v in flax_arrays(state, 6).items()}
    expected = from_timm(state)
    for found in (from_hugging_face(hub_names(state)), from_flax(arrays)):
        assert found.keys() == expected.keys()
        for name, weight in expected.items():
            assert torch.equal(found[name], weight), name


def test_every_tensor_is_its_own() -> None:
    """Nothing is shared with the source, nor a view of more."""
    state = timm_vit().state_dict()
    for weight in convert_weights(state).values():
        assert weight.is_contiguous()
        assert weight.untyped_storage().nbytes() == 4 * weight.numel()
        weight.zero_()
    assert state['pos_embed'].abs().sum() > 0


@pytest.mark.parametrize('kind', [torch.float16, torch.float8_e4m3fn])
@pytest.mark.parametrize('names', [dict, hub_names])
def test_precision_is_kept(kind: torch.dtype, names: Any) -> None:
    state = {k: w.to(kind) for k, w in timm_vit().state_dict().items()}
    converted = convert_weights(names(state))
    assert {w.dtype for w in converted.values()} == {kind}


def test_packed_numbers_are_refused_by_name() -> None:
    state = timm_vit().state_dict()
    packed = torch.zeros(24, dtype=torch.uint8).view(torch.float4_e2m1fn_x2)
    state['norm.bias'] = packed
    with pytest.raises(ValueError, match=r'ln1\.bias: .*float4_e2m1fn_x2'):
        convert_weights(state)


# Grids


def test_a_grid_that_is_not_square_loads_into_its_own_network() -> None:
    model = timm_vit(img_size=(8, 12))
    state = convert_weights(model.state_dict())
    ours = classifier(img_size=(8, 12))
    ours.load_state_dict(state)
    x = torch.randn(2, 3, 8, 12)
    torch.testing.assert_close(
        ours(x, mode='tensor'), model(x), rtol=1e-5, atol=1e-5
    )
    with pytest.raises(ValueError, match=r'pos_embed: \(1, 7, 24\) for'):
        classifier().load_state_dict(state)


@pytest.mark.parametrize('img_size', [(12, 20), (8, 16), (4, 60)])
def test_a_square_number_of_tokens_is_not_guessed_at(img_size: Any) -> None:
    """A class token and n x (n + 2) patches, or a square of patches."""
    model = timm_vit(img_size=img_size)
    state = model.state_dict()
    with pytest.raises(ValueError, match=r'--class-position no .* or yes'):
        convert_weights(state)
    ours = classifier(img_size=img_size)
    patches = ours.backbone.geometry.num_patches
    for said in (dict(class_position=True), dict(num_patches=patches)):
        ours.load_state_dict(convert_weights(state, **said))
        assert_same_logits(ours, model, img_size)
    # By their names, these have a position for the class token.
    arrays = flax_arrays(state, 6)
    augreg = {k: torch.from_numpy(v) for k, v in arrays.items()}
    for foreign in (hub_names(state), augreg):
        ours.load_state_dict(convert_weights(foreign))
        assert_same_logits(ours, model, img_size)


@pytest.mark.parametrize('size', [12, 16, (8, 12), (8, 20)])
def test_positions_of_patches_alone_without_a_sign(size: Any) -> None:
    """FlexiViT: no layer scale says so."""
    model = timm_vit('flexivit_small', img_size=size)
    state = model.state_dict()
    if isinstance(size, int):
        with pytest.raises(ValueError, match='--class-position'):
            convert_weights(state)
    ours = classifier(img_size=size)
    ours.load_state_dict(convert_weights(state, class_position=False))
    assert_same_logits(ours, model, size)


@pytest.mark.parametrize('size', [12, 16])
def test_positions_of_big_vision(size: int) -> None:
    model = timm_vit('flexivit_small', img_size=size)
    arrays = big_vision_arrays(model.state_dict(), 6)
    weights = {k: torch.from_numpy(v) for k, v in arrays.items()}
    ours = classifier(img_size=size)
    ours.load_state_dict(convert_weights(weights))
    assert_same_logits(ours, model, size)


def test_positions_without_a_class_token() -> None:
    state = timm_vit(class_token=False, global_pool='avg').state_dict()
    with pytest.raises(ValueError, match='there is no class token among'):
        convert_weights(state, class_position=False)


def test_positions_of_another_rank_are_refused() -> None:
    state = timm_vit().state_dict()
    state['pos_embed'] = torch.zeros(1, 3, 3, 24)
    with pytest.raises(ValueError, match=r'pos_embed: shape \(1, 3, 3, 24\)'):
        convert_weights(state)
    del state['pos_embed']
    with pytest.raises(ValueError, match='there is no position embedding'):
        convert_weights(state)


# Refused


def big(name: str, **options: Any) -> Any:
    return timm.create_model(name, pretrained=False, **options).state_dict()


@pytest.mark.parametrize(
    ('name', 'options', 'words'),
    [
        ('deit_tiny_distilled_patch16_224', {}, 'a distilled DeiT'),
        ('vit_small_patch14_reg4_dinov2', dict(TINY), 'register tokens'),
        ('beit_base_patch16_224', dict(TINY), 'relative positions'),
        ('vit_relpos_small_patch16_224', dict(TINY), 'relative positions'),
        ('eva02_tiny_patch14_224', {}, r'\(EVA|EVA-02'),
        ('eva_giant_patch14_224', dict(TINY), r'\(EVA'),
        ('swin_tiny_patch4_window7_224', {}, 'hierarchical network'),
        ('convnext_atto', {}, 'hierarchical network'),
        ('vit_base_patch16_siglip_224', dict(TINY), 'attention pooling'),
        ('vit_small_r26_s32_224', {}, 'a hybrid'),
        ('vit_small_patch16_224', dict(TINY, qk_norm=True), 'qk_norm'),
        ('cait_xxs24_224', {}, r'CaiT|class attention'),
        ('mixer_s32_224', {}, 'MLP-Mixer|not the names of a ViT'),
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
def test_refused_networks_of_timm(
    name: str, options: dict[str, Any], words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        convert_weights(big(name, **options))


@pytest.mark.parametrize(
    ('key', 'words'),
    [
        ('deit.embeddings.distillation_token', 'a distilled DeiT'),
        ('distillation_classifier.weight', 'a distilled DeiT'),
        ('cls_classifier.weight', 'a distilled DeiT'),
        ('vit.embeddings.register_tokens', 'register tokens'),
        ('vit.encoder.layer.0.mlp.weights_in.weight', 'SwiGLU'),
        ('vit.layers.0.mlp.gate_proj.weight', 'SwiGLU'),
        (
            'beit.encoder.layer.0.attention.attention.relative_position_bias'
            '.relative_position_bias_table',
            'relative positions',
        ),
        ('vision_model.x', 'images and text'),
        ('vit.embeddings.detection_tokens', 'no place .*detection_tokens'),
        ('lora_A.weight', 'LoRA'),
    ],
)
def test_refused_parts_of_hugging_face(key: str, words: str) -> None:
    state = hub_names(timm_vit().state_dict())
    state[key] = torch.ones(2)
    with pytest.raises(ValueError, match=words):
        convert_weights(state)


@pytest.mark.parametrize(
    ('key', 'words'),
    [
        ('MAPHead_0/probe', 'attention pooling'),
        ('conv_root/kernel', 'a hybrid'),
        ('txt/Encoder/kernel', 'images and text'),
        ('MixerBlock_0/LayerNorm_0/scale', 'MLP-Mixer'),
        ('Transformer/other/scale', 'no place .*Transformer/other/weight'),
    ],
)
def test_refused_parts_of_flax(key: str, words: str) -> None:
    arrays = {
        k: torch.from_numpy(v)
        for k, v in flax_arrays(timm_vit().state_dict(), 6).items()
    }
    arrays[key] = torch.ones(2)
    with pytest.raises(ValueError, match=words):
        convert_weights(arrays)


def test_an_unknown_weight_is_never_dropped_in_silence() -> None:
    state = timm_vit().state_dict()
    state['blocks.1.adapter.weight'] = torch.ones(2)
    with pytest.raises(ValueError, match=r'1 weights: blocks\.1\.adapter'):
        convert_weights(state)


@pytest.mark.parametrize(
    ('key', 'missing'),
    [
        ('blocks.1.mlp.fc1.bias', r'layers\.1\.ffn\.layers\.0\.0\.bias'),
        ('blocks.2.attn.proj.weight', r'layers\.2\.attn\.proj\.weight'),
        ('norm.bias', r'ln1\.bias'),
        ('patch_embed.proj.weight', 'not the names of a ViT'),
    ],
)
def test_a_missing_weight_is_named(key: str, missing: str) -> None:
    state = timm_vit().state_dict()
    del state[key]
    with pytest.raises(ValueError, match=missing):
        convert_weights(state)


def test_a_missing_layer_is_named() -> None:
    state = timm_vit().state_dict()
    cut = {k: w for k, w in state.items() if not k.startswith('blocks.1.')}
    with pytest.raises(ValueError, match=r'12 weights are missing.*layers\.1'):
        convert_weights(cut)
    none = {k: w for k, w in state.items() if not k.startswith('blocks.')}
    with pytest.raises(ValueError, match='there are no layers'):
        convert_weights(none)


def test_a_missing_key_projection_is_named() -> None:
    state = hub_names(timm_vit().state_dict())
    del state['vit.encoder.layer.0.attention.attention.key.bias']
    with pytest.raises(ValueError, match=r'attn\.k\.bias is not'):
        convert_weights(state)


def test_norms_without_bias_are_named() -> None:
    state = timm_vit().state_dict()
    rms = {k: w for k, w in state.items() if not k.endswith('norm1.bias')}
    with pytest.raises(ValueError, match=r'layers\.0\.ln1\.bias'):
        convert_weights(rms)


def test_flat_patches_are_refused() -> None:
    state = timm_vit().state_dict()
    flat = state['patch_embed.proj.weight'].flatten(1)
    state['patch_embed.proj.weight'] = flat
    with pytest.raises(ValueError, match=r'patch embedding: .* \(24, 48\)'):
        convert_weights(state)


def test_dinov2s_classifier_of_hugging_face() -> None:
    state = hub_names(timm_vit().state_dict(), 'dinov2.')
    state['classifier.weight'] = torch.ones(9, 48)
    with pytest.raises(ValueError, match='48 inputs for 24 channels'):
        convert_weights(state)


def test_mmpretrains_own_names_need_no_conversion() -> None:
    for prefix in ('', 'backbone.'):
        state = {prefix + k: w for k, w in backbone().state_dict().items()}
        with pytest.raises(ValueError, match='names already'):
            convert_weights(state)


def test_a_head_that_is_not_there() -> None:
    state = timm_vit(num_classes=0).state_dict()
    assert not [k for k in convert_weights(state) if k.startswith('head')]
    for head in ('linear', 'vit'):
        with pytest.raises(ValueError, match=f'head={head}: there is no'):
            convert_weights(state, head)
    with pytest.raises(ValueError, match="head='mlp'; choose from linear"):
        place_head(state, 'mlp')


# The tool


@pytest.fixture
def convert(monkeypatch: pytest.MonkeyPatch) -> Any:
    def run(*args: Any) -> None:
        monkeypatch.setattr(sys, 'argv', [str(TOOL), *map(str, args)])
        runpy.run_path(str(TOOL), run_name='__main__')

    return run


@pytest.mark.parametrize('suffix', ['pth', 'bin', 'safetensors', 'npz'])
def test_tool(convert: Any, suffix: str, tmp_path: Path, capsys: Any) -> None:
    model = timm_vit()
    state, source = model.state_dict(), tmp_path / f'source.{suffix}'
    if suffix == 'safetensors':
        save_file(state, source)
    elif suffix == 'npz':
        np.savez(source, **flax_arrays(state, 6))
    else:
        torch.save(hub_names(state) if suffix == 'bin' else state, source)
    out = tmp_path / 'new' / 'out.pth'
    convert(source, out)
    text = capsys.readouterr().out
    assert 'head.fc.weight' in text
    assert 'weights in ' in text
    assert [path.name for path in out.parent.iterdir()] == ['out.pth']
    saved = torch.load(out, weights_only=True)
    assert set(saved) == {'meta', 'state_dict'}
    ours = classifier()
    ours.load_state_dict(saved['state_dict'])
    assert_same_logits(ours, model, 12)


def test_options_of_the_tool(convert: Any, tmp_path: Path) -> None:
    source, out = tmp_path / 'source.pth', tmp_path / 'out.pth'
    torch.save(timm_vit().state_dict(), source)
    convert(source, out, '--head', 'none', '--prefix', '')
    backbone().load_state_dict(torch.load(out)['state_dict'])
    convert(source, out, '--head', 'vit', '--prefix', 'encoder.')
    state = torch.load(out)['state_dict']
    assert {'head.layers.head.weight', 'encoder.cls_token'} <= set(state)
    torch.save(timm_vit(img_size=(12, 20)).state_dict(), source)
    with pytest.raises(SystemExit, match='error: pos_embed: 16 rows are of'):
        convert(source, out)
    for said, rows in (('yes', 16), ('no', 17)):
        convert(source, out, '--class-position', said)
        state = torch.load(out)['state_dict']
        assert state['backbone.pos_embed'].shape[1] == rows


def test_errors_of_the_tool(convert: Any, tmp_path: Path) -> None:
    source, out = tmp_path / 'source.pth', tmp_path / 'out.pth'
    with pytest.raises(SystemExit, match=r'error: .*source\.pth is not there'):
        convert(source, out)
    torch.save(dict(state_dict={'a': torch.ones(2)}), source)
    with pytest.raises(SystemExit, match='error: not the names of a ViT'):
        convert(source, out)
    assert not out.exists()
