"""The speed benchmark: what it times, and its arithmetic."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import speed, speed_cases
from benchmarks.speed_cases import AGAIN, LARGEST, STOCK, Case, Setting
from eavit_mm.models.router_groups import Groups


@pytest.fixture(scope='module')
def models() -> tuple[Any, Any]:
    return tuple(
        speed_cases.build(flag, Setting(1, 'cpu')) for flag in (False, True)
    )


def test_both_networks_are_the_same(models: tuple[Any, Any]) -> None:
    stock, elastic = models
    assert type(stock.backbone).__name__ == 'VisionTransformer'
    ours = elastic.state_dict()
    for name, value in stock.state_dict().items():
        assert torch.equal(ours[name], value), name
    assert len(ours) == len(stock.state_dict())


def test_the_subnets_are_those_that_the_page_says(
    models: tuple[Any, Any],
) -> None:
    _, elastic = models
    whole = elastic.macs()['total']
    shares = {
        name: elastic.macs(subnet)['total'] / whole
        for name, subnet in speed_cases.subnets_of(elastic).items()
    }
    assert shares.pop(LARGEST) == 1
    for target in (0.75, 0.5, 0.25):
        assert shares.pop(f'uniform {target:.0%}') == pytest.approx(
            target, abs=0.05
        )
    assert shares == {'half off': pytest.approx(0.5, abs=0.02)}
    half = speed_cases.half_off(elastic.backbone.space)
    assert half.num_off == 12
    assert half.embed_dims == 384


def flops(run: Callable[[], Any]) -> int:
    with (
        FlopCounterMode(display=False) as counter,
        sdpa_kernel(SDPBackend.MATH),
    ):
        run()
    return counter.get_total_flops()


def test_what_is_timed_are_the_networks_of_the_page(
    tiny: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Groups, 'fit', lambda *args: None)  # takes seconds
    cases = {case.name: case for case in speed_cases.elastic_cases(tiny)}
    whole = cases.pop(LARGEST)
    assert whole.reference == STOCK
    for kind, slack in (('forward', 1e-6), ('step', 0.05)):
        for case in cases.values():
            assert case.reference == LARGEST
            share = flops(case.runs[kind]) / flops(whole.runs[kind])
            assert share == pytest.approx(case.share, abs=slack), case.name
    # A gated step of stage 2 runs the whole network.
    gated, sliced = speed_cases.stage2_cases(tiny)
    assert (gated.name, gated.share) == (speed_cases.GATED, 1.0)
    assert 0.3 < sliced.share < 0.7
    step = flops(whole.runs['step'])
    assert flops(gated.runs['step']) >= step
    # The share is that of what the steps train in turn.
    steps = [flops(sliced.runs['step']) for _ in speed_cases.DRAWS]
    assert np.mean(steps) / step == pytest.approx(sliced.share, abs=0.05)


def test_ratios_are_formed_inside_a_round() -> None:
    cases = [
        Case(name, share, reference, {})
        for name, share, reference in (
            (STOCK, 1.0, STOCK),
            (AGAIN, 1.0, STOCK),
            (LARGEST, 1.0, STOCK),
            ('half', 0.5, LARGEST),
        )
    ]
    # The machine is ten times slower in the second round.
    times: Any = {
        'forward': {STOCK: [1.0] * 3, AGAIN: [2.0] * 3},
        'step': {
            STOCK: [1.0, 10.0, 1.0],
            AGAIN: [1.0, 10.0, 2.0],
            LARGEST: [1.1, 11.0, 1.1],
            'half': [0.55, 5.5, 0.55],
        },
    }
    again, largest, half = speed.ratios(cases, times)
    assert again['step'] == [1.0, 1.0, 1.5]
    assert again['forward'] == [2.0, 2.0, 2.0]
    assert 'forward' not in half
    assert largest['step'] == [1.1, 1.1, 1.1]
    assert (half['over'], half['step']) == (LARGEST, [0.5, 0.5, 0.5])


def test_every_round_times_every_run_once() -> None:
    calls: list[str] = []
    cases = [
        Case(name, 1.0, STOCK, {'step': lambda name=name: calls.append(name)})
        for name in 'abc'
    ]
    times = speed.measure(cases, 4, 'cpu')
    assert {name: len(found) for name, found in times['step'].items()} == {
        'a': 4,
        'b': 4,
        'c': 4,
    }
    rounds = [calls[i : i + 3] for i in range(0, len(calls), 3)]
    assert len(rounds) == 5  # the first warms up
    assert all(sorted(one) == ['a', 'b', 'c'] for one in rounds)
    assert len(set(map(tuple, rounds))) > 1
