"""A subnet, sliced or gated, in plain torch, written without the package.

The parameter names of mmpretrain's Vision Transformer are all that it takes
from there. Letters: B batch, N tokens, E channels, h heads, D channels of a
head, F hidden channels.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


class DenseViT:
    """The network of given widths, cut from copies of whole weights.

    Args:
        weights: The stock network's, by name.
        subnet: Anything with a subnet's attributes.
        cfg: Arguments of the stock network.

    Attributes:
        weights: Copies, which gradients reach.
        used: Name to a mask: what the forwards until now have read.
    """

    def __init__(
        self,
        weights: Mapping[str, Tensor],
        subnet: Any,
        cfg: Mapping[str, Any],
    ) -> None:
        self.weights = {
            name: weight.detach().clone().requires_grad_()
            for name, weight in weights.items()
        }
        self.subnet = subnet
        self.used: dict[str, Tensor] = {}
        self.eps = cfg.get('norm_cfg', {}).get('eps', 1e-6)
        self.mode = cfg.get('interpolate_mode', 'bicubic')
        self.out_type = cfg.get('out_type', 'cls_token')
        arch = cfg['arch']
        self.whole_head = arch['embed_dims'] // arch['num_heads']
        last = len(subnet.num_heads)
        self.out_indices = [i % last for i in cfg['out_indices']]
        patch = cfg.get('patch_cfg', {})
        self.patch_eps = patch.get('norm_cfg', {}).get('eps', 1e-5)
        self.kernel = weights['patch_embed.projection.weight'].shape[2:]
        stride = patch.get('stride', tuple(self.kernel))
        self.stride = (stride, stride) if isinstance(stride, int) else stride
        # Without it images are filled up at the right and bottom.
        self.padding = patch.get('padding')
        self.grid = self._grid(cfg['img_size'])

    def see(self, place: tuple[str, int], x: Tensor) -> Tensor:
        """For subclasses, which may watch or change what passes a place.

        Args:
            place: ('norm', layer) behind the norm of a branch (B, N, E),
                ('num_heads', layer) behind the attention (B, N, h, D),
                ('feedforward_channels', layer) behind the activation
                (B, N, F), ('state', layer) behind a branch (B, N, E).
            x: The activation.
        """
        return x

    def named_parameters(self) -> Iterable[tuple[str, Tensor]]:
        return self.weights.items()

    def numel(self) -> int:
        """Numbers that the forwards until now have read."""
        return sum(int(mask.sum()) for mask in self.used.values())

    def open(self, whole: int, width: int, in_heads: bool) -> Tensor:
        """Which of an axis are open; in heads so many of each."""
        all_of_them = torch.arange(whole)
        if in_heads:
            D = self.subnet.head_dims
            heads = all_of_them.unflatten(0, (-1, self.whole_head))
            if self.subnet.side == 'suffix':
                heads = heads.flip(0, 1)[: width // D, :D].flip(0, 1)
            return heads[: width // D, :D].flatten()
        last = self.subnet.side == 'suffix'
        return all_of_them[whole - width :] if last else all_of_them[:width]

    def cut(
        self, name: str, *widths: int, parts: int = 1, heads: int | None = None
    ) -> Tensor | None:
        """What is open of a weight, in each part of the first axis.

        Along the axis ``heads`` stand whole heads.
        """
        if name not in self.weights:
            return None

        def cut_out(whole: Tensor) -> Tensor:
            whole = whole.unflatten(0, (parts, -1))
            for axis, width in enumerate(widths):
                size = whole.shape[axis + 1]
                index = self.open(size, width, axis == heads)
                whole = whole.index_select(axis + 1, index)
            return whole.flatten(0, 1)

        weight = self.weights[name]
        mask = torch.zeros_like(weight, dtype=torch.bool)
        numbers = torch.arange(weight.numel()).view_as(weight)
        used = self.used.setdefault(name, mask)
        used.view(-1)[cut_out(numbers).flatten()] = True
        return cut_out(weight)

    def linear(
        self,
        name: str,
        x: Tensor,
        width: int,
        parts: int = 1,
        on: Any = 1,
        heads: int | None = None,
    ) -> Tensor:
        weight = self.cut(
            f'{name}.weight', width, x.shape[-1], parts=parts, heads=heads
        )
        bias = self.cut(f'{name}.bias', width, parts=parts, heads=heads)
        # A branch that is off adds nothing, not even its bias.
        return x @ weight.T + (0 if bias is None else bias * on)

    def norm(self, name: str, x: Tensor, g: Tensor, eps: float) -> Tensor:
        """Over the channels whose gates are open; what is not there is x."""
        weight, bias = (
            self.cut(f'{name}.{kind}', len(g)) for kind in ('weight', 'bias')
        )
        if weight is None:
            return x
        mean = (g * x).sum(-1, keepdim=True) / g.sum()
        variance = (g * (x - mean) ** 2).sum(-1, keepdim=True) / g.sum()
        return ((x - mean) / (variance + eps).sqrt() * weight + bias) * g

    def branch(
        self, i: int, axis: str, x: Tensor, g: Tensor, units: Tensor
    ) -> Tensor:
        """The stream behind one branch; see :meth:`__call__`."""
        kind, n = ('attn', 1) if axis == 'num_heads' else ('ffn', 2)
        name = f'layers.{i}'
        y = self.see(('norm', i), self.norm(f'{name}.ln{n}', x, g, self.eps))
        inside = self._attention if n == 1 else self._ffn
        y, last = inside(f'{name}.{kind}', y, units)
        y = self.see((axis, i), y).flatten(2)
        heads = 1 if kind == 'attn' else None
        path = f'{name}.{kind}.{last}'
        y = self.linear(path, y, len(g), on=units[0], heads=heads)
        scale = self.cut(f'{name}.{kind}.gamma{n}.weight', len(g))
        y = y if scale is None else y * scale
        return self.see(('state', i), x + y * g)

    def _attention(
        self, name: str, x: Tensor, heads: Tensor
    ) -> tuple[Tensor, str]:
        h, D = len(heads), self.subnet.head_dims
        qkv = self.linear(f'{name}.qkv', x, h * D, parts=3, heads=0)
        q, k, v = qkv.unflatten(-1, (3, h, D)).permute(2, 0, 3, 1, 4)
        scale = math.sqrt(self.whole_head)
        x = (q @ k.transpose(-1, -2) / scale).softmax(-1) @ v
        return (x * heads[:, None, None]).transpose(1, 2), 'proj'

    def _ffn(self, name: str, x: Tensor, hidden: Tensor) -> tuple[Tensor, str]:
        if f'{name}.w12.weight' in self.weights:
            both = self.linear(f'{name}.w12', x, len(hidden), parts=2)
            gate, value = both.chunk(2, dim=-1)
            return F.silu(gate) * value * hidden, 'w3'
        x = self.linear(f'{name}.layers.0.0', x, len(hidden))
        return F.gelu(x) * hidden, 'layers.1'

    def __call__(self, x: Tensor, gates: Any = None) -> tuple[Tensor, ...]:
        """Outputs of E channels.

        Args:
            x: Images.
            gates: Of all channels, heads and hidden channels of the subnet,
                with the names of its widths; all are open by default.
        """
        E = self.subnet.embed_dims
        g = x.new_ones(E) if gates is None else gates.embed_dims
        x, grid = self._embed(x, g)
        outs = []
        for i in range(len(self.subnet.num_heads)):
            for axis in ('num_heads', 'feedforward_channels'):
                units = x.new_ones(getattr(self.subnet, axis)[i])
                if gates is not None:
                    units = getattr(gates, axis)[i]
                if len(units):
                    x = self.branch(i, axis, x, g, units)
            if i == len(self.subnet.num_heads) - 1:
                x = self.norm('ln1', x, g, self.eps)
            if i in self.out_indices:
                outs.append(self._output(x, g, grid))
        return tuple(outs)

    def _grid(self, size: Sequence[int]) -> tuple[int, ...]:
        """Rows and columns of patches of an image."""
        added = 2 * (self.padding or 0)
        both = zip(size, self.kernel, self.stride, strict=True)
        if self.padding is None:
            return tuple(-(-s // step) for s, _, step in both)
        return tuple((s + added - k) // step + 1 for s, k, step in both)

    def _embed(self, x: Tensor, g: Tensor) -> tuple[Tensor, tuple[int, ...]]:
        name, E = 'patch_embed.projection', len(g)
        grid = self._grid(x.shape[2:])
        if self.padding is None:
            down, right = (-x.shape[i + 2] % self.stride[i] for i in (0, 1))
            x = F.pad(x, (0, right, 0, down))
        weight = self.cut(f'{name}.weight', E)
        bias = self.cut(f'{name}.bias', E)
        x = F.conv2d(x, weight, bias, self.stride, self.padding or 0)
        x = x.flatten(2).transpose(1, 2) * g
        x = self.norm('patch_embed.norm', x, g, self.patch_eps)
        if 'cls_token' in self.weights:
            rows = self.weights['cls_token'].shape[1]
            token = self.cut('cls_token', 1, rows, E)
            x = torch.cat([token.expand(len(x), -1, -1) * g, x], dim=1)
        x = x + self._position(grid) * g
        return self.norm('pre_norm', x, g, self.eps), grid

    def _position(self, grid: tuple[int, ...]) -> Tensor:
        whole = self.weights['pos_embed'].shape[1]
        position = self.cut('pos_embed', 1, whole, self.subnet.embed_dims)
        if grid == self.grid:
            return position
        extra = whole - math.prod(self.grid)
        image = position[:, extra:].transpose(1, 2).unflatten(2, self.grid)
        # mmpretrain interpolates in float32.
        image = F.interpolate(image.float(), grid, mode=self.mode)
        resized = image.flatten(2).transpose(1, 2).to(position.dtype)
        return torch.cat([position[:, :extra], resized], dim=1)

    def _output(self, x: Tensor, g: Tensor, grid: tuple[int, ...]) -> Tensor:
        if self.out_type == 'raw':
            return x
        if self.out_type == 'cls_token':
            return x[:, 0]
        patches = x[:, -math.prod(grid) :]
        if self.out_type == 'featmap':
            return patches.transpose(1, 2).unflatten(2, grid)
        return self.norm('ln2', patches.mean(1), g, self.eps)
