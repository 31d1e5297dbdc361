"""What a run is refused for before its first step."""

import fcntl
import re
from typing import Any

import pytest
import torch
from mmengine.config import Config
from mmengine.evaluator import BaseMetric, Evaluator
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmpretrain.registry import METRICS

from eavit_mm.engine import run_checks
from eavit_mm.engine.cli import build_runner, run_tool
from eavit_mm.engine.run_checks import (
    check_keys,
    check_training,
    check_work_dir,
)

from .toys import (
    build,
    config,
    evaluated,
    model_cfg,
    randomise,
    snapshot,
    stock_cfg,
)

TOP1 = 'accuracy/top1'


@pytest.fixture
def warned(monkeypatch):
    """What a check warns of."""
    texts = []
    monkeypatch.setattr(
        run_checks, 'print_log', lambda text, **_: texts.append(text)
    )
    return texts


def test_a_misspelt_key_is_named(tmp_path, warned):
    known = {
        'optim_wraper': 'optim_wrapper',
        'modle': 'model',
        'custom_hook': 'custom_hooks',
        'train_config': 'train_cfg',
        'load_form': 'load_from',
        'search_cgf': 'search_cfg',
        'tta_pipline': 'tta_pipeline',
    }
    check_keys(Config(dict.fromkeys(known, 1)))
    said = [f'{k}=1: no tool reads this key; is it {known[k]}?' for k in known]
    assert warned == said


def test_variables_of_ones_own_are_left_alone(tmp_path, warned):
    cfg = config(tmp_path, **evaluated())
    # The third looks like a key, but was put to use.
    cfg.merge_from_dict(
        dict(max_epochs=3, optimizer=dict(), parts=[1], heads=2, pipeline=[])
    )
    cfg['evaluator'] = cfg.val_evaluator
    check_keys(cfg)
    assert warned == []


COSINE = dict(type='CosineAnnealingLR', begin=5)


@pytest.mark.parametrize(
    ('schedules', 'words'),
    [
        ([dict(type='LinearLR', end=5), COSINE], '1: Cos.* at 5 .* at 3, in '),
        ([dict(type='MultiStepLR', milestones=[9], begin=4)], '0: Multi.* 4 '),
        ([dict(type='ExponentialLR', gamma=0.9, begin=3)], '0: Exp.* at 3 '),
        ([dict(type='PolyLR', begin=5, end=4)], '0: .* 5 and ends at 4, '),
        (
            [dict(type='StepLR', step_size=9, begin=99, by_epoch=False)],
            '0: StepLR begins at 99 .* at 9, in a training of 9 iters: .*'
            'train_cfg.max_iters to more',
        ),
        (COSINE, ': CosineAnnealingLR .*set param_scheduler.begin, '),
    ],
    ids=str,
)
def test_a_schedule_that_a_shorter_training_leaves_out(
    tmp_path, schedules, words
):
    runner = build(tmp_path, param_scheduler=schedules)
    with pytest.raises(ValueError, match=f'^param_scheduler.?{words}'):
        check_training(runner)
    # What merely ends later is cut off, as mmengine does.
    later = [dict(type='LinearLR', end=5), dict(COSINE, begin=2, end=80)]
    check_training(build(tmp_path, param_scheduler=later))


def test_changing_shapes_are_not_compiled(tmp_path):
    largest = model_cfg(sampler=dict(type='eavit_mm.LargestSampler'))
    for model in (largest, stock_cfg()):
        check_training(build(tmp_path, model=model, compile=True))
    for value in (None, False, dict(disable=True)):
        check_training(build(tmp_path, compile=value))
    for value in (True, {}, dict(backend='eager')):
        runner = build(tmp_path, compile=value)
        with pytest.raises(ValueError, match='^compile=.* the shapes of each'):
            check_training(runner)


@METRICS.register_module()
class WholeMetric(BaseMetric):
    """Cannot be told from a part of the data."""

    def process(self, data_batch: Any, data_samples: Any) -> None:
        self.results += data_samples

    def compute_metrics(self, results: list[Any]) -> dict[str, Any]:
        if len(results) < 20:
            raise RuntimeError
        return {TOP1: 1.0}


def watching(kind: str, metric: str, evaluator: str) -> dict[str, Any]:
    """A run of one epoch in which something watches a metric."""
    changes = evaluated(subnets=dict(half=0.5), budgets=[0.7])
    changes['val_evaluator'] = dict(type=evaluator)
    if evaluator == 'Accuracy':
        changes['val_evaluator'] = [
            dict(type='Accuracy', topk=(1, 2)),
            dict(type='ConfusionMatrix'),
        ]
    changes['train_cfg'] = dict(by_epoch=True, max_epochs=1, val_interval=1)
    cfg: dict[str, Any] = dict(type=kind, monitor=metric, rule='greater')
    if kind == 'CheckpointHook':
        del cfg['monitor']
        cfg['save_best'] = ['half/' + TOP1, metric]
        changes['default_hooks'] = dict(logger=None, checkpoint=cfg)
    elif kind == 'EarlyStoppingHook':
        changes['custom_hooks'] = [cfg]
    else:
        changes['param_scheduler'] = [cfg]
    return changes


@pytest.mark.parametrize(
    'kind', ['CheckpointHook', 'EarlyStoppingHook', 'ReduceOnPlateauLR']
)
def test_what_is_watched_is_reported(tmp_path, kind):
    for metric in ('half/accuracy/top2', 'auc'):
        assert build(tmp_path, **watching(kind, metric, 'Accuracy')).val_loop
    numbers = [f'{n}/accuracy/top{k}' for n in ('half', '0.7') for k in (1, 2)]
    known = re.escape(str([*numbers, 'auc', 'regret']))
    # The last is no number, and so nothing to compare.
    for metric in (TOP1, 'half/accuracy/top5', 'half/confusion_matrix/result'):
        runner = build(tmp_path, **watching(kind, metric, 'Accuracy'))
        with pytest.raises(
            ValueError, match=f'^{kind}.*={metric!r}: .* {known}; must be'
        ):
            runner.train()
        assert runner.iter == 0
    # Known only now; in one line all the same.
    late = build(tmp_path, **watching(kind, 'half/acc', 'WholeMetric'))
    with pytest.raises(ValueError, match=rf"{kind}.*='half/acc': .*'auc'\]"):
        late.train()
    assert late.iter == 3


def test_of_several_processes_none_waits_for_another(tmp_path, monkeypatch):
    monkeypatch.delattr(Evaluator, 'evaluate')
    changes = watching('EarlyStoppingHook', 'half/top1', 'Accuracy')
    with pytest.raises(ValueError, match=f"'half/top1': .*'half/{TOP1}', "):
        build(tmp_path, **changes).train()


def test_there_is_no_best_without_a_number(tmp_path):
    changes = watching('CheckpointHook', 'auc', 'ConfusionMatrix')
    changes['default_hooks']['checkpoint']['save_best'] = 'auto'
    with pytest.raises(ValueError, match=r"='auto': .* the numbers \[\]; "):
        build(tmp_path, **changes).train()


def test_the_loop_of_mmengine_is_asked_as_well(tmp_path):
    changes = watching('EarlyStoppingHook', TOP1, 'Accuracy')
    changes['val_cfg'] = dict()
    check_training(build(tmp_path, **changes))
    changes['custom_hooks'][0]['monitor'] = 'accuracy/top3'
    with pytest.raises(ValueError, match=r"top3': .*\['accuracy/top1', 'acc"):
        check_training(build(tmp_path, **changes))


def test_the_metric_of_a_plateau_need_not_be_named(tmp_path):
    changes = watching('ReduceOnPlateauLR', 'auc', 'Accuracy')
    del changes['param_scheduler'][0]['monitor']
    with pytest.raises(ValueError, match="^ReduceOnPlateauLR.monitor='loss'"):
        check_training(build(tmp_path, **changes))


@HOOKS.register_module()
class LossWatch(Hook):
    """Watches something else than a validation."""

    def __init__(self) -> None:
        self.monitor, self.save_best = True, 'loss'


def test_other_hooks_may_watch_what_they_like(tmp_path):
    hooks = [dict(type='LossWatch')]
    build(tmp_path, **evaluated(), custom_hooks=hooks).train()


def test_asking_changes_nothing(tmp_path):
    changes = watching('EarlyStoppingHook', 'auc', 'Accuracy')
    kept = tmp_path / 'kept.pkl'
    kept.write_text('of an earlier run')
    dump = dict(type='DumpResults', out_file_path=str(kept))
    changes['val_evaluator'].append(dump)
    changes['val_cfg'] = dict()
    changes['custom_hooks'][0]['monitor'] = TOP1
    check_training(build(tmp_path, **changes))
    assert kept.read_text() == 'of an earlier run'
    changes = watching('EarlyStoppingHook', 'auc', 'Accuracy')
    runner = build(tmp_path, **changes)
    randomise(runner.model)
    before, state = snapshot(runner.model), torch.get_rng_state()
    loop = runner.val_loop
    assert not any(metric.results for metric in loop.evaluator.metrics)
    assert torch.equal(torch.get_rng_state(), state)
    for name, value in snapshot(runner.model).items():
        assert torch.equal(value, before[name])


def test_a_work_directory_is_taken_from_no_other(tmp_path, call, monkeypatch):
    path, work = tmp_path / 'toy.py', tmp_path / 'work'
    cfg = config(work, custom_hooks=[])
    cfg.dump(path)
    call('train.py', path)
    lock = work / '.last_checkpoint.lock'

    def content() -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in work.glob('*.p*')}

    before = content()

    def refused(words: str) -> None:
        with pytest.raises(SystemExit, match=f'^error: {work}{words}'):
            call('train.py', path, '--cfg-options', 'randomness.seed=9')
        assert content() == before

    refused(': a training has ended there, with epoch_3.pth; to keep it, giv')
    call('train.py', path, '--resume')
    before = content()
    cfg.update(launcher='pytorch', train_cfg=dict(max_epochs=4))
    with pytest.raises(ValueError, match='has ended there'):
        check_work_dir(cfg)  # a longer one would take its place as well
    state = torch.load(work / 'epoch_3.pth')
    state['message_hub']['runtime_info']['max_iters'] += 1
    torch.save(state, work / 'epoch_3.pth')
    before = content()
    check_work_dir(cfg)  # was not at its end
    with lock.open('w') as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        lock.write_text('process 7 of elsewhere')
        refused('/last_checkpoint: process 7 of elsewhere is writing there; w')
        monkeypatch.setenv('RANK', '1')
        check_work_dir(cfg)  # rank 0 says it


@pytest.mark.parametrize(
    ('option', 'words'),
    [
        (
            dict(env_cfg=dict(float32_matmul_precision='hgh')),
            "config: env_cfg.float32_matmul_precision='hgh'; must be",
        ),
        (dict(randomness=3), 'config: TypeError: '),
    ],
)
def test_options_of_the_machine(option, words, tmp_path, capsys):
    with pytest.raises(SystemExit, match=f'^error: {words}'):
        run_tool(
            lambda: build_runner(config(tmp_path, launcher='none', **option))
        )
    assert not capsys.readouterr().err  # no traceback
