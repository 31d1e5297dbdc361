"""A subnet as a dense network of plain torch, written without the package.

The parameter names of mmpretrain's Vision Transformer are all that it takes
from there. Letters: B batch, N tokens, E channels, h heads, D channels of a
head, F hidden channels.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# A dense parameter -> the stock parameter and the part of it that it is.
Cuts = dict[str, tuple[str, tuple[slice, ...]]]


class DenseAttention(nn.Module):
    def __init__(
        self, embed_dims: int, num_heads: int, head_dims: int, bias: bool
    ) -> None:
        super().__init__()
        self.num_heads, self.head_dims = num_heads, head_dims
        inner = num_heads * head_dims
        self.q = nn.Linear(embed_dims, inner, bias=bias)
        self.k = nn.Linear(embed_dims, inner, bias=bias)
        self.v = nn.Linear(embed_dims, inner, bias=bias)
        self.proj = nn.Linear(inner, embed_dims)

    def forward(self, x: Tensor) -> Tensor:
        B, N, _ = x.shape
        q, k, v = (
            linear(x).view(B, N, self.num_heads, self.head_dims)
            for linear in (self.q, self.k, self.v)
        )
        heads = []
        for h in range(self.num_heads):
            scores = q[:, :, h] @ k[:, :, h].transpose(1, 2)  # (B, N, N)
            scores = scores / math.sqrt(self.head_dims)
            scores = (scores - scores.amax(-1, keepdim=True)).exp()
            weights = scores / scores.sum(-1, keepdim=True)
            heads.append(weights @ v[:, :, h])
        return self.proj(torch.cat(heads, dim=-1))


class DenseFFN(nn.Module):
    def __init__(self, embed_dims: int, channels: int) -> None:
        super().__init__()
        self.up = nn.Linear(embed_dims, channels)
        self.down = nn.Linear(channels, embed_dims)

    def forward(self, x: Tensor) -> Tensor:
        x = self.up(x)
        return self.down(0.5 * x * (1 + torch.erf(x / math.sqrt(2))))


class DenseSwiGLU(nn.Module):
    def __init__(self, embed_dims: int, channels: int) -> None:
        super().__init__()
        self.gate = nn.Linear(embed_dims, channels)
        self.value = nn.Linear(embed_dims, channels)
        self.down = nn.Linear(channels, embed_dims)

    def forward(self, x: Tensor) -> Tensor:
        gate = self.gate(x)
        return self.down(gate * torch.sigmoid(gate) * self.value(x))


class DenseBranch(nn.Module):
    """x + scale * f(norm(x))."""

    def __init__(
        self, f: nn.Module, embed_dims: int, eps: float, scaled: bool
    ) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(embed_dims, eps=eps)
        self.f = f
        self.scale = nn.Parameter(torch.ones(embed_dims)) if scaled else None

    def forward(self, x: Tensor) -> Tensor:
        y = self.f(self.norm(x))
        return x + (y if self.scale is None else y * self.scale)


def _branches(
    weights: Mapping[str, Tensor], subnet: Any, layer: int, eps: float
) -> nn.ModuleDict:
    """The branches of a layer that are not off."""
    branches = nn.ModuleDict()
    name, E = f'layers.{layer}', subnet.embed_dims
    heads = subnet.num_heads[layer]
    channels = subnet.feedforward_channels[layer]
    if heads:
        bias = f'{name}.attn.qkv.bias' in weights
        attention = DenseAttention(E, heads, subnet.head_dims, bias)
        scaled = f'{name}.attn.gamma1.weight' in weights
        branches['attn'] = DenseBranch(attention, E, eps, scaled)
    if channels:
        gated = f'{name}.ffn.w12.weight' in weights
        ffn = (DenseSwiGLU if gated else DenseFFN)(E, channels)
        scaled = f'{name}.ffn.gamma2.weight' in weights
        branches['ffn'] = DenseBranch(ffn, E, eps, scaled)
    return branches


class DenseViT(nn.Module):
    """The subnet of given widths, with the weights of a supernet.

    Args:
        weights: The stock network's, by name.
        subnet: Anything with a subnet's attributes.
        patch: Arguments of the convolution but its channels.
        corner: Pad images at the right and bottom until patches fit.
        grid: Rows and columns of the position embedding.
        out_type: As in mmpretrain.
        out_indices: As in mmpretrain.
        eps: The one of all norms but the patch embedding's.
        patch_eps: The one of that norm.
        mode: How position embeddings are interpolated.
    """

    def __init__(
        self,
        weights: Mapping[str, Tensor],
        subnet: Any,
        *,
        patch: Mapping[str, Any],
        grid: tuple[int, int],
        corner: bool = True,
        out_type: str = 'cls_token',
        out_indices: Sequence[int] = (-1,),
        eps: float = 1e-6,
        patch_eps: float = 1e-5,
        mode: str = 'bicubic',
    ) -> None:
        super().__init__()
        E = subnet.embed_dims
        self.corner, self.grid, self.mode = corner, grid, mode
        self.out_type = out_type
        num_layers = len(subnet.num_heads)
        self.out_indices = [i % num_layers for i in out_indices]
        kernel = weights['patch_embed.projection.weight']
        self.patch = nn.Conv2d(
            kernel.shape[1],
            E,
            tuple(kernel.shape[2:]),
            bias='patch_embed.projection.bias' in weights,
            **patch,
        )
        self.extra = int('cls_token' in weights)
        if self.extra:
            self.token = nn.Parameter(torch.empty(1, 1, E))
        self.position = nn.Parameter(
            torch.empty(1, weights['pos_embed'].shape[1], E)
        )

        def norm(name: str, eps: float) -> nn.LayerNorm | None:
            there = f'{name}.weight' in weights
            return nn.LayerNorm(E, eps=eps) if there else None

        self.patch_norm = norm('patch_embed.norm', patch_eps)
        self.pre_norm = norm('pre_norm', eps)
        self.final_norm = norm('ln1', eps)
        self.pool_norm = norm('ln2', eps)
        self.layers = nn.ModuleList(
            _branches(weights, subnet, i, eps) for i in range(num_layers)
        )
        self.cuts = _cuts(weights, subnet, self)
        for name, parameter in self.named_parameters():
            source, part = self.cuts[name]
            value = weights[source].detach()[part]
            assert value.shape == parameter.shape, name
            parameter.data = value.clone()

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Outputs of E channels."""
        if self.corner:
            right, bottom = (
                -x.shape[axis] % self.patch.stride[axis - 2] for axis in (3, 2)
            )
            x = F.pad(x, (0, right, 0, bottom))
        x = self.patch(x)
        B, E, *grid = x.shape
        x = torch.stack([x[:, e].reshape(B, -1) for e in range(E)], dim=-1)
        if self.patch_norm is not None:
            x = self.patch_norm(x)
        if self.extra:
            x = torch.cat([self.token.repeat(B, 1, 1), x], dim=1)
        x = x + self._position(tuple(grid))
        if self.pre_norm is not None:
            x = self.pre_norm(x)
        outs = []
        for i, branches in enumerate(self.layers):
            for branch in branches.values():
                x = branch(x)
            last = i == len(self.layers) - 1
            if last and self.final_norm is not None:
                x = self.final_norm(x)
            if i in self.out_indices:
                outs.append(self._output(x, grid))
        return tuple(outs)

    def _position(self, grid: tuple[int, int]) -> Tensor:
        if grid == self.grid:
            return self.position
        extra, patches = (
            self.position[:, : self.extra],
            self.position[:, self.extra :],
        )
        image = patches.transpose(1, 2).unflatten(2, self.grid)
        # mmpretrain interpolates in float32.
        image = F.interpolate(image.float(), grid, mode=self.mode)
        resized = image.flatten(2).transpose(1, 2).to(patches.dtype)
        return torch.cat([extra, resized], dim=1)

    def _output(self, x: Tensor, grid: Sequence[int]) -> Tensor:
        if self.out_type == 'raw':
            return x
        if self.out_type == 'cls_token':
            return x[:, 0]
        patches = x[:, self.extra :]
        if self.out_type == 'featmap':
            return patches.transpose(1, 2).unflatten(2, tuple(grid))
        return self.pool_norm(patches.sum(dim=1) / patches.shape[1])


def _cuts(weights: Mapping[str, Tensor], subnet: Any, net: DenseViT) -> Cuts:
    """Where each parameter of the dense network comes from."""
    E = slice(subnet.embed_dims)
    cuts: Cuts = {
        'token': ('cls_token', (slice(1), slice(1), E)),
        'position': ('pos_embed', (slice(1), slice(None), E)),
    }

    def add(own: str, stock: str, *part: slice) -> None:
        cuts[f'{own}.weight'] = (f'{stock}.weight', part)
        cuts[f'{own}.bias'] = (f'{stock}.bias', part[:1])

    add('patch', 'patch_embed.projection', E)
    add('patch_norm', 'patch_embed.norm', E)
    add('pre_norm', 'pre_norm', E)
    add('final_norm', 'ln1', E)
    add('pool_norm', 'ln2', E)
    for i in range(len(net.layers)):
        own, stock = f'layers.{i}.attn', f'layers.{i}'
        inner = subnet.num_heads[i] * subnet.head_dims
        add(f'{own}.norm', f'{stock}.ln1', E)
        full = weights[f'{stock}.attn.qkv.weight'].shape[0] // 3
        for third, name in enumerate('qkv'):
            rows = slice(third * full, third * full + inner)
            add(f'{own}.f.{name}', f'{stock}.attn.qkv', rows, E)
        add(f'{own}.f.proj', f'{stock}.attn.proj', E, slice(inner))
        cuts[f'{own}.scale'] = (f'{stock}.attn.gamma1.weight', (E,))

        own, hidden = f'layers.{i}.ffn', subnet.feedforward_channels[i]
        add(f'{own}.norm', f'{stock}.ln2', E)
        cuts[f'{own}.scale'] = (f'{stock}.ffn.gamma2.weight', (E,))
        if f'{stock}.ffn.w12.weight' in weights:
            half = weights[f'{stock}.ffn.w12.weight'].shape[0] // 2
            values = slice(half, half + hidden)
            add(f'{own}.f.gate', f'{stock}.ffn.w12', slice(hidden), E)
            add(f'{own}.f.value', f'{stock}.ffn.w12', values, E)
            add(f'{own}.f.down', f'{stock}.ffn.w3', E, slice(hidden))
        else:
            first, second = f'{stock}.ffn.layers.0.0', f'{stock}.ffn.layers.1'
            add(f'{own}.f.up', first, slice(hidden), E)
            add(f'{own}.f.down', second, E, slice(hidden))
    return cuts


def full_gradients(
    net: DenseViT, weights: Mapping[str, Tensor]
) -> dict[str, tuple[Tensor, Tensor]]:
    """The dense gradients at their places in the stock parameters.

    Returns:
        For each of them, its gradient, and a mask of what the subnet uses.
    """
    full = {
        name: (torch.zeros_like(value), torch.zeros_like(value).bool())
        for name, value in weights.items()
    }
    for name, parameter in net.named_parameters():
        source, part = net.cuts[name]
        gradient, used = full[source]
        assert not used[part].any(), f'{name} overlaps another slice'
        used[part] = True
        if parameter.grad is not None:
            gradient[part] = parameter.grad
    return full
