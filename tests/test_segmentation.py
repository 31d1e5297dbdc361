"""The demo of segmentation, cut to seconds: all stages, and their numbers."""

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from runpy import run_path
from shutil import copy
from typing import Any

import numpy as np
import pytest
import torch
from mmengine.config import Config, config
from mmengine.dataset import pseudo_collate
from mmengine.evaluator import Evaluator
from mmengine.logging import MMLogger
from mmengine.registry import DATASETS, METRICS, MODELS, DefaultScope
from tool_runs import ROOT
from torch.utils.data import DataLoader

import eavit_mm  # noqa: F401
from eavit_mm.engine.checkpoint import load_supernet
from eavit_mm.engine.cli import build_supernet
from eavit_mm.engine.fitness import Fitness

DEMO = ROOT / 'configs' / 'eavit_seg' / 'vitmini_digits_seg.py'
# Six iterations with three levels of the curriculum.
SHORT = """
_base_ = [{base!r}]
train_dataloader = dict(batch_size=4, dataset=dict(number=8))
val_dataloader = dict(batch_size=3, dataset=dict(number=6))
test_dataloader = dict(batch_size=5, dataset=dict(number=6))
# So little that predictions still differ, from one subnet to the next.
optim_wrapper = dict(optimizer=dict(lr=1e-5))
param_scheduler = []
train_cfg = dict(max_epochs=3, val_interval=3)
default_hooks = dict(checkpoint=dict(interval=1))
search_cfg = dict(
    max_evaluations=8, algorithm=dict(type='eavit_mm.NSGA2', pop_size=4)
)
"""
# The test images are those of the search.
SEARCHED = """
test_dataloader = dict(
    batch_size=5,
    dataset=dict(
        number=6,
        seed=1,
        source=dict(
            _delete_=True,
            type='eavit_mm.Split',
            part='search',
            parts={{_base_.parts}},
            dataset=dict(type='eavit_mm.Digits'),
        ),
    ),
)
"""


@pytest.fixture(autouse=True)
def of_mmseg(monkeypatch) -> Iterator[None]:
    # Half of the time of such runs is how their configs are laid out.
    monkeypatch.setattr(
        config, 'FormatCode', lambda text, **_: (text, True), raising=False
    )
    with DefaultScope.overwrite_default_scope('mmseg'):
        yield


def short(folder: Path, base: Path, more: str = '') -> Path:
    """A config of the demo for a few iterations."""
    path = folder / base.name
    path.write_text(SHORT.format(base=str(base)) + more)
    return path


def test_all_stages_of_the_demo(call, tmp_path, monkeypatch):
    """Trained, searched, trained with a router, asked for networks."""
    monkeypatch.chdir(tmp_path)
    stage1 = short(tmp_path, DEMO)
    levels = [f'custom_hooks.1.levels.{i}.begin={i}' for i in (1, 2)]
    to_1 = ('--work-dir', '1', '--no-validate')
    call('train.py', stage1, *to_1, '--cfg-options', *levels)
    first = tmp_path / '1' / 'epoch_3.pth'
    call('search.py', stage1, first, '--work-dir', 'search')
    front = json.loads((tmp_path / 'search' / 'pareto.json').read_text())
    assert front['metric'] == 'mIoU'
    members = [*front['members'], *front['references']]
    assert len({m['metrics']['mIoU'] for m in members}) > 1

    stage2 = short(
        tmp_path,
        DEMO.with_name('vitmini_digits_seg_stage2.py'),
        'load_from = "1/epoch_3.pth"\n'
        'model = dict(router=dict(front="search/pareto.json"))\n'
        'hook = dict(type="eavit_mm.RouterHook", warmup=1, num_budgets=4)\n'
        'custom_hooks = [hook]\n',
    )
    call('train.py', stage2, '--work-dir', 'adapt/stage2')
    second = tmp_path / 'adapt' / 'stage2' / 'epoch_3.pth'
    check_picture(stage2, second, monkeypatch)
    asked = ('--budgets', '0.5', '0.3')
    to_2 = ('--out', 'by_router.json', '--work-dir', 'by_router')
    call('test.py', stage2, second, *asked, *to_2)
    rows = json.loads((tmp_path / 'by_router.json').read_text())['subnets']
    assert [row['by'] for row in rows] == ['router', 'router']
    assert all(row['macs'] <= row['limit'] for row in rows)

    # The numbers of the search are those of the test of the same images.
    stage1 = short(tmp_path, DEMO, SEARCHED)
    by = ('--by', 'front', '--front', 'search/pareto.json')
    to_3 = ('--out', 'by_front.json', '--work-dir', 'by_front')
    call('test.py', stage1, first, *asked, *by, *to_3)
    result = json.loads((tmp_path / 'by_front.json').read_text())
    assert result['metric'] == 'mIoU'
    known = {json.dumps(m['subnet']): m['metrics'] for m in members}
    for row in result['subnets']:
        assert row['metrics'] == known[json.dumps(row['subnet'])]
    # mmseg's table of classes is logged for one of several subnets. Runs of
    # one work directory that start within a second share a log.
    (log,) = tmp_path.glob('by_front/*/*.log')
    assert log.read_text().count('per class results') == 1
    call('test.py', stage1, first, '--tta', '--out', 'tta.json')
    assert len(json.loads((tmp_path / 'tta.json').read_text())['subnets']) == 3


def check_picture(config: Path, checkpoint: Path, monkeypatch: Any) -> None:
    """The demo draws what a network says that is set to the budget."""
    folder = checkpoint.parents[1]
    copy(config, folder / 'stage2.py')
    draw = run_path(str(ROOT / 'tools' / 'demo.py'))['draw']
    given: list[Any] = []
    monkeypatch.setitem(
        draw.__globals__, 'plot_segmentation', lambda *all: given.extend(all)
    )
    task = draw.__globals__['TASKS']['segmentation']
    draw(task, folder.parent)
    images, masks, classes, *_ = given
    cfg = Config.fromfile(config)
    model: Any = build_supernet(cfg, 'test')
    load_supernet(model, checkpoint)
    data = DATASETS.build(cfg.test_dataloader.dataset)
    assert list(classes) == list(data.metainfo['classes'])
    assert len(images) == 4
    truth, *found = masks.values()
    assert len(found) == len(task.drawn)
    assert not np.array_equal(np.stack(found[0]), np.stack(found[-1]))
    for i, image in enumerate(images):
        sample = data[i]
        assert np.array_equal(image, sample['inputs'][0])
        assert torch.equal(truth[i], sample['data_samples'].gt_sem_seg.data[0])
        for budget, each in zip(task.drawn, found, strict=True):
            model.set_budget(budget)
            (alone,) = model.test_step(pseudo_collate([sample]))
            same = each[i] == alone.pred_sem_seg.data[0].numpy()
            assert same.mean() > 0.99


@pytest.fixture
def demo() -> tuple[Any, DataLoader[Any], Evaluator]:
    """The segmentor, images and metric of the demo."""
    cfg = Config.fromfile(DEMO)
    model = MODELS.build(dict(cfg.model, init_cfg=None)).eval()
    data = DATASETS.build(dict(cfg.val_dataloader.dataset, number=5))
    loader = DataLoader(data, batch_size=2, collate_fn=pseudo_collate)
    evaluator = Evaluator(METRICS.build(dict(cfg.val_evaluator)))
    evaluator.dataset_meta = data.metainfo
    return model, loader, evaluator


def test_a_search_is_not_told_a_table_each_time(demo, caplog):
    logger = MMLogger.get_current_instance()
    logger.addHandler(caplog.handler)
    try:
        with caplog.at_level(logging.INFO):
            model, loader, evaluator = demo
            Fitness(model, loader, evaluator, 'mIoU')(
                model.backbone.space.smallest
            )
            assert 'per class' not in caplog.text
            evaluator.process(model.test_step(next(iter(loader))))
            evaluator.evaluate(2)
            assert 'per class' in caplog.text
    finally:
        logger.removeHandler(caplog.handler)


def test_a_segmentor_that_does_not_compute_has_no_miou(demo):
    model, loader, evaluator = demo
    fitness = Fitness(model, loader, evaluator, 'mIoU')
    torch.nn.init.constant_(model.decode_head.conv_seg.bias, float('nan'))
    with pytest.raises(FloatingPointError, match='scores are not finite'):
        fitness(model.backbone.space.largest)
