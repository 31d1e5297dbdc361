"""Every layout computes what its network computes, or is refused."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from mmengine.registry import MODELS
from timm.layers import SwiGLUPacked
from torch import Tensor, nn
from torchvision.models import VisionTransformer as TorchvisionVit

from eavit_mm.weights import convert_weights, layout_of

from .foreign import (
    OPENAI,
    TINY,
    flax_arrays,
    hub_names,
    shuffle,
    timm_vit,
    tower_names,
)
from .toys import backbone, images

State = dict[str, Tensor]
# What stands beside the tower of images in a whole CLIP or SigLIP.
BESIDE = {
    'logit_scale': torch.ones(()),
    'text_model.encoder.layers.0.self_attn.q_proj.weight': torch.ones(2, 2),
    'transformer.resblocks.0.attn.in_proj_weight': torch.ones(6, 2),
    'visual_projection.weight': torch.ones(2, 24),
    'language_model.layers.0.mlp.gate_proj.weight': torch.ones(2, 2),
}
CLIP: Any = dict(pre_norm=True)
SIGLIP: Any = dict(with_cls_token=False, out_type='raw')
SCALE: Any = dict(layer_scale_init_value=1.0)
TORCHVISION: Any = dict(
    image_size=12,
    patch_size=4,
    num_layers=3,
    num_heads=6,
    hidden_dim=24,
    mlp_dim=48,
    num_classes=9,
)
SEGMENTOR: Any = dict(
    type='mmseg.VisionTransformer',
    img_size=12,
    patch_size=4,
    embed_dims=24,
    num_layers=3,
    num_heads=6,
    mlp_ratio=2,
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


def within(start: str, names: Callable[..., State] = dict) -> Any:
    """A part of something larger."""
    return lambda state: {
        **{start + name: w for name, w in names(state).items()},
        **{name: w for name, w in BESIDE.items() if not start.endswith('/')},
    }


def siglip_npz(state: State) -> State:
    state = {k: w for k, w in state.items() if 'attn_pool' not in k}
    arrays = flax_arrays(state, 6)
    return {k: torch.from_numpy(a) for k, a in arrays.items()} | {
        'MAPHead_0/probe': torch.ones(1, 1, 24)
    }


def swiglu_names(first: str, second: str, last: str) -> Any:
    """DINOv2's gated FFN; of one name, both halves stay together."""

    def names(state: State) -> State:
        renamed: State = {}
        for name, weight in hub_names(state, 'dinov2.').items():
            name = name.replace('output.dense', last, 'attention' not in name)
            for old, new in (('ls1.gamma', 'layer_scale1.lambda1'),):
                name = name.replace(old, new)
            name = name.replace('ls2.gamma', 'layer_scale2.lambda1')
            halves = [(first, weight)]
            if 'intermediate.dense' in name and second:
                halves = [*zip((first, second), weight.chunk(2), strict=True)]
            for new, half in halves:
                renamed[name.replace('intermediate.dense', new)] = half
        return renamed

    return names


# Name of a layout -> its network, its names for timm's, what must come out,
# and our network.
EQUAL: dict[str, tuple[Any, Any, Any, dict[str, Any]]] = {
    'CLIP, hub': ('clip_224', tower_names, first, CLIP),
    'CLIP, hub, both towers': (
        'clip_224',
        within('vision_model.', tower_names),
        first,
        CLIP,
    ),
    'CLIP, in LLaVA': (
        'clip_224',
        within('model.vision_tower.vision_model.', tower_names),
        first,
        CLIP,
    ),
    'CLIP, OpenAI': (
        'clip_224',
        within('visual.', lambda state: tower_names(state, OPENAI)),
        first,
        CLIP,
    ),
    'CLIP, open_clip with timm': (
        'clip_224',
        within('visual.trunk.'),
        first,
        CLIP,
    ),
    'SigLIP, timm with its pool': ('siglip_224', dict, tokens, SIGLIP),
    'SigLIP, hub': (
        'siglip_224',
        within('vision_model.', tower_names),
        tokens,
        SIGLIP,
    ),
    'SigLIP, flax, both towers': (
        'siglip_224',
        within('params/img/', siglip_npz),
        tokens,
        SIGLIP,
    ),
    'DINOv2 SwiGLU, hub': (
        SWIGLU,
        swiglu_names('mlp.weights_in', '', 'mlp.weights_out'),
        first,
        SCALE,
    ),
    'DINOv2 SwiGLU, transformers 5': (
        SWIGLU,
        swiglu_names('mlp.gate_proj', 'mlp.up_proj', 'mlp.down_proj'),
        first,
        SCALE,
    ),
    'torchvision': (
        lambda: TorchvisionVit(**TORCHVISION),
        dict,
        torchvision_feature,
        {},
    ),
    'mmseg': (
        lambda: MODELS.build(dict(SEGMENTOR, final_norm=True)),
        within('module.backbone.'),
        lambda model, x: model(x)[-1],
        dict(patch_cfg=dict(bias=False), out_type='featmap'),
    ),
    'mmseg with pre_norm': (
        lambda: MODELS.build(dict(SEGMENTOR, pre_norm=True)),
        within('backbone.'),
        lambda model, x: model(x)[-1],
        dict(out_type='featmap', pre_norm=True, final_norm=False),
    ),
    'no norm at the end': (
        dict(final_norm=False, init_values=1.0),
        dict,
        first,
        dict(SCALE, final_norm=False),
    ),
}


def build(source: Any) -> Any:
    if callable(source):
        model = source()
        shuffle(model)
        return model
    if isinstance(source, dict):
        return timm_vit(**{'num_classes': 0, **source})
    return timm_vit(f'vit_base_patch16_{source}', num_classes=0)


@pytest.mark.parametrize('name', EQUAL)
def test_equal(name: str) -> None:
    source, names, feature, ours = EQUAL[name]
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


def in_order(state: State) -> State:
    """As safetensors has them."""
    return {name: state[name] for name in sorted(state)}


def classified(names: Any, key: str = 'classifier') -> Any:
    """With a classifier of as many inputs as there are channels."""
    return lambda state: names(state) | {f'{key}.weight': torch.ones(9, 24)}


PLAIN = dict(class_token=False, qkv_bias=False, global_pool='avg')
REFUSED: dict[str, tuple[str, dict[str, Any], Any, str]] = {
    'norms behind': ('vit_base_patch16_rpn_224', {}, dict, 'norms behind'),
    'norms behind, with all that it lacks': (
        'vit_base_patch16_rpn_224',
        dict(qkv_bias=True, class_token=True),
        dict,
        'norms behind the branches .* torch.save',
    ),
    'norms behind, safetensors': (
        'vit_base_patch16_rpn_224',
        {},
        in_order,
        'norms behind',
    ),
    'norms that may be behind': (
        'vit_small_patch16_224',
        PLAIN,
        in_order,
        'norms behind',
    ),
    'rotary and learned': (
        'vit_small_patch16_rope_ape_224',
        dict(mlp_ratio=4),
        in_order,
        'rotary positions',
    ),
    'Perception Encoder': (
        'vit_pe_core_tiny_patch16_384',
        dict(mlp_ratio=4),
        dict,
        'rotary positions .Perception Encoder',
    ),
    'Perception Encoder, no norm at the end': (
        'vit_pe_spatial_tiny_patch16_512',
        dict(mlp_ratio=4),
        dict,
        'rotary positions .Perception Encoder',
    ),
    'Qwen3': ('qwen3_vit_88m', {}, dict, 'rotary positions .Qwen3'),
    "SigLIP's classifier behind the pool": (
        'vit_base_patch16_siglip_224',
        {},
        dict,
        "reads what no head .*SigLIP's pool.*take head=none",
    ),
    "CLIP's classifier on the hub": (
        'vit_base_patch16_clip_224',
        dict(num_classes=0),
        classified(within('vision_model.', tower_names)),
        'reads what no head',
    ),
    'two networks': (
        'vit_small_patch16_224',
        {},
        lambda s: within('model.')(s) | within('ema_model.')(s),
        r"2 networks, whose names start with 'ema_model.', 'model.': choose",
    ),
    'NaFlex': ('naflexvit_base_patch16_gap', {}, dict, 'not the names of a'),
    'a layer far away': (
        'vit_small_patch16_224',
        {},
        lambda s: s | {'blocks.99999999999.norm1.weight': torch.ones(24)},
        'weights are missing',
    ),
    'a classifier without inputs': (
        'vit_small_patch16_224',
        {},
        lambda s: s | {'head.weight': torch.ones(24)},
        'reads what no head',
    ),
    'weights without axes': (
        'vit_small_patch16_224',
        {},
        lambda s: s | {'blocks.0.mlp.fc2.weight': torch.ones(())},
        'another shape than in a ViT',
    ),
}


@pytest.mark.parametrize('name', REFUSED)
def test_refused(name: str) -> None:
    network, options, names, words = REFUSED[name]
    state = timm.create_model(network, **{**TINY, **options}).state_dict()
    with pytest.raises(ValueError, match=words):
        convert_weights(names(dict(state)))


def test_order_shows_that_norms_stand_in_front() -> None:
    state = timm_vit(**PLAIN).state_dict()
    assert 'ln2.weight' in convert_weights(state, 'none', '')


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
