from dataclasses import replace
from math import prod

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eavit_mm.space import Geometry, Subnet

from .strategies import plain_geometry

VIT_B = Subnet(768, (12,) * 12, (3072,) * 12, 64)


@st.composite
def cases(draw):
    """A geometry and a subnet of it, with branches off."""
    layers = draw(st.integers(1, 3))

    def per_layer(values):
        return tuple(draw(st.lists(values, min_size=layers, max_size=layers)))

    geometry = Geometry(
        num_patches=draw(st.integers(1, 9)),
        num_extra_tokens=draw(st.integers(0, 2)),
        patch_dims=draw(st.integers(1, 12)),
        head_dims=draw(st.integers(1, 8)),
        num_layers=layers,
        swiglu=per_layer(st.booleans()),
    )
    heads, hidden = (
        per_layer(st.just(0) | st.integers(1, most)) for most in (6, 20)
    )
    E = draw(st.integers(1, 40))
    return geometry, Subnet(E, heads, hidden, geometry.head_dims)


def products(geometry, subnet):
    """Every matrix product of one image as (rows, inner, columns)."""
    N = geometry.num_patches + geometry.num_extra_tokens
    E, D = subnet.embed_dims, geometry.head_dims
    found = [(geometry.num_patches, geometry.patch_dims, E)]
    for layer in range(geometry.num_layers):
        H = subnet.num_heads[layer]
        F = subnet.feedforward_channels[layer]
        found += [(N, E, H * D)] * 3 + [(N, H * D, E)]
        found += [(N, D, N), (N, N, D)] * H
        found += [(N, E, F)] * (2 if geometry.swiglu[layer] else 1)
        found += [(N, F, E)]
    return found


@given(cases())
def test_macs_are_those_of_the_matrix_products(case):
    geometry, subnet = case
    macs = geometry.macs(subnet)
    assert type(macs) is int
    assert macs == sum(map(prod, products(geometry, subnet)))
    # The paper's are the exact ones without the stem and extra tokens.
    blocks = replace(geometry, num_extra_tokens=0, patch_dims=0)
    assert geometry.macs(subnet, 'paper') == blocks.macs(subnet)


@pytest.mark.parametrize('extra', [0, 1])
def test_paper_count_of_vit_b(extra):
    geometry = plain_geometry(12, 64, 196, 768, extra)
    # EA-ViT, arXiv 2507.19360: 17.355 G, whatever the class token.
    assert geometry.macs(VIT_B, count='paper') == 17_355_276_288


@pytest.mark.parametrize(
    ('changes', 'count', 'words'),
    [
        ({}, 'flops', "count='flops'; must be one of"),
        (dict(head_dims=65), 'exact', 'head_dims=65, the network 64'),
        (
            dict(num_heads=(12,) * 11, feedforward_channels=(3072,) * 11),
            'exact',
            'num_layers=11',
        ),
    ],
)
def test_what_is_not_counted(changes, count, words):
    geometry = plain_geometry(12, 64, 196, 768)
    with pytest.raises(ValueError, match=words):
        geometry.macs(replace(VIT_B, **changes), count)
