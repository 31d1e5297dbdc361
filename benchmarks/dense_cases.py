"""What the speed benchmark times of exported networks.

Each against a network of the same widths and weights, written by hand in
plain torch.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.speed_cases import (
    Case,
    Network,
    Setting,
    build,
    model_config,
    subnets_of,
)
from eavit_mm.export.dense import dense_network
from eavit_mm.space import Subnet

EXPORTED, BY_HAND = 'exported', 'by hand'


class Attention(nn.Module):
    """Self-attention of any number of heads."""

    def __init__(self, embed_dims: int, heads: int, head_dims: int) -> None:
        super().__init__()
        self.shape = (3, heads, head_dims)
        self.qkv = nn.Linear(embed_dims, 3 * heads * head_dims)
        self.proj = nn.Linear(heads * head_dims, embed_dims)

    def forward(self, x: Tensor) -> Tensor:
        """Maps the residual stream: (B, N, E) -> (B, N, E)."""
        qkv = self.qkv(x).unflatten(-1, self.shape)  # (B, N, 3, h, D)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind()
        x = F.scaled_dot_product_attention(q, k, v)
        return self.proj(x.transpose(1, 2).flatten(2))


class Layer(nn.Module):
    """A pre-norm layer; a width of 0 leaves its branch out."""

    def __init__(
        self, embed_dims: int, heads: int, channels: int, head_dims: int
    ) -> None:
        super().__init__()
        self.branches = nn.ModuleList()
        if heads:
            attention = Attention(embed_dims, heads, head_dims)
            self.branches.append(self._normed(embed_dims, attention))
        if channels:
            up, down = (
                nn.Linear(embed_dims, channels),
                nn.Linear(channels, embed_dims),
            )
            self.branches.append(self._normed(embed_dims, up, nn.GELU(), down))

    @staticmethod
    def _normed(embed_dims: int, *modules: nn.Module) -> nn.Sequential:
        return nn.Sequential(nn.LayerNorm(embed_dims, eps=1e-6), *modules)

    def forward(self, x: Tensor) -> Tensor:
        """(B, N, E) -> (B, N, E)."""
        for branch in self.branches:
            x = x + branch(x)
        return x


class PlainViT(nn.Module):
    """A Vision Transformer, nothing but torch in it.

    The head reads a class token, or where there is none the tokens' mean.
    """

    def __init__(self, subnet: Subnet, network: Network) -> None:
        super().__init__()
        self.size = network.size
        E, patches = subnet.embed_dims, (network.size // network.patch) ** 2
        self.patch = nn.Conv2d(3, E, network.patch, network.patch)
        self.has_token = network.backbone.get('with_cls_token', True)
        if self.has_token:
            self.token = nn.Parameter(torch.zeros(1, 1, E))
        tokens = patches + self.has_token
        self.position = nn.Parameter(torch.zeros(1, tokens, E))
        widths = zip(
            subnet.num_heads, subnet.feedforward_channels, strict=True
        )
        self.layers = nn.Sequential(
            *(Layer(E, h, f, subnet.head_dims) for h, f in widths)
        )
        self.norm = nn.LayerNorm(E, eps=1e-6)
        self.head = nn.Linear(E, network.classes)

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, size, size) -> (B, classes)."""
        x = self.patch(images).flatten(2).transpose(1, 2)  # (B, patches, E)
        if self.has_token:
            x = torch.cat((self.token.expand(len(x), -1, -1), x), dim=1)
        x = self.layers(x + self.position)
        x = x[:, 0] if self.has_token else x.mean(dim=1)
        return self.head(self.norm(x))


def plain_copy(exported: nn.Module, plain: PlainViT) -> PlainViT:
    """Gives a plain network the weights of an exported one.

    Raises:
        ValueError: If they do not compute the same then.
    """
    pairs = zip(plain.parameters(), exported.parameters(), strict=True)
    for own, given in pairs:  # named otherwise, in the same order
        own.data = given.detach().clone()
    images = torch.rand(2, 3, plain.size, plain.size)
    with torch.no_grad():
        outputs = exported(images, mode='tensor'), plain(images)
    difference = (outputs[0] - outputs[1]).abs().max().item()
    if difference > 1e-4:
        raise ValueError(
            f'the network by hand is not the exported one: {difference} apart'
        )
    return plain


def dense_pair(
    model: Any, network: Network, subnet: Subnet
) -> tuple[nn.Module, PlainViT]:
    """The exported network of a subnet and the one by hand, on the CPU."""
    cfg = model_config(True, network)
    exported = dense_network(model, cfg, subnet)
    return exported, plain_copy(exported, PlainViT(subnet, network).eval())


def dense_cases(setting: Setting) -> list[Case]:
    """Exported networks and those by hand, at the batch size and at 1."""
    network, device = setting.network, setting.device
    # On the CPU, where both are exact.
    model = build(True, replace(setting, device='cpu')).eval()
    whole = model.macs()['total']
    cases = []
    for name, subnet in exported_subnets(model).items():
        exported, plain = dense_pair(model, network, subnet)
        exported.to(device), plain.to(device)
        share = model.macs(subnet)['total'] / whole
        for size in dict.fromkeys((setting.batch_size, 1)):
            shape = (size, 3, network.size, network.size)
            images = torch.rand(shape, device=device)
            case = f'{name}, batch {size}'
            by_hand = f'{BY_HAND}, {case}'
            runs = {
                by_hand: partial(plain, images),
                f'{EXPORTED}, {case}': partial(
                    exported, images, mode='tensor'
                ),
            }
            cases += [
                Case(title, share, by_hand, dict(forward=without_grad(run)))
                for title, run in runs.items()
            ]
    return cases


def exported_subnets(model: Any) -> dict[str, Subnet]:
    """Some of the benchmark's, and one whose layers all differ."""
    found = subnets_of(model)
    names = ('uniform 50%', 'uniform 25%', 'half off')
    rng, space = np.random.default_rng(0), model.backbone.space
    return {**{n: found[n] for n in names}, 'drawn': space.sample(rng)}


def without_grad(run: Callable[[], Any]) -> Callable[[], Any]:
    """The same, as networks run at use."""
    return torch.no_grad()(run)
