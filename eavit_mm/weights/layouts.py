"""Names of other libraries' ViTs, and the same weights in mmpretrain's.

Whatever matches no rule is an error: nothing is left over in silence.
"""

import re
from collections.abc import Iterable, Mapping

from mmengine.logging import print_log
from torch import Tensor, cat

from eavit_mm.weights.state_dict import first_few

MMPRETRAIN = 'mmpretrain'
# Pattern of the name of a weight that every ViT of a library has. What stands
# in front of it, stands in front of all names of the network.
_ANCHORS = {
    # The releases of DeiT, DINO, MAE and DINOv2 have timm's names.
    'timm': r'patch_embed\.proj\.weight',
    # ViT, DINO, DeiT, DINOv2 in the names of the hub and of transformers 5;
    # the towers of CLIP and SigLIP; DINOv3, to be refused by name.
    'Hugging Face': r'embeddings\.patch_embeddings?(\.projection)?\.weight',
    # The .npz files of the ViT and augreg papers, and big_vision's (JAX).
    'flax': r'embedding/(kernel|weight)',
    'torchvision': r'conv_proj\.weight',
    # OpenAI's and open_clip's.
    'CLIP': r'ln_pre\.weight',
    MMPRETRAIN: r'patch_embed\.projection\.weight',
    # mmseg's own VisionTransformer, which has mmpretrain's anchor, too: the
    # last one counts.
    'mmseg': r'layers\.0\.attn\.attn\.in_proj_weight',
}
LAYOUTS = [library for library in _ANCHORS if library != MMPRETRAIN]

# Our names to patterns of theirs, without 'weight' and 'bias'.
# vision_transformer's modules are numbered in order of appearance; big_vision
# numbers each kind for itself, hence 0 or 1, 1 or 2, 0 or 3.
_FLAX_ATTN = r'MultiHeadDotProductAttention_[01]/'
_LAYER = (
    r'(?:blocks\.|(?:encoder\.)?layers?\.(?:encoder_layer_)?'
    r'|transformer\.resblocks\.|Transformer/encoderblock_)(\d+)[./]'
)
_IN_LAYER = {
    'ln1': r'norm1|layernorm_before|layer_norm1|ln_?1|LayerNorm_0',
    'ln2': r'norm2|layernorm_after|layer_norm2|ln_?2|LayerNorm_[12]',
    'attn.qkv': r'attn\.qkv|(attn\.|self_attention\.|attn\.attn\.)in_proj',
    **{
        f'attn.{one[0]}': (
            rf'attention\.attention\.{one}|{_FLAX_ATTN}{one}'
            rf'|(attention|self_attn)\.{one[0]}_proj'
        )
        for one in ('query', 'key', 'value')
    },
    'attn.proj': (
        r'attn\.proj|attention\.(output\.dense|o_proj)'
        r'|(self_attn|self_attention|attn|attn\.attn)\.out_proj'
        rf'|{_FLAX_ATTN}out'
    ),
    'ffn.layers.0.0': (
        r'mlp\.(fc1|c_fc|0|linear_1)|intermediate\.dense'
        r'|ffn\.layers\.0\.0|MlpBlock_[03]/Dense_0'
    ),
    'ffn.layers.1': (
        r'mlp\.(fc2|c_proj|3|linear_2)|output\.dense'
        r'|ffn\.layers\.1|MlpBlock_[03]/Dense_1'
    ),
    # SwiGLU as in the DINOv2 release, whose names mmpretrain has; joined on
    # Hugging Face's hub, apart in transformers 5.
    'ffn.w12': r'mlp\.(w12|weights_in)',
    'ffn.w1': r'mlp\.gate_proj',
    'ffn.w2': r'mlp\.up_proj',
    'ffn.w3': r'mlp\.(w3|weights_out|down_proj)',
    # Layer scale of timm, of the DeiT III release, of Hugging Face.
    'attn.gamma1.weight': r'ls1\.gamma|gamma_1|layer_scale1\.lambda1',
    'ffn.gamma2.weight': r'ls2\.gamma|gamma_2|layer_scale2\.lambda1',
}
_OUTSIDE = {
    'backbone.cls_token': (
        r'(embeddings\.)?(cls_token|class_embedding)|cls|class_token'
    ),
    'backbone.register_tokens': r'reg_token|(embeddings\.)?register_tokens',
    'backbone.pos_embed': (
        r'pos_embed|embeddings\.position_embedding(s|\.weight)'
        r'|positional_embedding|encoder\.pos_embedding'
        r'|(Transformer/posembed_input/)?pos_embedding'
    ),
    'backbone.patch_embed.projection': (
        r'patch_embed\.proj(ection)?|conv1|conv_proj|embedding'
        r'|embeddings\.patch_embedding(s\.projection)?'
    ),
    'backbone.patch_embed.norm': r'patch_embed\.norm',
    'backbone.pre_norm': r'norm_pre|ln_pre|pre_lay(r|er)norm',
    'backbone.ln1': (
        r'norm|(post_)?layernorm|ln1|ln_post|encoder\.ln'
        r'|Transformer/encoder_norm'
    ),
    # The norm behind a mean pool: mmpretrain's ln2 with final_norm=False.
    'backbone.ln2': r'fc_norm',
    'head.layers.head': r'head|classifier|heads\.head',
    'head.layers.pre_logits': r'pre_logits(\.fc)?|heads\.pre_logits',
}
# Parts that a backbone has not: heads of DINO, mask tokens and decoders of
# masked pretraining, poolers; SigLIP's pool; CLIP's projection to the space of
# images and texts, and its list 0, 1, 2, ...
_LEFT_OUT = re.compile(
    r'head\.(mlp|last_layer|probe|attention|layernorm)\b'
    r'|(dino|ibot)_head\.|(embeddings\.)?mask_token$|decoder[_.]|pooler\.'
    r'|attn_pool\.|MAPHead_\d/|proj$|embeddings\.position_ids$'
)


def find_network(names: Iterable[str], start: str = '') -> tuple[str, str]:
    """The ViT in a file: its library, and what its names start with.

    Raises:
        ValueError: If there is none, or several that ``start`` does not tell
            from each other.
    """
    names = list(names)
    every: dict[str, str] = {}
    for library, anchor in _ANCHORS.items():
        pattern = re.compile(rf'(.*[./])?{anchor}')
        for match in filter(None, map(pattern.fullmatch, names)):
            every[match[1] or ''] = library
    found = {k: library for k, library in every.items() if k.startswith(start)}
    if len(found) == 1:
        ((start, library),) = found.items()
        return library, start
    if not every:
        raise ValueError(
            'not the names of a ViT that can be converted (known are '
            f"{', '.join(LAYOUTS)}'s): {first_few(names, 2)}"
        )
    raise ValueError(
        f'{len(every)} networks, whose names start with '
        f'{first_few(map(repr, every))}: choose one by prefix= in init_cfg or '
        f'by --source-prefix of tools/convert.py (given: {start!r})'
    )


def layout_of(names: Iterable[str], start: str = '') -> str:
    """The library: one of :data:`LAYOUTS`, or 'mmpretrain'."""
    return find_network(names, start)[0]


def log_left_out(names: Iterable[str], start: str) -> None:
    """Logs which parts of a file have no place in a backbone."""
    names = list(names)
    if names:
        beside = _beside(start)
        parts = {re.split('[./]', k.removeprefix(beside))[0] for k in names}
        text = f'left out, no part of the backbone: {len(names)} weights of '
        print_log(text + first_few(parts, 9), 'current')


def _beside(start: str) -> str:
    """What names of a classifier start with: '' beside `vit.`."""
    return re.sub(r'[^./]+[./]$', '', start)


def rename(
    weights: Mapping[str, Tensor], library: str, start: str
) -> tuple[dict[str, Tensor], list[str]]:
    """Gives the weights of a known library mmpretrain's names and shapes.

    Returns:
        The weights of a classifier with a ``VisionTransformerClsHead``, as
        far as they are there; names of the parts that a backbone has not.
    """
    if library == 'flax':
        weights = _to_torch(weights)
    renamed: dict[str, Tensor] = {}
    unknown, left_out = [], []
    for full_name, weight in weights.items():
        inside = full_name.startswith(start)
        name = full_name.removeprefix(start if inside else _beside(start))
        new = _new_name(name)
        if new is not None and (inside or new.startswith('head.')):
            if new in renamed:
                raise ValueError(
                    f'{full_name}: there are two weights for {new}'
                )
            renamed[new] = weight
        elif not inside or _LEFT_OUT.match(name):
            left_out.append(name if inside else full_name)
        else:
            unknown.append(full_name)
    if unknown:
        raise ValueError(
            "no place in mmpretrain's VisionTransformer for "
            f'{len(unknown)} weights: {first_few(unknown)}'
        )
    for name in ('backbone.cls_token', 'backbone.pos_embed'):
        if name in renamed and renamed[name].ndim in (1, 2):
            C = renamed[name].shape[-1]
            renamed[name] = renamed[name].reshape(1, -1, C)
    return _join(renamed), left_out


def _new_name(name: str) -> str | None:
    """The name in mmpretrain; None if no rule knows the weight."""
    start, rest, rules = '', name, _OUTSIDE
    layer = re.match(_LAYER, name)
    if layer is not None:
        start, rest = f'backbone.layers.{layer[1]}.', name[layer.end() :]
        rules = _IN_LAYER
    for ours, theirs in rules.items():
        match = re.fullmatch(
            rf'(?:{theirs})([./_](?P<kind>weight|bias))?', rest
        )
        if match is not None:
            kind = match['kind']
            return f'{start}{ours}.{kind}' if kind else start + ours
    return None


def _join(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Joins ``attn.q``, ``k``, ``v`` to ``attn.qkv``, ``ffn.w1`` and ``w2``.

    Three of shape (H D, C) or (H D,) become one, (3 H D, C) or (3 H D,).
    """
    joined: dict[str, Tensor] = {}
    for name, weight in weights.items():
        match = re.fullmatch(r'(.*\.)(attn\.|ffn\.w)([qkv12])(\..*)', name)
        if match is None:
            joined[name] = weight
            continue
        start, module, part, end = match.groups()
        whole = 'qkv' if part in 'qkv' else '12'
        parts = [f'{start}{module}{one}{end}' for one in whole]
        missing = [part for part in parts if part not in weights]
        if missing:
            raise ValueError(
                f'{name} is there, {", ".join(missing)} is not; mmpretrain '
                f'has one joint {whole}'
            )
        new = f'{start}{module}{whole}{end}'
        joined[new] = cat([weights[part] for part in parts])
    return joined


def _to_torch(arrays: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Flax parameters as torch has them, one entry per layer.

    Kernels map from the front axes to the back ones: (in, out), of attention
    (C, H, D) or (H, D, C), of the patch embedding (h, w, in, out).
    """
    found: dict[str, Tensor] = {}
    for name, array in arrays.items():
        # big_vision stacks its layers along a first axis.
        start, stacked, end = name.partition('Transformer/encoderblock/')
        layers = {name: array}
        if stacked:
            block = f'{start}Transformer/encoderblock_'
            layers = {f'{block}{i}/{end}': a for i, a in enumerate(array)}
        for layer, value in layers.items():
            path, _, kind = layer.rpartition('/')
            if kind == 'kernel':
                value = _kernel_to_weight(path.rpartition('/')[2], value)
            elif kind == 'bias':
                value = value.flatten()  # (H, D) of attention
            is_weight = kind in ('kernel', 'scale')
            found[f'{path}/weight' if is_weight else layer] = value
    return found


def _kernel_to_weight(module: str, kernel: Tensor) -> Tensor:
    if module == 'embedding':
        # (h, w, in, out) -> (out, in, h, w)
        return kernel.permute(3, 2, 0, 1) if kernel.ndim == 4 else kernel
    if module == 'out':
        return kernel.flatten(0, -2).T  # (H, D, C) -> (C, H D)
    return kernel.flatten(1).T  # (C, H, D) -> (H D, C)
