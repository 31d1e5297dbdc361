import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eavit_mm.space import Subnet

FIELDS = dict(
    embed_dims=16,
    num_heads=[2, 0, 1],
    feedforward_channels=[0, 5, 7],
    head_dims=8,
)


def subnet(**changes):
    return Subnet(**{**FIELDS, **changes})


@st.composite
def subnets(draw):
    layers = draw(st.integers(1, 5))
    widths = st.lists(st.integers(0, 5000), min_size=layers, max_size=layers)
    return Subnet(
        draw(st.integers(1, 5000)),
        tuple(draw(widths)),
        tuple(draw(widths)),
        draw(st.integers(1, 128)),
        draw(st.sampled_from(['prefix', 'suffix'])),
    )


@given(subnets())
def test_dict_and_json_round_trip(member):
    values = member.to_dict()
    assert Subnet.from_dict(values) == member
    if values.pop('side') == 'prefix':
        assert Subnet.from_dict(values) == member
    assert Subnet.from_json(member.to_json()) == member
    assert json.loads(member.to_json()) == member.to_dict()
    assert '\n' not in member.to_json()


def test_lists_become_tuples_and_values_are_frozen():
    member = subnet()
    assert member.num_heads == (2, 0, 1)
    assert member == subnet(num_heads=(2, 0, 1))
    with pytest.raises(AttributeError):
        member.embed_dims = 3
    member.to_dict()['num_heads'][0] = 99
    assert member.num_heads == (2, 0, 1)


@pytest.mark.parametrize(
    ('changes', 'words'),
    [
        (dict(embed_dims=0), 'embed_dims=0; must be an integer of at least 1'),
        (dict(embed_dims=True), 'embed_dims=True; must be an integer'),
        (dict(embed_dims='16'), "embed_dims='16'; must be an integer"),
        (dict(head_dims=8.5), r'head_dims=8\.5; must be an integer'),
        (dict(num_heads=[2, 0, -1]), 'layer 2: num_heads=-1; must .*least 0'),
        (dict(num_heads=[2, True, 1]), 'layer 1: num_heads=True; must be'),
        (dict(num_heads=[[2], 1, 1]), r'layer 0: num_heads=\[2\]; must be'),
        (dict(num_heads='201'), "num_heads='201'; must list one width"),
        (dict(num_heads=[1, 1]), 'num_heads has 2 layers, .* 3; must be the'),
        (dict(num_heads=[], feedforward_channels=[]), 'num_heads is empty'),
        (dict(side='left'), "side='left'; must be one of .*prefix.*suffix"),
    ],
)
def test_wrong_values_raise(changes, words):
    with pytest.raises(ValueError, match=words):
        subnet(**changes)
    with pytest.raises(ValueError, match=words):
        Subnet.from_json(json.dumps({**FIELDS, **changes}))


def test_unknown_and_missing_fields_are_named():
    values = {**FIELDS, 'heads': 3}
    del values['head_dims']
    with pytest.raises(
        ValueError,
        match=r"unknown keys \['heads'\], missing keys \['head_dims'\]",
    ):
        Subnet.from_dict(values)
    with pytest.raises(ValueError, match=r"unknown keys \['7'\]"):
        Subnet.from_dict({**FIELDS, 7: 1})


@pytest.mark.parametrize(
    ('layers', 'depth', 'dropped'),
    [
        (12, 1, []),
        (12, 0.75, [3, 7, 11]),  # DynaBERT's
        (12, 0.5, [1, 3, 5, 7, 9, 11]),
        (6, 0.75, [3, 5]),  # round(4.5) is 4
        (10, 0.7, [3, 6, 9]),
        (3, 0.25, [1, 2]),
        (12, 10 / 12, [5, 11]),
    ],
)
def test_layers_of_a_depth(layers, depth, dropped):
    widths = range(1, layers + 1)
    whole = subnet(num_heads=list(widths), feedforward_channels=[7] * layers)
    found = whole.at_depth(depth)
    for axis in ('num_heads', 'feedforward_channels'):
        kept = getattr(whole, axis)
        expected = [w * (i not in dropped) for i, w in enumerate(kept)]
        assert list(getattr(found, axis)) == expected
    assert found.embed_dims == whole.embed_dims


@pytest.mark.parametrize('depth', [0, 1.1, 1.0001, 0.1, '0.5', True])
def test_a_depth_that_is_none(depth):
    with pytest.raises(ValueError, match='^depth='):
        subnet().at_depth(depth)


def test_file_round_trip(tmp_path):
    path = tmp_path / 'subnet.json'
    with pytest.raises(FileNotFoundError, match=r'subnet\.json'):
        Subnet.from_file(path)
    path.write_text(subnet().to_json(), encoding='utf-8')
    assert Subnet.from_file(path) == Subnet.from_file(str(path)) == subnet()


@pytest.mark.parametrize(
    ('content', 'words'),
    [
        ('[1]', r'subnet=\[1\]; must be a dict of widths'),
        ('{}', 'missing keys .*embed_dims'),
        ('', 'no JSON'),
    ],
)
def test_file_errors_name_the_file(tmp_path, content, words):
    path = tmp_path / 'broken.json'
    path.write_text(content)
    with pytest.raises(ValueError, match=rf'broken\.json: .*{words}'):
        Subnet.from_file(path)
