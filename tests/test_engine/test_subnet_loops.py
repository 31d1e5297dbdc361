"""Validation and test of several subnets against each one by hand."""

import json
from pathlib import Path
from typing import Any

import mmengine
import numpy as np
import pytest
import torch
from fronts import front_of
from mmengine.evaluator import BaseMetric, DumpResults
from mmengine.runner import Runner
from mmpretrain.registry import METRICS

from eavit_mm.models import BudgetSolver
from eavit_mm.space import Budget

from .toys import (
    build,
    config,
    evaluated,
    hook_of,
    loader,
    model_cfg,
    randomise,
)

TOP1 = 'accuracy/top1'
THREE = dict(largest=1.0, half=0.5, smallest='smallest')


def random_run(tmp_path, **options: Any) -> Runner:
    runner = build(tmp_path, **evaluated(**options))
    randomise(runner.model)
    return runner


@torch.no_grad()
def by_hand(runner: Runner, subnet: Any, data: Any) -> float:
    """Accuracy of a subnet, image by image."""
    model = runner.model
    model.eval()
    right = 0
    with model.backbone.use(subnet):
        for image, label in zip(data.images, data.labels, strict=True):
            inputs = (torch.from_numpy(image) - 0.1) / 1.1
            scores = model(inputs[None], mode='tensor')
            right += int(scores.argmax() == label)
    return 100 * right / len(data)


def area(points: list[tuple[float, float]]) -> float:
    points = sorted(points)
    return sum(
        (x2 - x1) * (y1 + y2) / 2
        for (x1, y1), (x2, y2) in zip(points, points[1:], strict=False)
    )


@pytest.mark.parametrize('phase', ['val', 'test'])
def test_each_subnet_is_what_it_is_by_hand(tmp_path, phase):
    runner = random_run(tmp_path, subnets={**THREE, 'low': 0.2})
    metrics = getattr(runner, phase)()
    loop = getattr(runner, f'{phase}_loop')
    model = runner.model
    space = model.backbone.space
    names = {**THREE, 'low': 0.2}
    assert set(metrics) == {*(f'{n}/{TOP1}' for n in names), 'auc'}
    points = []
    for (name, spec), row in zip(names.items(), loop.rows, strict=True):
        subnet = space.resolve(spec)
        assert row['name'] == name
        assert row['subnet'] == subnet.to_dict()
        assert row['macs'] == model.macs(subnet)['total']
        assert row['params'] == model.params(subnet)['total']
        assert row['metrics'] == {TOP1: metrics[f'{name}/{TOP1}']}
        expected = by_hand(runner, subnet, loop.dataloader.dataset)
        assert metrics[f'{name}/{TOP1}'] == pytest.approx(expected)
        ratio = model.macs(subnet)['total'] / model.macs()['total']
        assert row['macs_ratio'] == ratio
        points.append((ratio, expected / 100))
    assert len({round(value, 6) for _, value in points}) > 1
    assert metrics['auc'] == pytest.approx(area(points))
    assert model.backbone.subnet is None
    assert loop.metric == TOP1


ODD: dict[str, tuple[Any, Any]] = dict(
    top1=(torch.tensor(50.0), 50.0),
    one=(np.array([[2]]), 2.0),
    half=(np.float16(0.5), 0.5),
    count=(3, 3.0),
    nan=(float('nan'), None),
    matrix=(torch.eye(2, dtype=torch.bfloat16), [[1.0, 0.0], [0.0, 1.0]]),
    array=(np.arange(2, dtype=np.uint8), [0, 1]),
    names=(np.array(['a', 'b']), ['a', 'b']),
    parts=({0: torch.ones(1), 'b': (np.int8(1),)}, {'0': [1.0], 'b': [1]}),
    text=('all', 'all'),
    none=(None, None),
    flag=(True, True),
    path=(Path('a'), 'a'),
)


@METRICS.register_module()
class OddMetric(BaseMetric):
    """Reports values of every kind, the first no number."""

    default_prefix = 'odd'

    def __init__(self, names: list[str], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.names = names

    def process(self, data_batch: Any, data_samples: Any) -> None:
        self.results += data_samples

    def compute_metrics(self, results: list[Any]) -> dict[str, Any]:
        return {name: ODD[name][0] for name in self.names}


def test_what_is_no_number_is_kept_beside_the_numbers(tmp_path, call, capsys):
    kinds = ['matrix', *ODD]
    odd = dict(type='OddMetric', names=kinds)
    twin = dict(odd, names=['count', 'matrix'], prefix='twin')
    path = tmp_path / 'odd.py'
    cfg = config(tmp_path, **evaluated(subnets=THREE))
    cfg.train_cfg = dict(by_epoch=True, max_epochs=2, val_interval=1)
    cfg.val_evaluator = cfg.test_evaluator = [odd, twin]
    cfg.default_hooks = dict(
        checkpoint=dict(
            type='CheckpointHook', interval=1, save_best='auto', rule='less'
        )
    )
    cfg.custom_hooks = []
    cfg.dump(path)
    call('train.py', path)
    # What was validated is in the checkpoint, and does not spoil it.
    cfg.train_cfg.max_epochs = 3
    cfg.dump(path)
    call('train.py', path, '--resume')
    assert (tmp_path / 'best_half_odd_top1_epoch_1.pth').exists()
    capsys.readouterr()
    call('test.py', path, tmp_path / 'epoch_3.pth')

    def no_json(word: str) -> None:
        raise ValueError(word)

    text = (tmp_path / 'subnets.json').read_text()
    result = json.loads(text, parse_constant=no_json)
    expected = {f'odd/{name}': value for name, (_, value) in ODD.items()}
    expected.update({f'twin/{name}': ODD[name][1] for name in twin['names']})
    for row in result['subnets']:
        assert row['metrics'] == expected
    assert result['metric'] == 'odd/top1'
    # Whole numbers, however many columns.
    table = capsys.readouterr().out.rpartition('odd/top1: AUC')[2]
    for name, value in expected.items():
        shown = table.count(f' {name} ')
        assert shown == (not isinstance(value, list | dict)), name
    for word in ('largest', 'smallest', '100.0%', '50.00', '3.00', 'nan'):
        assert f' {word} ' in table


def test_an_evaluation_without_an_image(tmp_path):
    changes = evaluated(subnets=THREE)
    changes['test_dataloader']['dataset']['size'] = 0
    with pytest.raises(ValueError, match='^test_dataloader: no image in it'):
        build(tmp_path, **changes).test()


def test_an_evaluation_without_a_number(tmp_path):
    changes = evaluated(subnets=THREE)
    changes['test_evaluator'] = dict(type='ConfusionMatrix')
    runner = build(tmp_path, **changes)
    metrics = runner.test()
    assert list(metrics) == [f'{n}/confusion_matrix/result' for n in THREE]
    for matrix in metrics.values():
        assert np.sum(matrix) == 20


def test_predictions_of_every_subnet_are_dumped(tmp_path, monkeypatch):
    for subnets in ({}, dict(smallest='smallest')):
        runner = random_run(
            tmp_path, subnets=dict(subnets, largest=1.0), budgets=()
        )
        # As the stock tool does for --out.
        dump = DumpResults(str(tmp_path / 'pred_.pkl'))
        runner.test_evaluator.metrics.append(dump)
        said = []
        monkeypatch.setattr(runner.logger, 'info', said.append)
        metrics = runner.test()
        # There is no area under one point.
        assert any('AUC' in text for text in said) == bool(subnets)
        assert dump.out_file_path == str(tmp_path / 'pred_.pkl')
        for name in runner.test_loop.subnets:
            file = f'pred__{name}.pkl' if subnets else 'pred_.pkl'
            found = mmengine.load(tmp_path / file)
            right = sum(
                int(s['pred_label']) == int(s['gt_label']) for s in found
            )
            expected = metrics[f'{name}/{TOP1}']
            assert 100 * right / len(found) == pytest.approx(expected)
    assert len(list(tmp_path.glob('*.pkl'))) == 3


def test_budgets_stand_beside_the_subnets(tmp_path):
    options = dict(subnets=dict(largest=1.0), budgets=['0.5', 0.8, '900macs'])
    runner = random_run(tmp_path, **options)
    with pytest.raises(ValueError, match='budget 900macs: 900 MACs of the'):
        runner.val()
    options['budgets'] += ['2000macs', '1kparams', '80%']
    runner = random_run(tmp_path, **options)
    metrics = runner.test()
    names = ['largest', '0.5', '0.8', '2000macs', '1kparams', '80%']
    assert [row['name'] for row in runner.test_loop.rows] == names
    (row,) = runner.test_loop.unreachable
    assert row['name'] == row['budget'] == '900macs'
    assert '900 MACs of the total cannot be reached; this' in row['error']
    assert not any('900macs' in name for name in metrics)
    options = dict(budgets=['900macs', '1%'])
    with pytest.raises(ValueError, match='budgets: budget 900macs: 900 MACs'):
        random_run(tmp_path, **options).test()
    for text in names[1:]:
        solver = BudgetSolver(runner.model)
        subnet = solver([Budget.parse(text)], 'uniform')
        expected = by_hand(runner, subnet, runner.test_dataloader.dataset)
        assert metrics[f'{text}/{TOP1}'] == pytest.approx(expected)
    ratios = {r['name']: r['macs_ratio'] for r in runner.test_loop.rows}
    assert ratios['0.5'] <= 0.5
    assert ratios['0.8'] <= 0.8


@pytest.mark.parametrize('by', [None, 'router', 'front', 'uniform'])
@pytest.mark.parametrize('is_given', [False, True])
def test_answers_are_told_beside_the_fronts(tmp_path, by, is_given):
    """The front of the checkpoint, or one that is given in its place."""
    model = model_cfg(router=dict(type='eavit_mm.RouterHead'))
    budgets = ['0.4', '0.7', '1kparams']
    options: dict[str, Any] = dict(budgets=budgets, by=by)
    first = build(tmp_path, model=model, **evaluated(**options)).model
    if is_given:
        options['front'] = str(tmp_path / 'pareto.json')
        front_of(first).write(options['front'])
    runner = build(tmp_path, model=model, **evaluated(**options))
    randomise(runner.model)
    runner.model.router.is_ready = True
    if not is_given:
        runner.model.router.set_front(front_of(runner.model))
    metrics = runner.test()
    rows = runner.test_loop.rows
    front = front_of(runner.model) if is_given else None
    solver = BudgetSolver(runner.model, front=front)
    who = by or ('front' if is_given else 'router')
    assert {row['by'] for row in rows} == {who}
    data = runner.test_dataloader.dataset
    regrets = []
    for text, row in zip(budgets, rows, strict=True):
        budget = [Budget.parse(text)]
        subnet = solver(budget, by)
        assert row['subnet'] == subnet.to_dict()
        ((kind, limit),) = solver.limits(budget).items()
        assert row['limit'] == limit
        assert row['delivered'] == solver.cost(kind)(subnet) <= limit
        assert row['used'] == row['delivered'] / limit
        ours, theirs = (
            by_hand(runner, s, data) for s in (subnet, solver(budget, 'front'))
        )
        assert row['metrics'][TOP1] == pytest.approx(ours)
        assert row['regret'] == pytest.approx(theirs - ours, abs=1e-5)
        regrets.append(row['regret'])
    assert metrics['regret'] == pytest.approx(sum(regrets) / 3)
    if by == 'front':
        assert not any(regrets)


@pytest.mark.parametrize('by', ['front', 'router'])
def test_who_is_not_there_does_not_answer(tmp_path, by):
    with pytest.raises(ValueError, match=f"by='{by}'; must be one of"):
        random_run(tmp_path, budgets=['0.5'], by=by).val()
    # A checkpoint may bring them: only then it is known.
    model = model_cfg(router=dict(type='eavit_mm.RouterHead'))
    options = evaluated(budgets=['0.5'], by=by)
    with pytest.raises(ValueError, match=f"by='{by}'; must be one of"):
        build(tmp_path, model=model, **options).test()


def test_the_metric_of_the_area_can_be_chosen(tmp_path):
    changes = evaluated(
        subnets=THREE, metric='single-label/recall', metric_scale=0.5
    )
    changes['test_evaluator'] = [
        dict(type='Accuracy', topk=(1,)),
        dict(type='SingleLabelMetric'),
    ]
    runner = build(tmp_path, **changes)
    randomise(runner.model)
    metrics = runner.test()
    points = [
        (row['macs_ratio'], 0.5 * row['metrics']['single-label/recall'])
        for row in runner.test_loop.rows
    ]
    assert metrics['auc'] == pytest.approx(area(points))


def test_validation_within_training_sees_the_new_weights(tmp_path):
    # Slices that are kept for a subnet must not outlive its evaluation.
    runner = build(
        tmp_path,
        train_cfg=dict(by_epoch=True, max_epochs=2, val_interval=1),
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.5)),
        **evaluated(subnets=THREE),
    )
    seen = []
    recorder = hook_of(runner, 'Recorder')
    recorder.after_val_epoch = lambda runner, metrics: seen.append(metrics)
    runner.train()
    assert len(seen) == 2
    loop = runner.val_loop
    for name, spec in THREE.items():
        subnet = runner.model.backbone.space.resolve(spec)
        expected = by_hand(runner, subnet, loop.dataloader.dataset)
        assert seen[-1][f'{name}/{TOP1}'] == pytest.approx(expected)


def test_test_time_augmentation(tmp_path):
    source = random_run(tmp_path / 'source')
    path = tmp_path / 'random.pth'
    torch.save(dict(state_dict=source.model.state_dict()), path)
    changes = evaluated(subnets=THREE)
    changes['test_dataloader'] = loader(
        20,
        seed=1,
        sampler=dict(type='DefaultSampler', shuffle=False),
        collate_fn=dict(type='flip_twice'),
    )
    cfg = config(tmp_path / 'tta', **changes, load_from=str(path))
    cfg.model = dict(type='mmpretrain.AverageClsScoreTTA', module=model_cfg())
    cfg.custom_hooks = []
    runner = Runner.from_cfg(cfg)
    metrics = runner.test()
    model = source.model.eval()
    data = runner.test_dataloader.dataset
    x = (torch.from_numpy(data.images) - 0.1) / 1.1
    for name, spec in THREE.items():
        subnet = model.backbone.space.resolve(spec)
        with torch.no_grad(), model.backbone.use(subnet):
            score = model(x, mode='tensor').softmax(1)
            score = score + model(x.flip(3), mode='tensor').softmax(1)
        right = (score.argmax(1) == torch.tensor(data.labels)).float()
        assert metrics[f'{name}/{TOP1}'] == pytest.approx(
            100 * float(right.mean())
        )
    assert runner.model.module.backbone.subnet is None
