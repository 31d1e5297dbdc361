"""Networks of timm, and the names that others give to their weights.

The names are written out by hand from the public files, apart from the
tables that are tested.
"""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
from torch import Tensor, nn

State = dict[str, Tensor]

# C = H D = 24, 3 layers, a square grid of 3 x 3 patches.
TINY = dict(
    img_size=12,
    patch_size=4,
    embed_dim=24,
    depth=3,
    num_heads=6,
    mlp_ratio=2,
    num_classes=9,
)


def shuffle(model: nn.Module, seed: int = 0) -> Any:
    """Random values for every norm, bias, token and matrix."""
    rng = torch.Generator().manual_seed(seed)
    for name, parameter in model.named_parameters():
        noise = torch.randn(parameter.shape, generator=rng)
        if parameter.ndim > 1 and name not in ('pos_embed', 'cls_token'):
            noise = noise / parameter[0].numel() ** 0.5
        else:
            noise = 0.3 * noise
        scales = parameter.ndim == 1 and not name.endswith('bias')
        parameter.data.copy_(noise + float(scales))
    model.eval()  # which of mmpretrain returns nothing
    return model


def timm_vit(name: str = 'vit_small_patch16_224', **changes: Any) -> Any:
    """A network of timm's, its weights random."""
    options = {**TINY, **changes}
    return shuffle(timm.create_model(name, pretrained=False, **options))


# Parts of names: timm's to those on Hugging Face's hub; those to the names of
# the modules of transformers 5; those of the augreg files to big_vision's.
HUB = {
    'cls_token': 'embeddings.cls_token',
    'pos_embed': 'embeddings.position_embeddings',
    'patch_embed.proj': 'embeddings.patch_embeddings.projection',
    'blocks.': 'encoder.layer.',
    'norm1': 'layernorm_before',
    'norm2': 'layernorm_after',
    'attn.proj': 'attention.output.dense',
    'attn.qkv': 'attention.attention.qkv',
    'mlp.fc1': 'intermediate.dense',
    'mlp.fc2': 'output.dense',
}
NEW = {
    'encoder.layer.': 'layers.',
    'attention.attention.query': 'attention.q_proj',
    'attention.attention.key': 'attention.k_proj',
    'attention.attention.value': 'attention.v_proj',
    'attention.output.dense': 'attention.o_proj',
    'intermediate.dense': 'mlp.fc1',
    'output.dense': 'mlp.fc2',
}
# The towers of CLIP and SigLIP on the hub; CLIP as OpenAI and open_clip
# write it.
TOWER = {
    'cls_token': 'embeddings.class_embedding',
    'pos_embed': 'embeddings.position_embedding.weight',
    'patch_embed.proj': 'embeddings.patch_embedding',
    'norm_pre': 'pre_layrnorm',
    'blocks.': 'encoder.layers.',
    'norm1': 'layer_norm1',
    'norm2': 'layer_norm2',
    'attn.qkv': 'self_attn.qkv_proj',
    'attn.proj': 'self_attn.out_proj',
    '.norm.': '.post_layernorm.',
}
OPENAI = {
    'cls_token': 'class_embedding',
    'pos_embed': 'positional_embedding',
    'patch_embed.proj': 'conv1',
    'norm_pre': 'ln_pre',
    'blocks.': 'transformer.resblocks.',
    'norm1': 'ln_1',
    'norm2': 'ln_2',
    'attn.qkv.': 'attn.in_proj_',
    'attn.proj': 'attn.out_proj',
    'mlp.fc1': 'mlp.c_fc',
    'mlp.fc2': 'mlp.c_proj',
    '.norm.': '.ln_post.',
}
QKV = ('query', 'key', 'value')
FLAX = {
    'cls_token': 'cls',
    'pos_embed': 'Transformer/posembed_input/pos_embedding',
    'patch_embed.proj': 'embedding',
    'norm1': 'LayerNorm_0',
    'norm2': 'LayerNorm_2',
    'attn.qkv': 'MultiHeadDotProductAttention_1/qkv',
    'attn.proj': 'MultiHeadDotProductAttention_1/out',
    'mlp.fc1': 'MlpBlock_3/Dense_0',
    'mlp.fc2': 'MlpBlock_3/Dense_1',
    'norm.': 'Transformer/encoder_norm.',
}
BIG_VISION = {
    'Transformer/posembed_input/': '',
    'MultiHeadDotProductAttention_1': 'MultiHeadDotProductAttention_0',
    'LayerNorm_2': 'LayerNorm_1',
    'MlpBlock_3': 'MlpBlock_0',
}


def replaced(name: str, table: dict[str, str]) -> str:
    for old, new in table.items():
        name = name.replace(old, new)
    return name


def hub_names(state: State, start: str = 'vit.') -> State:
    """timm's state dict as the files on Hugging Face's hub have it."""
    renamed: State = {}
    for name, weight in state.items():
        if name.startswith('head.'):
            renamed[name.replace('head', 'classifier')] = weight
            continue
        new = start + replaced(name, HUB)
        if name.startswith('norm.'):
            new = f'{start}layer{name}'
        parts = [weight]
        if 'qkv' in name:
            parts = [third.clone() for third in weight.chunk(3)]
        for which, part in zip(QKV, parts, strict=False):
            renamed[new.replace('qkv', which)] = part
    return renamed


def tower_names(
    state: State, table: dict[str, str] = TOWER, start: str = ''
) -> State:
    """timm's state dict as a tower has it; of the pool only some names."""
    renamed: State = {}
    for name, weight in state.items():
        if name.startswith('attn_pool'):
            for part in ('probe', 'attention.in_proj_weight', 'mlp.fc1.bias'):
                renamed[f'{start}head.{part}'] = weight
            continue
        new = start + replaced(f'.{name}', table)[1:]
        if name in ('cls_token', 'pos_embed'):
            weight = weight.squeeze()
        if 'qkv' not in new:
            renamed[new] = weight
            continue
        for which, part in zip('qkv', weight.chunk(3), strict=True):
            renamed[new.replace('qkv', which)] = part
    return renamed


def new_names(hub: State) -> State:
    """The hub's names as the modules of transformers 5 have them."""
    return {replaced(name, NEW): weight for name, weight in hub.items()}


def flax_arrays(state: State, heads: int) -> dict[str, np.ndarray]:
    """timm's state dict as the augreg .npz files have it."""
    width = state['pos_embed'].shape[-1]
    arrays: dict[str, np.ndarray] = {}
    for full_name, weight in state.items():
        w = weight.detach().numpy()
        path, _, kind = replaced(full_name, FLAX).rpartition('.')
        path = re.sub(
            r'blocks\.(\d+)\.', r'Transformer/encoderblock_\1/', path
        )
        if 'qkv' in path:
            for part, third in zip(QKV, np.split(w, 3), strict=True):
                end = 'kernel' if w.ndim > 1 else 'bias'
                shape = (width, heads, -1) if w.ndim > 1 else (heads, -1)
                new = f'{path.replace("qkv", part)}/{end}'
                arrays[new] = third.T.reshape(shape)
        elif not path:
            arrays[kind] = w
        elif w.ndim > 1:
            w = w.transpose(2, 3, 1, 0) if w.ndim > 2 else w.T
            shape = (heads, -1, width) if path.endswith('out') else w.shape
            arrays[f'{path}/kernel'] = w.reshape(shape)
        else:
            arrays[f'{path}/{"scale" if kind == "weight" else kind}'] = w
    return arrays


def big_vision_arrays(state: State, heads: int) -> dict[str, np.ndarray]:
    """The same as big_vision writes it, its layers stacked."""
    arrays: dict[str, Any] = {}
    for name, array in flax_arrays(state, heads).items():
        name = replaced(name, BIG_VISION)
        _, block, rest = name.partition('Transformer/encoderblock_')
        if block:
            inner = rest.partition('/')[2]
            key = f'params/Transformer/encoderblock/{inner}'
            arrays.setdefault(key, []).append(array)
        else:
            arrays[f'params/{name}'] = array
    return {
        name: np.stack(array) if isinstance(array, list) else array
        for name, array in arrays.items()
    }


def augreg(state: State, heads: int = 6) -> State:
    """The names and shapes of the augreg files, in torch's tensors."""
    arrays = flax_arrays(state, heads)
    return {name: torch.from_numpy(array) for name, array in arrays.items()}


def big_vision(state: State) -> State:
    """Those of big_vision."""
    arrays = big_vision_arrays(state, 6)
    return {name: torch.from_numpy(array) for name, array in arrays.items()}


# What stands beside the tower of images in a whole CLIP or SigLIP.
BESIDE = {
    'logit_scale': torch.ones(()),
    'text_model.encoder.layers.0.self_attn.q_proj.weight': torch.ones(2, 2),
    'transformer.resblocks.0.attn.in_proj_weight': torch.ones(6, 2),
    'visual_projection.weight': torch.ones(2, 24),
    'language_model.layers.0.mlp.gate_proj.weight': torch.ones(2, 2),
}


def within(start: str, names: Callable[..., State] = dict) -> Any:
    """A part of something larger."""
    return lambda state: {
        **{start + name: w for name, w in names(state).items()},
        **{name: w for name, w in BESIDE.items() if not start.endswith('/')},
    }


class Attack:
    """Runs code when it is unpickled by a careless reader."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)
