import numpy as np
import pytest
import torch

from eavit_mm.engine.metric_report import numbers_of

NAN = float('nan')


@pytest.mark.parametrize(
    'value',
    [
        7,
        7.0,
        np.float32(7),
        np.int64(7),
        np.array(7.0),
        np.array([[7]]),
        torch.tensor(7),
        torch.tensor([[7.0]]),
    ],
)
def test_numbers_of_any_library(value):
    found = numbers_of(dict(a=value), 'a')
    assert found == dict(a=7.0)
    assert type(found['a']) is float


def test_what_is_no_finite_number_is_left_out():
    report = dict(
        best=1.5,
        rare=NAN,
        far=np.float32('inf'),
        matrix=torch.ones(3, 3),
        none=torch.ones(0),
        classes=[1.0, 2.0],
        array=np.ones(2),
        text='7',
        yes=True,
        also=np.bool_(1),
        nothing=None,
    )
    assert numbers_of(report, 'best') == dict(best=1.5)


def test_a_metric_that_is_not_there():
    with pytest.raises(
        ValueError,
        match=r"metric='mIoU': the evaluator reports the numbers \['a', 'b'\]",
    ):
        numbers_of(dict(a=1, b=2.0, c='3'), 'mIoU')


def test_a_metric_that_is_no_number():
    with pytest.raises(
        ValueError,
        match=r"'m': what .* no number but a Tensor; .* numbers \['a'\]",
    ):
        numbers_of(dict(a=1, m=torch.ones(3, 3)), 'm')


@pytest.mark.parametrize('value', [NAN, float('inf'), torch.tensor(NAN)])
def test_a_metric_that_is_not_finite(value):
    with pytest.raises(FloatingPointError, match='a=(nan|inf): .*NaN weigh'):
        numbers_of(dict(a=value, b=1), 'a')
