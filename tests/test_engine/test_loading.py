"""Nothing trains from scratch by mistake; stock and elastic are one."""

from pathlib import Path

import pytest
import torch

from .toys import (
    build,
    evaluated,
    logits,
    model_cfg,
    randomise,
    stock_cfg,
)


@pytest.fixture(scope='module')
def stock(tmp_path_factory):
    """A run of mmpretrain's own network."""
    runner = build(tmp_path_factory.mktemp('stock'), model=stock_cfg())
    runner.train()
    return runner


def test_a_stock_checkpoint_continues_as_a_supernet(tmp_path, stock):
    path = str(Path(stock.work_dir, 'epoch_3.pth'))
    elastic = build(tmp_path / 'elastic', load_from=path)
    elastic.load_or_resume()
    torch.testing.assert_close(logits(elastic.model), logits(stock.model))
    resumed = build(tmp_path / 'resumed', load_from=path, resume=True)
    resumed.load_or_resume()
    torch.testing.assert_close(logits(resumed.model), logits(stock.model))


def test_a_supernet_loads_strictly_into_the_stock_network(tmp_path, toy_run):
    path = toy_run / 'epoch_3.pth'
    elastic = build(tmp_path / 'elastic', load_from=str(path))
    elastic.load_or_resume()
    stock = build(tmp_path / 'stock', model=stock_cfg())
    stock.load_checkpoint(str(path), strict=True)
    torch.testing.assert_close(logits(stock.model), logits(elastic.model))
    state = torch.load(path)['state_dict']
    assert list(state) == list(stock.model.state_dict())


def test_the_same_evaluation_by_a_stock_run(tmp_path):
    elastic = build(
        tmp_path / 'elastic', **evaluated(subnets=dict(largest=1.0))
    )
    randomise(elastic.model)
    path = tmp_path / 'random.pth'
    torch.save(dict(state_dict=elastic.model.state_dict()), path)
    changes = {**evaluated(), 'val_cfg': dict(), 'test_cfg': dict()}
    stock = build(
        tmp_path / 'stock',
        model=stock_cfg(),
        load_from=str(path),
        **changes,
    )
    name = 'accuracy/top1'
    assert stock.test()[name] == elastic.test()[f'largest/{name}']


def test_init_cfg_loads_the_backbone(tmp_path, stock):
    model = model_cfg()
    model['backbone']['init_cfg'] = dict(
        type='Pretrained',
        checkpoint=str(Path(stock.work_dir, 'epoch_3.pth')),
        prefix='backbone.',
    )
    runner = build(tmp_path / 'run', model=model)
    runner._init_model_weights()
    state = stock.model.backbone.state_dict()
    for name, value in runner.model.backbone.state_dict().items():
        assert torch.equal(value, state[name]), name
    assert not runner.model.head_was_loaded
