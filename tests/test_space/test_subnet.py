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
    assert Subnet.from_dict(member.to_dict()) == member
    assert Subnet.from_json(member.to_json()) == member
    assert json.loads(member.to_json()) == member.to_dict()
    assert '\n' not in member.to_json()


@given(subnets())
def test_equal_subnets_hash_alike_and_others_differ(member):
    twin = Subnet.from_json(member.to_json())
    assert {member, twin} == {member}
    for name, value in member.to_dict().items():
        if name == 'side':
            other = 'suffix' if value == 'prefix' else 'prefix'
        else:
            other = (
                value[:-1] + [value[-1] + 1]
                if name
                in (
                    'num_heads',
                    'feedforward_channels',
                )
                else value + 1
            )
        changed = Subnet.from_dict({**member.to_dict(), name: other})
        assert len({member, changed}) == 2, name


def test_lists_become_tuples_and_values_are_frozen():
    member = subnet()
    assert member.num_heads == (2, 0, 1)
    assert member == subnet(num_heads=(2, 0, 1))
    with pytest.raises(AttributeError):
        member.embed_dims = 3
    member.to_dict()['num_heads'][0] = 99
    assert member.num_heads == (2, 0, 1)


def test_counts():
    assert subnet().num_layers == 3
    assert subnet().num_off == 2
    assert subnet(num_heads=[0] * 3, feedforward_channels=[0] * 3).num_off == 6


def test_side_may_be_left_out_of_a_dict():
    assert Subnet.from_dict(FIELDS).side == 'prefix'


@pytest.mark.parametrize(
    ('changes', 'words'),
    [
        (dict(embed_dims=0), 'embed_dims=0; must be an integer of at least 1'),
        (dict(embed_dims=-8), 'embed_dims=-8; must be an integer'),
        (dict(embed_dims=16.0), r'embed_dims=16\.0; must be an integer'),
        (dict(embed_dims=True), 'embed_dims=True; must be an integer'),
        (dict(embed_dims='16'), "embed_dims='16'; must be an integer"),
        (dict(embed_dims=None), 'embed_dims=None; must be an integer'),
        (dict(embed_dims=[16]), r'embed_dims=\[16\]; must be an integer'),
        (dict(head_dims=0), 'head_dims=0; must be an integer of at least 1'),
        (dict(head_dims=8.5), r'head_dims=8\.5; must be an integer'),
        (
            dict(num_heads=[2, 0, -1]),
            'layer 2: num_heads=-1; must be an integer of at least 0',
        ),
        (dict(num_heads=[2, True, 1]), 'layer 1: num_heads=True; must be'),
        (dict(num_heads=[2, 1.0, 1]), r'layer 1: num_heads=1\.0; must be'),
        (dict(num_heads=[[2], 1, 1]), r'layer 0: num_heads=\[2\]; must be'),
        (
            dict(feedforward_channels=[1, 2, None]),
            'layer 2: feedforward_channels=None; must be an integer',
        ),
        (dict(num_heads=2), 'num_heads=2; must list one width per layer'),
        (dict(num_heads='201'), "num_heads='201'; must list one width"),
        (
            dict(num_heads=[1, 1]),
            'num_heads has 2 layers, feedforward_channels 3; must be the same',
        ),
        (
            dict(num_heads=[], feedforward_channels=[]),
            'num_heads is empty; needs at least one layer',
        ),
        (dict(side='left'), "side='left'; must be one of .*prefix.*suffix"),
        (dict(side=['prefix']), 'must be one of .*prefix.*suffix'),
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
        ValueError, match=r"unknown: \['heads'\], missing: \['head_dims'\]"
    ):
        Subnet.from_dict(values)
    with pytest.raises(ValueError, match=r"unknown: \['7'\]"):
        Subnet.from_dict({**FIELDS, 7: 1})


@pytest.mark.parametrize('values', [None, 3, [1, 2], 'largest'])
def test_only_a_dict_is_a_subnet(values):
    with pytest.raises(ValueError, match='a subnet must be a dict, got'):
        Subnet.from_dict(values)


@pytest.mark.parametrize('text', ['', '{', '{"embed_dims": 16,', 'largest'])
def test_broken_json_raises(text):
    with pytest.raises(ValueError, match='not a subnet in JSON'):
        Subnet.from_json(text)


def test_a_truncated_subnet_is_no_subnet():
    text = subnet().to_json()
    for end in range(len(text)):
        with pytest.raises(ValueError, match='not a subnet in JSON'):
            Subnet.from_json(text[:end])


def test_a_field_stands_once():
    text = Subnet(8, (2,), (5,), 4).to_json()
    with pytest.raises(ValueError, match='in JSON: embed_dims stands twice'):
        Subnet.from_json(text.replace('}', ', "embed_dims": 4}'))


def test_a_file_that_is_no_utf8_is_named(tmp_path):
    path = tmp_path / 'wide.json'
    path.write_text(Subnet(8, (2,), (5,), 4).to_json(), encoding='utf-16')
    with pytest.raises(ValueError, match=r'wide\.json: not a subnet in JSON'):
        Subnet.from_file(path)


def test_file_round_trip(tmp_path):
    path = tmp_path / 'subnet.json'
    path.write_text(subnet().to_json(), encoding='utf-8')
    assert Subnet.from_file(path) == Subnet.from_file(str(path)) == subnet()


@pytest.mark.parametrize(
    ('content', 'words'),
    [
        (b'{"embed_dims": 16', 'not a subnet in JSON'),
        (b'[1]', 'a subnet must be a dict'),
        (b'{}', 'missing: .*embed_dims'),
        (b'\xff\xfe\x00', 'utf-8'),
    ],
)
def test_file_errors_name_the_file(tmp_path, content, words):
    path = tmp_path / 'broken.json'
    path.write_bytes(content)
    with pytest.raises(ValueError, match=rf'broken\.json: .*{words}'):
        Subnet.from_file(path)


def test_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r'nowhere\.json'):
        Subnet.from_file(tmp_path / 'nowhere.json')
