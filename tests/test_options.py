"""What the options of a config may be."""

from typing import Any

import numpy as np
import pytest

from eavit_mm.options import (
    check_choice,
    check_count,
    check_flag,
    check_keys,
    check_list,
    check_mapping,
    check_number,
    check_path,
    difference_of,
    is_int,
    is_positive,
)
from eavit_mm.rearrange import Criterion, RandomCriterion
from eavit_mm.registry import build_part
from eavit_mm.space.samplers import SubnetSampler

nan, inf = float('nan'), float('inf')


def test_integers() -> None:
    assert is_int(3)
    assert not any(map(is_int, (True, 3.0, '3', None)))


def test_counts() -> None:
    check_count('n', 2, least=2)
    for wrong in (1, 2.0, True, None, '2', nan, -(2**70), inf):
        with pytest.raises(ValueError, match=rf'n={wrong!r}; .* at least 2'):
            check_count('n', wrong, least=2)
    with pytest.raises(
        ValueError, match='^n=10{79}; .* 2, at most 92233720'
    ) as error:
        check_count('n', 10**400, least=2)
    assert len(str(error.value)) < 200


def test_numbers() -> None:
    assert is_positive(1e-9)
    for right in (0, 0.0, 3, 0.5, np.float64(2)):
        check_number('x', right)
    for wrong in (-1, nan, inf, -inf, True, None, '1', [1], 10**400):
        assert not is_positive(wrong)
        with pytest.raises(ValueError, match='must be at least 0 and finite'):
            check_number('x', wrong)
    with pytest.raises(ValueError, match='x=0; must be positive and finite'):
        check_number('x', 0, positive=True)


def test_flags_and_dicts() -> None:
    check_flag('on', False)
    check_mapping('parts', {}, 'sizes')
    for wrong in ('no', 0, 1, None):
        with pytest.raises(ValueError, match=f'on={wrong!r}; must be True or'):
            check_flag('on', wrong)
        with pytest.raises(ValueError, match='parts=.* must be a dict of siz'):
            check_mapping('parts', wrong, 'sizes')


def test_choices_lists_and_keys() -> None:
    check_choice('by', 'b', ('a', 'b'))
    check_list('parts', [0], 'size')
    check_keys('part', dict(a=1, c=2), ['a'], ['b', 'c'])
    with pytest.raises(ValueError, match=r"by='c'; must be one of \('a', 'b'"):
        check_choice('by', 'c', ('a', 'b'))
    for wrong in ([], (), 'no', 3, None):
        with pytest.raises(ValueError, match='parts=.* at least one size'):
            check_list('parts', wrong, 'size')
    with pytest.raises(
        ValueError,
        match=r"part: unknown keys \['7', 'd'\], missing keys \['a'\]; "
        r"valid are \['a', 'b', 'c'\]",
    ):
        check_keys('part', {'c': 2, 'd': 3, 7: 4}, ['a'], ['b', 'c'])


def test_differences_are_named() -> None:
    assert difference_of({'a': 1, 'b': None}, {'a': 1, 2: None}) == ''
    text = difference_of({'a': 1, 'b': 2, 3: 4}, {'a': 1, 'b': 0})
    assert text == "[3, 'b'] differ; 3=4 there, None here"


def test_paths() -> None:
    check_path('file', 'a.pth')
    check_path('file', None)
    for wrong in (5, True, ['a.pth']):
        with pytest.raises(ValueError, match='file=.* must be a path or None'):
            check_path('file', wrong)


def test_a_part_is_built() -> None:
    cfg = dict(type='eavit_mm.RandomCriterion', seed=3)
    part = build_part('criterion', cfg, Criterion)
    assert isinstance(part, RandomCriterion)
    assert part.seed == 3


@pytest.mark.parametrize(
    'cfg', [None, 'random', {}, dict(type='eavit_mm.UniformSampler')]
)
def test_another_part_is_refused(cfg: Any) -> None:
    with pytest.raises(
        ValueError, match=r'criterion=.*must be .*one of .*RandomCriterion'
    ):
        build_part('criterion', cfg, Criterion)


def test_a_missing_option_is_named() -> None:
    words = "sampler=.*'subnets'; its options are .'subnets', 'num', "
    cfg = dict(type='eavit_mm.FixedListSampler')
    with pytest.raises(ValueError, match=words):
        build_part('sampler', cfg, SubnetSampler)
