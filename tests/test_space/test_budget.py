import pytest
from hypothesis import given
from hypothesis import strategies as st

from eavit_mm.space import Budget

SCALES = {'': 1, 'k': 1e3, 'M': 1e6, 'G': 1e9, 'T': 1e12}
NUMBERS = st.integers(1, 10**6).map(lambda n: n / 1000)


@given(
    NUMBERS,
    st.sampled_from(sorted(SCALES)),
    st.sampled_from(['MACs', 'params']),
    st.sampled_from(['', ' ']),
    st.sampled_from([str, str.lower, str.upper]),
)
def test_counts_with_a_scale(number, scale, unit, space, case):
    text = case(f'{number:.3f}{space}{scale}{unit}')
    budget = Budget.parse(text)
    assert budget.kind == unit.lower()
    assert budget.value == pytest.approx(number * SCALES[scale])
    assert budget.text == text


@given(st.integers(1, 10**4).map(lambda n: n / 10**4))
def test_shares_as_numbers_and_as_text(share):
    for text in (share, str(share), f' {share} '):
        budget = Budget.parse(text)
        assert (budget.kind, budget.value) == ('share', share)
        assert Budget.parse(budget.text) == budget


@pytest.mark.parametrize(
    ('text', 'kind', 'value'),
    [
        ('8GMACs', 'macs', 8e9),
        ('20Mparams', 'params', 2e7),
        ('5ms', 'latency', 5.0),
        ('.5ms', 'latency', 0.5),
        ('300macs', 'macs', 300.0),
        # The m of mega, not of milliseconds.
        ('5mmacs', 'macs', 5e6),
        (1, 'share', 1.0),
        *[
            ('50%', 'share', 0.5),
            ('100 %', 'share', 1.0),
            ('.5%', 'share', 0.005),
        ],
    ],
)
def test_what_a_user_writes(text, kind, value):
    budget = Budget.parse(text)
    assert (budget.kind, budget.value) == (kind, value)


@pytest.mark.parametrize(
    'text',
    [
        *('', 'half', '8G', '8GFLOPs', '5 s', '50%%', '1,000MACs', '8GMACs!'),
        *('0', '0ms', '0GMACs', '-5ms', '1.01', '1e9MACs', 'inf', 'nan'),
        *(0, -0.5, 1.5, 2, float('nan'), float('inf'), True, None, [0.5]),
        *('0%', '101%', '-5%', '%', '50%ms', '5ms%', '1e999', False),
        *('9' * 400, 10**400, -(10**400), f'1{"0" * 300}TMACs'),
        # Digits and letters of other scripts, and what Python reads besides.
        *(
            '٣%',
            '５０%',
            '²ms',
            '5\u212amacs',
            '5macſ',
            '1_000MACs',
            '+5%',
            '1e-1',
        ),
        *('1e400', '0x1', '5\n%', '5\u200bms', '−5%', '5٪', '½'),
    ],
)
def test_anything_else_names_the_option_and_what_is_valid(text):
    with pytest.raises(ValueError, match='budget=.*must be a share') as error:
        Budget.parse(text)
    assert repr(text)[:80] in str(error.value)
    assert len(str(error.value)) < 250
    for valid in ('50%', '8GMACs', '20Mparams', '5ms'):
        assert valid in str(error.value)
