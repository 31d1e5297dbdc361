"""Weights of every layout compute what the network they come from does."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine.registry import MODELS
from timm.layers import SwiGLUPacked
from torch import Tensor, nn
from torchvision.models import VisionTransformer as TorchvisionVit

import eavit_mm  # noqa: F401
from eavit_mm.weights import convert_weights, layout_of

from .foreign import (
    OPENAI,
    State,
    augreg,
    big_vision,
    hub_names,
    new_names,
    shuffle,
    timm_vit,
    tower_names,
    within,
)
from .toys import ARCH, POOL, assert_same, backbone, classifier, images, write

torch.set_num_threads(1)

SMALL = 'vit_small_patch16_224'
DEIT3 = 'deit3_small_patch16_224'
SCALE: Any = dict(layer_scale_init_value=1.0)
# timm's networks with fc_norm=False: the norm stands before the pool.
NORMED: Any = dict(
    neck='GlobalAveragePooling', out_type='featmap', with_cls_token=False
)


def deit3_release(state: State) -> State:
    return {
        name.replace('ls1.gamma', 'gamma_1').replace('ls2.gamma', 'gamma_2'): w
        for name, w in state.items()
    }


# Layout, its names for timm's, network, changes of it, ours.
CLASSIFIERS: list[tuple[str, Any, str, Any, Any]] = [
    ('timm', dict, SMALL, {}, {}),
    ('timm', dict, SMALL, dict(img_size=(8, 12)), {}),
    ('timm', dict, SMALL, dict(global_pool='avg'), POOL),
    (
        *('timm', dict, SMALL, dict(global_pool='avg', class_token=False)),
        dict(with_cls_token=False, **POOL),
    ),
    (
        *('timm', dict, SMALL, dict(pre_norm=True, qkv_bias=False)),
        dict(pre_norm=True, qkv_bias=False),
    ),
    ('timm', dict, 'vit_base_patch16_gap_224', {}, NORMED),
    (
        *('timm', dict, 'vit_medium_patch16_gap_240', {}),
        dict(NORMED, qkv_bias=False, **SCALE),
    ),
    # Positions for patches alone.
    ('timm', dict, DEIT3, {}, SCALE),
    ('timm', deit3_release, DEIT3, {}, SCALE),
    ('Hugging Face', hub_names, SMALL, {}, {}),
    ('Hugging Face', lambda s: hub_names(s, 'deit.'), SMALL, {}, {}),
    ('Hugging Face', lambda s: hub_names(s, ''), SMALL, {}, {}),
    ('Hugging Face', lambda s: new_names(hub_names(s)), SMALL, {}, {}),
    ('flax', augreg, SMALL, {}, {}),
    (
        *('flax', lambda s: augreg(s, 1), SMALL, dict(num_heads=1)),
        dict(arch=dict(ARCH, num_heads=1)),
    ),
    ('flax', big_vision, 'flexivit_small', {}, {}),
]


@pytest.mark.parametrize(
    ('layout', 'names', 'network', 'theirs', 'ours'), CLASSIFIERS
)
def test_classifiers(
    layout: str,
    names: Any,
    network: str,
    theirs: Any,
    ours: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    said: list[str] = []
    where = 'eavit_mm.weights.convert.print_log'
    monkeypatch.setattr(where, lambda text, *others: said.append(text))
    model = timm_vit(network, **theirs)
    state = names(dict(model.state_dict()))
    assert layout_of(state) == layout
    size = theirs.get('img_size', 12)
    converted = classifier(img_size=size, **ours)
    converted.load_state_dict(convert_weights(state))
    assert_same(converted, model, size)
    # Which of two networks it is, no file tells.
    may_be_another = names is deit3_release
    assert ['rope_ape' in text for text in said] == [True] * may_be_another


def test_npz_as_timm_reads_it(tmp_path: Path) -> None:
    """Our writer of the layout is right: timm's own reader says so."""
    model, other = timm_vit(), shuffle(timm_vit(), seed=1)
    other.load_pretrained(str(write('npz', model, tmp_path)))
    torch.testing.assert_close(other.state_dict(), model.state_dict())


CLIP: Any = dict(pre_norm=True)
SIGLIP: Any = dict(with_cls_token=False, out_type='raw')
TORCHVISION: Any = dict(
    **dict(image_size=12, patch_size=4, num_layers=3, num_heads=6),
    **dict(hidden_dim=24, mlp_dim=48, num_classes=9),
)
SEGMENTOR: Any = dict(
    **dict(type='mmseg.VisionTransformer', img_size=12, patch_size=4),
    **dict(embed_dims=24, num_layers=3, num_heads=6, mlp_ratio=2),
    norm_cfg=dict(type='LN', eps=1e-6),
)
SWIGLU: Any = dict(
    init_values=1.0, mlp_layer=SwiGLUPacked, act_layer=nn.SiLU, mlp_ratio=4
)


def tokens(model: Any, x: Tensor) -> Tensor:
    return model.forward_features(x)


def first(model: Any, x: Tensor) -> Tensor:
    return model.forward_features(x)[:, 0]


def torchvision_feature(model: Any, x: Tensor) -> Tensor:
    model.heads = nn.Identity()
    return model(x)


def segmentor_feature(model: Any, x: Tensor) -> Tensor:
    return model(x)[-1]


def siglip_npz(state: State) -> State:
    arrays = augreg({k: w for k, w in state.items() if 'attn_pool' not in k})
    return arrays | {'MAPHead_0/probe': torch.ones(1, 1, 24)}


def swiglu_release(state: State) -> State:
    return {
        name.replace('mlp.fc1', 'mlp.w12').replace('mlp.fc2', 'mlp.w3'): w
        for name, w in state.items()
    }


def swiglu_names(first: str, second: str, last: str) -> Any:
    """DINOv2's gated FFN; of one name, both halves stay together."""

    def names(state: State) -> State:
        renamed: State = {}
        for name, weight in hub_names(state, 'dinov2.').items():
            name = name.replace('output.dense', last, 'attention' not in name)
            for i in '12':
                name = name.replace(f'ls{i}.gamma', f'layer_scale{i}.lambda1')
            halves = [(first, weight)]
            if 'intermediate.dense' in name and second:
                halves = [*zip((first, second), weight.chunk(2), strict=True)]
            for new, half in halves:
                renamed[name.replace('intermediate.dense', new)] = half
        return renamed

    return names


REG4: Any = dict(name='vit_small_patch14_reg4_dinov2')
REGISTERS: Any = dict(SCALE, out_type='raw', num_register_tokens=4)


def registers_release(state: State) -> State:
    """Meta's: the class token has a position, registers have none."""
    renamed = dict(state)
    first = 0.3 * torch.randn(1, 1, 24).double()
    renamed['cls_token'] = state['cls_token'] - first
    renamed['pos_embed'] = torch.cat((first, state['pos_embed']), dim=1)
    renamed['register_tokens'] = renamed.pop('reg_token')
    return renamed


def registers_hub(state: State) -> State:
    names = hub_names(registers_release(state), 'dinov2_with_registers.')
    return {
        re.sub('ls([12]).gamma', r'layer_scale\1.lambda1', name).replace(
            '.register_tokens', '.embeddings.register_tokens'
        ): weight
        for name, weight in names.items()
    }


# Name of a layout -> its network, its names for timm's, what must come out,
# and our network.
BACKBONES: dict[str, tuple[Any, Any, Callable[..., Tensor], Any]] = {
    'CLIP, hub': ('clip_224', tower_names, first, CLIP),
    'CLIP, hub, both towers': (
        *('clip_224', within('vision_model.', tower_names), first, CLIP),
    ),
    'CLIP, in LLaVA': (
        'clip_224',
        within('model.vision_tower.vision_model.', tower_names),
        *(first, CLIP),
    ),
    'CLIP, OpenAI': (
        'clip_224',
        within('visual.', lambda state: tower_names(state, OPENAI)),
        *(first, CLIP),
    ),
    'CLIP, open_clip with timm': (
        *('clip_224', within('visual.trunk.'), first, CLIP),
    ),
    'SigLIP, timm with its pool': ('siglip_224', dict, tokens, SIGLIP),
    'SigLIP, hub': (
        *('siglip_224', within('vision_model.', tower_names), tokens, SIGLIP),
    ),
    'SigLIP, flax, both towers': (
        *('siglip_224', within('params/img/', siglip_npz), tokens, SIGLIP),
    ),
    'DINOv2 SwiGLU, release': (SWIGLU, swiglu_release, first, SCALE),
    'DINOv2 SwiGLU, hub': (
        SWIGLU,
        swiglu_names('mlp.weights_in', '', 'mlp.weights_out'),
        *(first, SCALE),
    ),
    'DINOv2 SwiGLU, transformers 5': (
        SWIGLU,
        swiglu_names('mlp.gate_proj', 'mlp.up_proj', 'mlp.down_proj'),
        *(first, SCALE),
    ),
    'DINOv2 with registers, timm': (REG4, dict, tokens, REGISTERS),
    'DINOv2 with registers, release': (
        *(REG4, registers_release, tokens, REGISTERS),
    ),
    'DINOv2 with registers, hub': (REG4, registers_hub, tokens, REGISTERS),
    'registers with positions, no class token': (
        dict(
            REG4,
            no_embed_class=False,
            class_token=False,
            global_pool='avg',
            fc_norm=False,
        ),
        *(dict, tokens, dict(REGISTERS, with_cls_token=False)),
    ),
    'torchvision': (
        *(lambda: TorchvisionVit(**TORCHVISION), dict),
        *(torchvision_feature, {}),
    ),
    'mmseg': (
        lambda: MODELS.build(dict(SEGMENTOR, final_norm=True)),
        *(within('module.backbone.'), segmentor_feature),
        dict(patch_cfg=dict(bias=False), out_type='featmap'),
    ),
    'mmseg with pre_norm': (
        lambda: MODELS.build(dict(SEGMENTOR, pre_norm=True)),
        *(within('backbone.'), segmentor_feature),
        dict(out_type='featmap', pre_norm=True, final_norm=False),
    ),
    'no norm at the end': (
        *(dict(final_norm=False, init_values=1.0), dict, first),
        dict(SCALE, final_norm=False),
    ),
}


def build(source: Any) -> Any:
    if callable(source):
        return shuffle(source())
    if isinstance(source, dict):
        return timm_vit(**{'num_classes': 0, **source})
    return timm_vit(f'vit_base_patch16_{source}', num_classes=0)


@pytest.mark.parametrize('name', BACKBONES)
def test_backbones(name: str) -> None:
    source, names, feature, ours = BACKBONES[name]
    model = build(source).double()
    state = convert_weights(names(dict(model.state_dict())), 'none', '')
    options: dict[str, Any] = dict(ours)
    if source is SWIGLU:
        hidden = model.blocks[0].mlp.fc2.in_features * 3 // 2
        options['layer_cfgs'] = dict(
            ffn_type='swiglu_fused', feedforward_channels=hidden
        )
    elif 'CLIP' in name or 'SigLIP' in name:
        norm, act = model.blocks[0].norm1, model.blocks[0].mlp.act
        options['norm_cfg'] = dict(type='LN', eps=norm.eps)
        kind = getattr(act, 'approximate', 'none')
        options['layer_cfgs'] = dict(
            act_cfg=dict(type='GELU', approximate=kind)
        )
    network = backbone(**options).double()
    network.load_state_dict(state)
    x = images().double()
    with torch.no_grad():
        torch.testing.assert_close(
            network(x)[0], feature(model, x), rtol=1e-12, atol=1e-12
        )


def test_one_of_two_networks_is_chosen(tmp_path: Path) -> None:
    model, other = timm_vit(), shuffle(timm_vit(), seed=1)
    state = within('model.')(dict(model.state_dict()))
    state |= within('ema_model.')(dict(other.state_dict()))
    path = tmp_path / 'both.pth'
    torch.save(dict(state_dict=state), path)
    assert layout_of(state, 'model.') == 'timm'
    for start, source in (('model.', model), ('ema_model.', other)):
        init_cfg = dict(type='Pretrained', checkpoint=str(path), prefix=start)
        network = backbone(init_cfg=init_cfg)
        network.init_weights()
        assert torch.equal(network.cls_token, source.cls_token)
