"""The table of axes against the slices that the network runs."""

from typing import Any

import pytest
import torch
from torch import nn
from toys import classifier, random_case, small_stock

from eavit_mm.models.axes import (
    CHANNELS,
    narrow_weights,
    parameter_axes,
    units_of,
)


@pytest.mark.parametrize('scala', [False, True])
@pytest.mark.parametrize('seed', range(20))
def test_slices_are_the_cuts_of_the_table(seed: int, scala: bool) -> None:
    """Every tensor that a layer runs with, number for number."""
    vit, _, subnet, _, _ = random_case(seed, scala=scala)
    cut = narrow_weights(vit, subnet)
    assert sum(w.numel() for w in cut.values()) == vit.params(subnet)
    own: dict[str, Any] = dict(vit.named_parameters())
    widths = zip(subnet.num_heads, subnet.feedforward_channels, strict=True)
    for i, (heads, channels) in enumerate(widths):
        inside = (subnet.head_dims, subnet.side)
        slices = vit.layers[i].slice(
            subnet.embed_dims, heads, channels, *inside
        )
        for branch, parts in (
            (slices.attention, ('ln1', 'attn.qkv', 'attn.proj', 'gamma1')),
            (slices.ffn, ('ln2', *ffn_names(own, i), 'gamma2')),
        ):
            start = f'layers.{i}.'
            norm, first, last, scale = parts
            found = {n: w for n, w in cut.items() if n.startswith(start)}
            if branch is None:
                assert not [n for n in found if n.startswith(start + norm)]
                continue
            bias = branch.in_bias
            same(branch.norm.weight, found[f'{start}{norm}.weight'])
            same(branch.norm.bias, found[f'{start}{norm}.bias'])
            same(branch.in_weight, found[f'{start}{first}.weight'])
            same(bias, found.get(f'{start}{first}.bias'))
            same(branch.out_weight, found[f'{start}{last}.weight'])
            same(branch.out_bias, found[f'{start}{last}.bias'])
            scales = [w for n, w in found.items() if scale in n]
            same(branch.scale, scales[0] if scales else None)


def ffn_names(own: dict[str, Any], layer: int) -> tuple[str, str]:
    is_swiglu = f'layers.{layer}.ffn.w12.weight' in own
    return (
        ('ffn.w12', 'ffn.w3')
        if is_swiglu
        else ('ffn.layers.0.0', 'ffn.layers.1')
    )


def same(slices: torch.Tensor | None, cut: torch.Tensor | None) -> None:
    """Slices keep the maps in apart, which a cut has in one piece."""
    assert (slices is None) == (cut is None)
    if slices is not None and cut is not None:
        assert torch.equal(slices.reshape(cut.shape), cut)


def test_units_of_the_whole_network() -> None:
    vit = classifier().backbone
    largest = vit.space.largest
    assert units_of(largest)[CHANNELS] == 24
    whole = narrow_weights(vit, largest)
    for name, weight in vit.named_parameters():
        assert whole[name].data_ptr() == weight.data_ptr()


def test_a_weight_beside_the_known_ones_is_refused() -> None:
    vit = small_stock()
    vit.dist_token = nn.Parameter(torch.zeros(1, 1, 24))
    with pytest.raises(ValueError, match='dist_token: a weight of VisionTr'):
        parameter_axes(vit)
