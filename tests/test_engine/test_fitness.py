"""Metrics of subnets on kept data against those of the loops."""

from typing import Any

import numpy as np
import pytest
import torch
from mmengine.evaluator import Evaluator
from mmengine.runner import Runner
from mmpretrain.structures import DataSample

from eavit_mm.engine.fitness import Fitness, numbers_of, report_of
from eavit_mm.engine.ranked_fitness import RankedFitness
from eavit_mm.models.budget_solver import costs_of
from eavit_mm.space import Subnet
from eavit_mm.space.pareto import Member

from .toys import CLASSES, build, evaluated, randomise, snapshot

TOP1 = dict(type='Accuracy', topk=(1,))
NAME = 'accuracy/top1'
NAN = float('nan')


def subnets_of(space: Any, number: int = 5) -> list[Subnet]:
    rng = np.random.default_rng(4)
    drawn = [space.sample(rng, p_off=0.5) for _ in range(number)]
    return [space.largest, space.smallest, *drawn]


def ready(tmp_path, evaluator: Any = TOP1, **options: Any) -> Runner:
    """A runner whose test loop is built and whose weights are random."""
    changes = evaluated(**options)
    changes['test_evaluator'] = evaluator
    runner = build(tmp_path, **changes)
    runner._test_loop = runner.build_test_loop(runner._test_loop)
    randomise(runner.model)
    runner.model.eval()
    return runner


def fitness_of(runner: Runner, dtype: str = 'float32') -> Fitness:
    loop = runner.test_loop
    return Fitness(runner.model, loop.dataloader, loop.evaluator, NAME, dtype)


def loop_metrics(tmp_path, subnets, evaluator) -> list[dict[str, float]]:
    named = {str(i): s.to_dict() for i, s in enumerate(subnets)}
    runner = ready(tmp_path, evaluator, subnets=named)
    runner.test()
    return [row['metrics'] for row in runner.test_loop.rows]


@pytest.mark.parametrize(
    ('evaluator', 'metric'),
    [
        (TOP1, NAME),
        (dict(TOP1, topk=(2, 1)), NAME),
        (dict(TOP1, thrs=0.5), NAME),
        (dict(TOP1, thrs=(0.0, 0.5)), f'{NAME}_thr-0.50'),
        ([TOP1, dict(type='SingleLabelMetric')], 'single-label/recall'),
    ],
)
def test_numbers_are_those_of_the_loop(tmp_path, evaluator, metric):
    """By the stock prediction, and where it can be without it."""
    runner = ready(tmp_path / 'here', evaluator)
    subnets = subnets_of(runner.model.backbone.space)
    fast, slow = fitness_of(runner), fitness_of(runner)
    is_plain = isinstance(evaluator, dict) and metric == NAME
    assert (fast._measure == fast._plain_accuracy) == is_plain
    slow._measure = slow._any_metric
    fast.metric = slow.metric = metric
    expected = loop_metrics(tmp_path / 'loop', subnets, evaluator)
    assert metric in expected[0]
    for subnet, numbers in zip(subnets, expected, strict=True):
        assert fast(subnet) == slow(subnet) == numbers
    assert len({tuple(e.values()) for e in expected}) > 2


def test_two_metrics_of_one_name_are_refused(tmp_path):
    twice = [TOP1, dict(TOP1, thrs=0.5)]
    fitness = fitness_of(ready(tmp_path, twice))
    with pytest.raises(ValueError, match=r"two metrics .*'accuracy/top1'"):
        fitness(fitness.model.backbone.space.largest)


def test_a_number_that_is_none_names_the_subnet(tmp_path):
    runner = ready(tmp_path)
    fitness = fitness_of(runner)
    fitness._measure = lambda: {NAME: float('nan')}
    subnet = runner.model.backbone.space.smallest
    with pytest.raises(FloatingPointError, match='NaN weights') as error:
        fitness(subnet)
    assert str(error.value).startswith(subnet.to_json())


@pytest.mark.parametrize(
    'metrics', [TOP1, [TOP1, dict(TOP1, thrs=0.5, prefix='half')]]
)
@pytest.mark.parametrize('dtype', ['float32', 'bfloat16'])
def test_a_network_that_does_not_compute_has_no_accuracy(
    tmp_path, metrics, dtype
):
    runner = ready(tmp_path, metrics)
    fitness = fitness_of(runner)
    space = runner.model.backbone.space
    assert fitness(space.smallest, dtype)
    # Finite weights, whose products are not.
    layer = runner.model.backbone.layers[-1].ffn.layers[1]
    layer.weight.data[:, -1] = 3e38
    layer.bias.data[:] = 3e38
    subnet = space.largest
    with pytest.raises(FloatingPointError, match='scores are not finite') as e:
        fitness(subnet, dtype)
    assert str(e.value).startswith(subnet.to_json())


@pytest.mark.parametrize('dtype', ['float32', 'bfloat16'])
def test_the_type_is_what_was_asked_for(tmp_path, dtype):
    runner = ready(tmp_path)
    seen = set()
    runner.model.backbone.layers[0].register_forward_pre_hook(
        lambda module, args: seen.add(torch.is_autocast_enabled('cpu'))
    )
    runner.model.head.fc.register_forward_hook(
        lambda module, args, output: seen.add(output.dtype)
    )
    fast, slow = fitness_of(runner, dtype), fitness_of(runner, dtype)
    slow._measure = slow._any_metric
    for subnet in subnets_of(runner.model.backbone.space):
        assert fast(subnet) == slow(subnet)
    assert seen == {dtype != 'float32', getattr(torch, dtype)}
    assert not torch.is_autocast_enabled('cpu')


def test_nothing_of_the_model_changes(tmp_path):
    runner = ready(tmp_path)
    backbone = runner.model.backbone
    before = snapshot(runner.model)
    fitness = fitness_of(runner)
    subnets = subnets_of(backbone.space)
    for subnet in subnets:
        fitness(subnet)
        assert backbone.subnet is None
    with backbone.use(subnets[1]):
        fitness(subnets[0])
        assert backbone.subnet == subnets[1]
    for name, value in runner.model.state_dict().items():
        assert torch.equal(value, before[name]), name
        assert not value.requires_grad
    assert not runner.model.training


def test_data_are_read_once_and_whole(tmp_path, monkeypatch):
    runner = ready(tmp_path)
    data = runner.test_loop.dataloader.dataset
    read: list[int] = []
    get = type(data).__getitem__
    monkeypatch.setattr(
        type(data), '__getitem__', lambda d, i: read.append(i) or get(d, i)
    )
    # What each of two ranks would see of it.
    monkeypatch.setattr(
        runner.test_loop.dataloader.sampler, 'indices', [0, 1], raising=False
    )
    runner.test_loop.dataloader.sampler.total_size = 2
    fitness = fitness_of(runner)
    for subnet in subnets_of(runner.model.backbone.space):
        fitness(subnet)
    assert sorted(read) == list(range(len(data)))
    assert len(fitness.labels) == fitness.data.size == len(data)


def _processed(evaluator: Evaluator, number: int) -> Evaluator:
    rng = torch.Generator().manual_seed(0)
    for _ in range(number):
        sample = DataSample().set_gt_label(1)
        scores = torch.rand(CLASSES, generator=rng)
        sample.set_pred_score(scores).set_pred_label(scores.argmax())
        evaluator.process(data_samples=[sample], data_batch=None)
    return evaluator


@pytest.mark.parametrize('size', [20, 13])
@pytest.mark.parametrize(
    'metrics', [[TOP1], [TOP1, dict(type='SingleLabelMetric')]]
)
def test_evaluation_in_one_process(metrics, size):
    # More results than samples: what a distributed sampler pads.
    stock, ours = (_processed(Evaluator(metrics), 20) for _ in range(2))
    expected = stock.evaluate(size)
    assert report_of(ours, size) == expected
    # Nothing is left for the next one.
    assert not any(metric.results for metric in ours.metrics)
    assert report_of(_processed(ours, 20), size) == expected


def test_results_of_one_rank_keep_their_order(tmp_path):
    runner = ready(tmp_path)
    space = runner.model.backbone.space
    subnets = subnets_of(space)
    asked = []

    def fitness(subnet, dtype):
        asked.append(subnet)
        return dict(number=float(subnets.index(subnet)))

    costs = costs_of(runner.model)
    ranked = RankedFitness(fitness, costs)
    found = ranked.run(lambda: ranked(subnets))
    assert found == [
        Member(
            subnet,
            dict(number=float(subnets.index(subnet))),
            runner.model.macs(subnet)['total'],
            runner.model.params(subnet)['total'],
        )
        for subnet in subnets
    ]
    # The dearest first: shares of several ranks end together.
    macs = [costs['macs'](subnet) for subnet in asked]
    assert macs == sorted(macs, reverse=True)


def test_an_error_of_a_subnet_is_raised(tmp_path):
    runner = ready(tmp_path)

    def fail(subnet, dtype):
        raise FloatingPointError('no number')

    ranked = RankedFitness(fail, costs_of(runner.model))
    largest = runner.model.backbone.space.largest
    with pytest.raises(FloatingPointError, match='no number'):
        ranked.run(lambda: ranked([largest]))


# What of a report is a number.


SEVENS = (7, np.float32(7), np.int64(7), np.array([[7]]))


@pytest.mark.parametrize('value', [*SEVENS, torch.tensor([[7.0]])])
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


@pytest.mark.parametrize(
    ('value', 'words'),
    [
        (None, "metric='a': what .* no number but a None.*; .* .'b'.$"),
        (
            torch.ones(3, 3),
            "metric='a': what .* no number but a Tensor; .*'b'",
        ),
        (NAN, 'a=nan: .*NaN weights'),
        (torch.tensor(float('inf')), 'a=inf: .*NaN weights'),
    ],
)
def test_a_metric_that_is_no_number(value, words):
    with pytest.raises((ValueError, FloatingPointError), match=words):
        numbers_of(dict(a=value, b=2.0, c='3'), 'a')
    with pytest.raises(ValueError, match="^metric='d': the evaluator reports"):
        numbers_of(dict(a=value, b=2.0), 'd')
