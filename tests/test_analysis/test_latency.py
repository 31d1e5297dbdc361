"""Latency tables of a toy network; nothing is said about the times."""

import re
from contextlib import nullcontext
from dataclasses import replace
from itertools import repeat

import numpy as np
import pytest
import torch
from mmpretrain.registry import MODELS

import eavit_mm  # noqa: F401
from eavit_mm.analysis import latency
from eavit_mm.analysis.latency import (
    build_table,
    check_device,
    measure,
    measure_in_turn,
    validate,
)

SPACES = dict(
    free=dict(
        embed_dims=[4, 12],
        num_heads=[1, 3],
        feedforward_channels=[[5, 10], [10]],
        max_off=1,
    ),
    tied=dict(
        embed_dims=[4, 12],
        num_heads=[1, 3],
        feedforward_channels=[5, 10],
        max_off=0,
        ties=[['embed_dims', 'num_heads', 'feedforward_channels']],
    ),
)


def network(space='free'):
    return MODELS.build(
        dict(
            type='eavit_mm.ElasticImageClassifier',
            backbone=dict(
                type='eavit_mm.ElasticVisionTransformer',
                arch=dict(
                    embed_dims=12,
                    num_layers=2,
                    num_heads=3,
                    feedforward_channels=10,
                ),
                img_size=8,
                patch_size=4,
                space=SPACES[space],
            ),
            head=dict(type='LinearClsHead', num_classes=3, in_channels=12),
        )
    )


@pytest.mark.parametrize('space', SPACES)
def test_a_table_covers_its_space(space):
    model = network(space)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    was = model.backbone.space
    table = build_table(model, rounds=1)
    table.check(model.backbone.space, model.backbone.geometry)
    times = [*table.stem.values()]
    for axis in (table.num_heads, table.feedforward_channels):
        assert set(axis) == {4, 12}
        times += [t for row in axis.values() for t in row.values()]
    assert np.isfinite(times).all()
    assert min(times) >= 0
    assert (table.batch_size, table.dtype) == (1, 'float32')
    assert table.threads == torch.get_num_threads()
    # The model is as it was.
    assert model.backbone.space is was
    assert model.training
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name])


def test_a_validation_gives_numbers():
    model = network()
    table = build_table(model, batch_size=2, rounds=1)
    found = validate(model, table, num=6, rounds=1)
    assert len(found.subnets) == len(found.measured) == 6
    assert min(found.measured) > 0
    assert np.isfinite(found.error)
    assert found.foretold == [table(subnet) for subnet in found.subnets]
    for subnet in found.subnets:
        model.backbone.space.check(subnet)


def timed(monkeypatch, milliseconds):
    """Replaces the clock: each subnet takes what a function says."""

    def fake(model, subnets, *options):
        return [milliseconds(subnet) for subnet in subnets]

    monkeypatch.setattr(latency, 'measure', fake)


def additive(subnet):
    branches = sum(subnet.num_heads) * 0.5 + sum(subnet.feedforward_channels)
    return 3.0 + 0.1 * subnet.embed_dims * (1 + branches)


def test_times_that_add_up_are_foretold(monkeypatch):
    timed(monkeypatch, additive)
    model = network()
    table = build_table(model)
    assert table.stem == pytest.approx({4: 3.4, 12: 4.2})
    assert table.num_heads[12] == pytest.approx({1: 0.6, 3: 1.8})
    assert table.feedforward_channels[4] == pytest.approx({5: 2.0, 10: 4.0})
    assert table(model.backbone.space.largest) == pytest.approx(
        additive(model.backbone.space.largest)
    )


@pytest.mark.parametrize('speed', [1.0, 1.25, 2.0])
def test_a_slower_device_is_told_from_a_wrong_table(monkeypatch, speed):
    timed(monkeypatch, additive)
    model = network()
    table = build_table(model)
    timed(monkeypatch, lambda subnet: speed * additive(subnet))
    found = validate(model, table, num=9)
    assert found.drift == pytest.approx(speed)
    assert found.error == pytest.approx(1 - 1 / speed, abs=1e-9)
    assert found.own_error == pytest.approx(0, abs=1e-9)
    assert found.kendall_tau == pytest.approx(1)
    wide = model.backbone.space.embed_dims[-1]
    timed(
        monkeypatch,
        lambda subnet: additive(subnet) * (1 + (subnet.embed_dims == wide)),
    )
    assert validate(model, table, num=9).own_error > 0.1
    timed(monkeypatch, lambda subnet: -additive(subnet))
    assert validate(model, table, num=9).kendall_tau == pytest.approx(-1)


class Clock:
    """Seconds that calls take, one after another."""

    def __init__(self):
        self.now = 0.0

    def perf_counter(self):
        return self.now

    def call(self, lengths):
        lengths = iter(lengths)

        def run():
            self.now += next(lengths)

        return nullcontext, run


def test_a_slow_round_slows_all_its_calls(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(latency, 'time', clock)
    rng = np.random.default_rng(0)
    speed = np.repeat(rng.uniform(1, 3, 40), 3)
    # One call in five is interrupted, the fastest of three hardly ever.
    lengths = np.array([2.0, 5.0, 7.0])[:, None] * speed
    lengths = lengths + 4.0 * (rng.random(lengths.shape) < 0.2)
    cases = [clock.call(row) for row in lengths]
    found = measure_in_turn(cases, torch.device('cpu'), 40)
    assert found == pytest.approx(
        1e3 * np.quantile(speed, 0.1) * np.array([2.0, 5.0, 7.0]), rel=0.02
    )


@pytest.mark.parametrize(
    ('length', 'rounds'), [(0.1, 100), (0.5, 20), (4.0, 20)]
)
def test_rounds_of_a_minute(monkeypatch, length, rounds):
    clock = Clock()
    monkeypatch.setattr(latency, 'time', clock)
    cases = [clock.call(repeat(length))] * 2
    found = measure_in_turn(cases, torch.device('cpu'))
    assert found == pytest.approx([1e3 * length] * 2)
    assert clock.now == pytest.approx(rounds * length * 6)


def test_noise_makes_no_negative_times(monkeypatch):
    # An empty network that seems to be the slowest.
    timed(monkeypatch, lambda subnet: 1.0 + subnet.num_off)
    table = build_table(network())
    assert set(table.num_heads[4].values()) == {0.0}


def test_a_type_of_numbers():
    model = network()
    (time,) = measure(model, [model.backbone.space.largest], 1, 1, 'bfloat16')
    assert time > 0
    assert next(model.parameters()).dtype == torch.float32


@pytest.mark.parametrize('option', ['rounds', 'batch_size'])
def test_wrong_options(option):
    words = f'{option}=0; must be an integer of at least 1'
    with pytest.raises(ValueError, match=words):
        build_table(network(), **{option: 0})


def test_a_table_is_validated_where_it_was_measured(monkeypatch):
    timed(monkeypatch, additive)
    here = torch.device('cpu')
    table = build_table(network())
    check_device(table, here)
    check_device(table, here, table.threads)
    with pytest.raises(ValueError, match='num=1; must be an integer'):
        validate(network(), table, num=1)
    with pytest.raises(ValueError, match='threads=99; the table is of'):
        check_device(table, here, 99)
    other = replace(table, device='another')
    words = f"table is of 'another', this device is '{table.device}'"
    with pytest.raises(ValueError, match=re.escape(words)):
        check_device(other, here)
