"""The search as a whole: its files, its options, its data."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine.config import Config
from mmengine.runner import Runner

from eavit_mm.analysis.latency import build_table
from eavit_mm.engine.checkpoint import load_supernet
from eavit_mm.engine.cli import build_supernet
from eavit_mm.engine.fitness import Fitness
from eavit_mm.engine.search_header import digest
from eavit_mm.files import write_json
from eavit_mm.search.evaluations import read_evaluations
from eavit_mm.space.pareto import Member, ParetoFront, bin_of

from .searches import DIGITS, EVALUATIONS
from .toys import build, evaluated, randomise

TOP1 = 'accuracy/top1'
BINS = 20


@pytest.fixture(scope='module')
def found(
    searched: Path, trained: Path
) -> tuple[ParetoFront, list[Member], Any]:
    """Front, everything evaluated, and the supernet that was searched."""
    model: Any = build_supernet(Config.fromfile(DIGITS), 'the search')
    load_supernet(model, str(trained))
    space = model.backbone.space
    front = ParetoFront.read(searched / 'pareto.json', space)
    _, members = read_evaluations(searched / 'evaluations.jsonl', space)
    return front, members, model


def dominates(a: Member, b: Member) -> bool:
    pairs = [
        (-a.metrics[TOP1], -b.metrics[TOP1]),
        (a.macs, b.macs),
    ]
    return all(x <= y for x, y in pairs) and any(x < y for x, y in pairs)


def test_the_members_are_the_front_of_what_was_evaluated(found):
    front, members, _ = found
    assert front.evaluations == len(members) == EVALUATIONS
    assert len({member.subnet for member in members}) == EVALUATIONS
    expected = [
        m for m in members if not any(dominates(o, m) for o in members)
    ]
    assert {m.subnet for m in expected} == {m.subnet for m in front.members}
    assert 1 < len(front.members) < EVALUATIONS
    macs = [member.macs for member in front.members]
    assert macs == sorted(macs)
    assert front.objectives == ('metric', 'macs')
    assert (front.metric, front.rule) == (TOP1, 'greater')


def test_the_hypervolume_is_the_area_under_the_steps(found):
    front, members, _ = found
    largest = max(member.macs for member in members)
    area, best = 0.0, 0.0
    for member in front.members:
        gain = member.metrics[TOP1] / 100 - best
        area += gain * (1 - member.macs / largest)
        best = member.metrics[TOP1] / 100
    assert front.hypervolume == pytest.approx(area)


def test_a_reference_is_the_best_of_its_bin(found):
    front, members, _ = found
    macs = [member.macs for member in members]
    # The cheapest and the largest start every search.
    low, high = min(macs), max(macs)
    bins: dict[int, list[Member]] = {}
    for member in members:
        place = bin_of(member.macs, low, high, BINS)
        bins.setdefault(place, []).append(member)
    assert len(front.references) == len(bins) > 2
    for reference, place in zip(front.references, sorted(bins), strict=True):
        assert reference in bins[place]
        best = max(member.metrics[TOP1] for member in bins[place])
        assert reference.metrics[TOP1] == best


def test_the_header_says_what_the_results_depend_on(searched, found):
    _, _, model = found
    line = (searched / 'evaluations.jsonl').read_text().splitlines()[0]
    header = json.loads(line)
    weights = dict(sorted(model.state_dict().items()))
    assert header['weights'] == digest(weights)
    assert header['space'] == model.backbone.space.to_config()
    assert header['seed'] == 0
    assert header['images'] == header['batch_size'] == 150
    assert header['algorithm'] == dict(type='eavit_mm.NSGA2', pop_size=8)
    weight = model.head.fc.weight.data
    weight[0, 0] = torch.nextafter(weight[0, 0], torch.tensor(9.0))
    assert header['weights'] != digest(weights)


def test_figures_and_the_log(searched):
    for name in ('pareto.png', 'anatomy.png', 'hypervolume.png'):
        assert (searched / name).stat().st_size > 1000
    log = min(searched.glob('*/*.log'))  # later runs were refused
    text = log.read_text()
    assert f'Search [{EVALUATIONS}/{EVALUATIONS}]' in text
    assert 'The space: ' in text
    hidden = {path.name for path in searched.glob('.*')}
    assert hidden <= {'.evaluations.jsonl.lock'}


# Of a toy network, within this process.


def toy(
    tmp_path: Path, *, config: dict[str, Any] | None = None, **options: Any
) -> Runner:
    options = {'metric': TOP1, 'max_evaluations': 12, **options}
    options.setdefault('algorithm', dict(type='NSGA2', pop_size=6))
    options['algorithm'] = dict(
        options['algorithm'],
        type=f'eavit_mm.{options["algorithm"]["type"]}',
    )
    changes = evaluated()
    changes['test_cfg'] = dict(type='eavit_mm.ParetoSearchLoop', **options)
    runner = build(tmp_path, **{**changes, **(config or {})})
    randomise(runner.model)
    return runner


@pytest.mark.parametrize('algorithm', ['NSGA2', 'RandomSearch'])
@pytest.mark.parametrize(
    'objectives', [['metric', 'macs'], ['params', 'metric', 'macs']]
)
def test_algorithms_and_objectives(tmp_path, algorithm, objectives):
    runner = toy(
        tmp_path,
        algorithm=dict(type=algorithm, pop_size=6),
        objectives=objectives,
        constraints=dict(macs=(0.3, 0.9)),
        bins=3,
    )
    metrics = runner.test()
    model = runner.model
    front = ParetoFront.read(tmp_path / 'pareto.json', model.backbone.space)
    assert front.objectives == tuple(objectives)
    assert metrics == dict(
        hypervolume=front.hypervolume,
        members=len(front.members),
        evaluations=12,
    )
    largest = model.macs()['total']
    for member in front.members:
        assert 0.3 <= member.macs / largest <= 0.9
        assert member.macs == model.macs(member.subnet)['total']
        assert member.params == model.params(member.subnet)['total']
    assert len(front.references) <= 3
    assert model.backbone.subnet is None


def test_the_seed_decides(tmp_path):
    def lines(name: str, seed: int) -> list[str]:
        toy(tmp_path / name, seed=seed, dtype='bfloat16').test()
        return (tmp_path / name / 'evaluations.jsonl').read_text().split('\n')

    first = lines('a', 1)
    assert lines('b', 1) == first
    assert lines('c', 2)[1:] != first[1:]


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(dtype='float8'), r"dtype='float8'; must be one of \['float32'"),
        (dict(fp16=True), "fp16=True; a search takes dtype='float16'"),
        (dict(max_evaluations=0), 'max_evaluations=0'),
        (dict(bins=0), 'bins=0'),
        (dict(threads=0), 'threads=0'),
        (dict(resume='yes'), "resume='yes'"),
        (dict(race=[0.5, 0.2]), r'race=\[0.5, 0.2\]; must list shares of th'),
        (dict(race=0.5), 'race=0.5; must list shares'),
        (
            dict(race=[0.5], metric='single-label/f1-score'),
            "metric='single-label/f1-score' cannot race: only a classifier's",
        ),
        (dict(seed=-1), 'seed=-1; must be an integer of at least 0'),
        (dict(objectives=['metric', 'latency']), 'needs a table of this dev'),
        (dict(constraints=dict(macs=('2GMACs', None))), 'cannot be reached'),
        (
            dict(algorithm=dict(type='NSGA2', foo=1)),
            "foo=1 is no option of SubnetNSGA2; valid are .*'pop_size', 'sur",
        ),
        (
            dict(algorithm=dict(type='Other')),
            r"algorithm.type='eavit_mm.Other' .*are \['eavit_mm.NSGA2', ",
        ),
    ],
)
def test_a_wrong_option_is_said_first(tmp_path, monkeypatch, options, message):
    calls = []
    monkeypatch.setattr(Fitness, '__init__', lambda *args: calls.append(1))
    runner = toy(tmp_path, **options)
    with pytest.raises(ValueError, match=message):
        runner.test()
    assert not calls
    assert not (tmp_path / 'evaluations.jsonl').exists()
    assert not (tmp_path / 'pareto.json').exists()


def test_limits_that_nothing_keeps_in_float32(tmp_path, monkeypatch):
    """Kept under autocast, but not when the front is evaluated again."""
    plain = Fitness.__call__
    monkeypatch.setattr(
        Fitness,
        '__call__',
        lambda fitness, subnet, dtype: {
            **plain(fitness, subnet, dtype),
            TOP1: 0.0 if dtype == 'float32' else 60.0,
        },
    )
    constraints = dict(metric=(50, None))
    runner = toy(tmp_path, dtype='bfloat16', constraints=constraints)
    words = "none of the .* now in float32, keeps them.*dtype='float32'"
    with pytest.raises(ValueError, match=words):
        runner.test()


CONFUSION = dict(type='ConfusionMatrix')


def test_any_evaluator_beside_the_metric(tmp_path):
    accuracy = dict(type='Accuracy', topk=(1,))
    config = dict(test_evaluator=[accuracy, CONFUSION])
    alone = toy(tmp_path / 'a').test()
    assert toy(tmp_path / 'b', config=config).test() == alone


def test_what_races_is_evaluated_on_all_images_before_it_is_chosen(tmp_path):
    runner = toy(tmp_path, race=[0.25, 0.5], max_evaluations=24, bins=4)
    runner.test()
    model, path = runner.model, tmp_path / 'pareto.json'
    front = ParetoFront.read(path, model.backbone.space)
    loop = runner.test_loop
    fitness = Fitness(model, loop.dataloader, loop.evaluator, TOP1)
    for member in (*front.members, *front.references):
        expected = fitness(member.subnet)[TOP1]
        assert member.metrics == {TOP1: pytest.approx(expected)}
        assert not member.parts
    assert front.samples == fitness.data.size


def test_of_several_metrics_none_can_race(tmp_path):
    config = dict(test_evaluator=[dict(type='Accuracy'), CONFUSION])
    with pytest.raises(ValueError, match='cannot race: .* one metric'):
        toy(tmp_path, config=config, race=[0.5]).test()


def test_an_algorithm_that_finds_no_more_is_said(tmp_path, monkeypatch):
    sampler = dict(type='eavit_mm.LargestSampler')
    runner = toy(
        tmp_path, algorithm=dict(type='RandomSearch', sampler=sampler)
    )
    said = []
    monkeypatch.setattr(runner.logger, 'warning', said.append)
    assert runner.test()['evaluations'] == 1
    assert 'max_evaluations=12: the algorithm found only 1 diff' in said[0]


def test_what_the_config_leaves_open_is_that_of_the_first_run(tmp_path):
    """The seed, which mmengine draws, and the threads, which torchrun sets."""
    config = dict(randomness=dict(seed=None))
    toy(tmp_path, config=config, max_evaluations=6).test()
    torch.set_num_threads(2)
    try:
        runner = toy(tmp_path, config=config, resume=True)
        runner.test()
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(1)
    line = (tmp_path / 'evaluations.jsonl').read_text().splitlines()[0]
    header = json.loads(line)
    assert (header['seed'], header['threads']) == (runner.test_loop.seed, 1)
    # As in one go.
    whole = tmp_path / 'whole'
    toy(whole, seed=header['seed'], config=config).test()
    name = 'evaluations.jsonl'
    assert (whole / name).read_bytes() == (tmp_path / name).read_bytes()


def test_a_table_that_was_validated_since_is_the_same(tmp_path):
    model = toy(tmp_path / 'model').model
    table = build_table(model, rounds=1)
    options = dict(latency_table=str(tmp_path / 'table.json'))
    write_json(table.to_dict(), options['latency_table'])
    work = tmp_path / 'work'
    first = toy(work, **options).test()
    validated = replace(table, error=0.1, kendall_tau=0.9)
    write_json(validated.to_dict(), options['latency_table'])
    assert toy(work, resume=True, **options).test() == first
    slower = replace(table, stem=dict.fromkeys(table.stem, 9.0))
    write_json(slower.to_dict(), options['latency_table'])
    with pytest.raises(ValueError, match=r"\['latency_table'\] differ"):
        toy(work, resume=True, **options).test()


def test_a_start_that_has_changed_since_is_of_another_search(tmp_path):
    toy(tmp_path / 'a', max_evaluations=6).test()
    path, work = tmp_path / 'a' / 'pareto.json', tmp_path / 'b'
    start = dict(type='NSGA2', pop_size=6, start=str(path))
    first = toy(work, algorithm=start).test()
    assert toy(work, algorithm=start, resume=True).test() == first
    space = toy(tmp_path / 'c').model.backbone.space
    _, known = read_evaluations(path.with_name('evaluations.jsonl'), space)
    front = ParetoFront.read(path, space)
    other = next(each for each in known if each not in front.members)
    replace(front, members=(other,)).write(path)
    with pytest.raises(ValueError, match=r"\['start'\] differ"):
        toy(work, algorithm=start, resume=True).test()


def test_a_metric_that_is_no_number_is_not_written(tmp_path, monkeypatch):
    monkeypatch.setattr(
        Fitness, '_plain_accuracy', lambda fitness: {TOP1: float('nan')}
    )
    runner = toy(tmp_path)
    with pytest.raises(FloatingPointError, match='NaN weights'):
        runner.test()
    assert not (tmp_path / 'evaluations.jsonl').exists()
