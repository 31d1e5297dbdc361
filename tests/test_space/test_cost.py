from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eavit_mm.space import Geometry, Subnet

from .strategies import plain_geometry

VIT_B = Subnet(768, (12,) * 12, (3072,) * 12, 64)


@st.composite
def geometries(draw):
    layers = draw(st.integers(1, 3))

    def per_layer(values):
        return tuple(draw(st.lists(values, min_size=layers, max_size=layers)))

    flag = st.booleans()
    return Geometry(
        num_patches=draw(st.integers(1, 9)),
        num_extra_tokens=draw(st.integers(0, 2)),
        patch_dims=draw(st.integers(1, 12)),
        head_dims=draw(st.integers(1, 8)),
        num_layers=layers,
        patch_bias=draw(flag),
        stem_norms=draw(st.integers(0, 2)),
        tail_norms=draw(st.integers(0, 2)),
        qkv_bias=per_layer(flag),
        layer_scale=per_layer(st.tuples(flag, flag)),
        swiglu=per_layer(flag),
    )


@st.composite
def cases(draw):
    geometry = draw(geometries())
    layers = geometry.num_layers

    def widths(most):
        least = st.one_of(st.just(0), st.integers(1, most))
        return tuple(draw(st.lists(least, min_size=layers, max_size=layers)))

    return geometry, Subnet(
        draw(st.integers(1, 40)), widths(6), widths(20), geometry.head_dims
    )


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


def shapes(geometry, subnet):
    """The shape of every parameter of the exported backbone."""
    N = geometry.num_patches + geometry.num_extra_tokens
    E, D = subnet.embed_dims, geometry.head_dims
    found = [(geometry.patch_dims, E), (N, E)]
    found += [(E,)] * geometry.patch_bias
    found += [(E,)] * geometry.num_extra_tokens
    found += [(E,), (E,)] * (geometry.stem_norms + geometry.tail_norms)
    for layer in range(geometry.num_layers):
        H = subnet.num_heads[layer]
        F = subnet.feedforward_channels[layer]
        attention_scale, ffn_scale = geometry.layer_scale[layer]
        if H:
            found += [(E,), (E,), (3 * H * D, E), (E, H * D), (E,)]
            found += [(3 * H * D,)] * geometry.qkv_bias[layer]
            found += [(E,)] * attention_scale
        if F:
            inputs = 2 if geometry.swiglu[layer] else 1
            found += [(E,), (E,), (inputs * F, E), (inputs * F,)]
            found += [(E, F), (E,)] + [(E,)] * ffn_scale
    return found


def count(shape):
    total = 1
    for size in shape:
        total *= size
    return total


@given(cases())
def test_macs_are_those_of_the_matrix_products(case):
    geometry, subnet = case
    expected = sum(map(count, products(geometry, subnet)))
    assert geometry.macs(subnet) == expected


@given(cases())
def test_params_are_those_of_the_shapes(case):
    geometry, subnet = case
    assert geometry.params(subnet) == sum(map(count, shapes(geometry, subnet)))


@pytest.mark.parametrize('extra', [0, 1])
def test_paper_count_of_vit_b(extra):
    geometry = plain_geometry(12, 64, 196, 768, extra)
    # EA-ViT, arXiv 2507.19360: 17.355 G, whatever the class token.
    assert geometry.macs(VIT_B, count='paper') == 17_355_276_288


@given(cases())
def test_paper_count_is_the_exact_one_without_stem_and_extra_tokens(case):
    geometry, subnet = case
    blocks = replace(geometry, num_extra_tokens=0, patch_dims=0)
    assert geometry.macs(subnet, 'paper') == blocks.macs(subnet)


def test_params_of_vit_b():
    # timm's vit_base_patch16_224 without its head.
    geometry = plain_geometry(12, 64, 196, 768, 1)
    assert geometry.params(VIT_B) == 85_798_656


@given(cases())
def test_branches_add_up(case):
    geometry, subnet = case
    layers = geometry.num_layers
    closed = replace(
        subnet, num_heads=(0,) * layers, feedforward_channels=(0,) * layers
    )
    for cost in (geometry.macs, geometry.params):
        stem = cost(closed)
        total = stem
        for axis in ('num_heads', 'feedforward_channels'):
            for layer, width in enumerate(getattr(subnet, axis)):
                alone = [0] * layers
                alone[layer] = width
                total += cost(replace(closed, **{axis: tuple(alone)})) - stem
        assert total == cost(subnet)


def test_unknown_count_raises():
    geometry = plain_geometry(12, 64, 196, 768)
    with pytest.raises(ValueError, match="count='flops'; must be one of"):
        geometry.macs(VIT_B, count='flops')


def test_integers_in_integers_out():
    geometry = plain_geometry(12, 64, 196, 768)
    assert type(geometry.macs(VIT_B)) is int
    assert type(geometry.params(VIT_B)) is int


@pytest.mark.parametrize('cost', ['macs', 'params'])
def test_a_subnet_of_another_network_raises(cost):
    geometry = plain_geometry(12, 64, 196, 768)
    stranger = Subnet(768, (12,) * 11, (3072,) * 11, 64)
    with pytest.raises(ValueError, match='num_layers=11'):
        getattr(geometry, cost)(stranger)
    with pytest.raises(ValueError, match='head_dims=32'):
        getattr(geometry, cost)(replace(VIT_B, head_dims=32))
