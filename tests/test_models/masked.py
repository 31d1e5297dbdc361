"""A ViT whose activations are multiplied by gates, in plain torch.

Written without the package: the reference of the gated mode. Parameter names
are mmpretrain's. Letters: B batch, N tokens, C channels, H heads, D channels
of a head, F hidden channels.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

Parameters = Mapping[str, Tensor]


def norm(p: Parameters, name: str, x: Tensor, g: Tensor, eps: float) -> Tensor:
    number = g.sum()
    mean = (g * x).sum(-1, keepdim=True) / number
    variance = (g * (x - mean) ** 2).sum(-1, keepdim=True) / number
    x = (x - mean) / (variance + eps).sqrt()
    return (x * p[f'{name}.weight'] + p[f'{name}.bias']) * g


def linear(
    p: Parameters, name: str, x: Tensor, is_on: Tensor | float = 1.0
) -> Tensor:
    x = x @ p[f'{name}.weight'].T
    bias = p.get(f'{name}.bias')
    # A branch that is off adds nothing, not even its bias.
    return x if bias is None else x + bias * is_on


def attention(p: Parameters, x: Tensor, heads: Tensor) -> Tensor:
    B, N, _ = x.shape
    H = len(heads)
    qkv = linear(p, 'attn.qkv', x).view(B, N, 3, H, -1)
    q, k, v = qkv.permute(2, 0, 3, 1, 4)
    scores = q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])
    x = scores.softmax(dim=-1) @ v * heads[:, None, None]
    x = x.transpose(1, 2).reshape(B, N, -1)
    return linear(p, 'attn.proj', x, heads[0]) * _scale(p, 'attn.gamma1')


def ffn(p: Parameters, x: Tensor, hidden: Tensor, relu: bool) -> Tensor:
    if 'ffn.w12.weight' in p:
        gate, value = linear(p, 'ffn.w12', x).chunk(2, dim=-1)
        x, last = F.silu(gate) * value, 'ffn.w3'
    else:
        x = linear(p, 'ffn.layers.0.0', x)
        x, last = F.relu(x) if relu else F.gelu(x), 'ffn.layers.1'
    return linear(p, last, x * hidden, hidden[0]) * _scale(p, 'ffn.gamma2')


def _scale(p: Parameters, name: str) -> Tensor | float:
    found = [value for key, value in p.items() if key.startswith(f'{name}.')]
    return found[0] if found else 1.0


def masked_vit(
    p: Parameters,
    x: Tensor,
    channels: Tensor,
    heads: Sequence[Tensor],
    hidden: Sequence[Tensor],
    cfg: Mapping[str, Any],
    relu: bool = False,
) -> Tensor:
    """Tokens (B, N, C) behind the last norm; images of the usual size."""
    eps = cfg.get('norm_cfg', {}).get('eps', 1e-6)
    weight = p['patch_embed.projection.weight']
    bias = p.get('patch_embed.projection.bias')
    x = F.conv2d(x, weight, bias, cfg['patch_size'])
    x = x.flatten(2).transpose(1, 2) * channels
    if 'patch_embed.norm.weight' in p:
        x = norm(p, 'patch_embed.norm', x, channels, eps)
    if 'cls_token' in p:
        token = p['cls_token'].expand(len(x), -1, -1) * channels
        x = torch.cat((token, x), dim=1)
    x = x + p['pos_embed'] * channels
    if 'pre_norm.weight' in p:
        x = norm(p, 'pre_norm', x, channels, eps)
    for i, (g, h) in enumerate(zip(heads, hidden, strict=True)):
        start = f'layers.{i}.'
        own = {k.removeprefix(start): v for k, v in p.items() if start in k}
        y = attention(own, norm(own, 'ln1', x, channels, eps), g)
        x = x + y * channels
        y = ffn(own, norm(own, 'ln2', x, channels, eps), h, relu)
        x = x + y * channels
    return norm(p, 'ln1', x, channels, eps) if 'ln1.weight' in p else x
