"""tools/search.py: the data it takes, its files, and how it fails."""

import json

import pytest
from mmengine.config import Config

from .forked_tools import run
from .searches import DIGITS


@pytest.mark.parametrize(
    ('dataset', 'message'),
    [
        (
            "type='eavit_mm.Digits', split='test'",
            'the search data and the test data share 450 samples',
        ),
        (
            "type='eavit_mm.Digits', split='train'",
            'the search data and the train data share 1197 samples',
        ),
    ],
)
def test_data_of_two_purposes_are_refused(trained, tmp_path, dataset, message):
    config = tmp_path / 'shared.py'
    config.write_text(
        f"_base_ = ['{DIGITS}']\n"
        'val_dataloader = dict(dataset=dict(_delete_=True, pipeline=['
        "dict(type='Resize', scale=28), dict(type='PackInputs')], "
        f'{dataset}))\n'
        'search_cfg = dict(max_evaluations=4)\n'
    )
    work = tmp_path / 'work'
    done = run('search.py', config, trained, '--work-dir', work)
    assert done.status == 1
    assert done.last.startswith(f'error: {message}, such as ')
    assert not work.exists()


@pytest.mark.parametrize(
    ('search_cfg', 'words'),
    [
        (
            'None',
            r'.*none\.py: search_cfg=None; must be a dict such as dict\(',
        ),
        (
            "dict(_delete_=True, type='eavit_mm.SubnetTestLoop')",
            ".*search_cfg.type='eavit_mm.SubnetTestLoop' is no search",
        ),
    ],
)
def test_a_config_without_a_search_is_said(
    trained, tmp_path, call, search_cfg, words
):
    config = tmp_path / 'none.py'
    config.write_text(f"_base_ = ['{DIGITS}']\nsearch_cfg = {search_cfg}\n")
    with pytest.raises(SystemExit, match=f'^error: {words}'):
        call('search.py', config, trained, '--work-dir', 'work')


def test_a_config_in_the_work_directory_stays(trained, tmp_path):
    """A training has left its config there; search and test read it."""
    config = tmp_path / 'own.py'
    config.write_text(Config.fromfile(DIGITS).pretty_text)
    before = config.read_bytes()
    options = ('--cfg-options', 'search_cfg.max_evaluations=4')
    shared = (config, trained, '--work-dir', tmp_path)
    done = run('search.py', *shared, *options)
    assert done.status == 0, done.text
    done = run('test.py', *shared, '--budgets', '0.5')
    assert done.status == 0, done.text
    assert config.read_bytes() == before
    assert (tmp_path / 'own_search.py').exists()
    # A second search, and one that lost its evaluations.
    front = (tmp_path / 'pareto.json').read_bytes()
    done = run('search.py', *shared, '--resume', *options)
    assert done.status == 0, done.text
    fewer = ('--cfg-options', 'search_cfg.max_evaluations=3')
    done = run('search.py', *shared, '--resume', *fewer)
    assert done.last.startswith('error: max_evaluations=3; '), done.text
    assert 'has 4 already, must be at least as many' in done.last
    (tmp_path / 'evaluations.jsonl').unlink()
    for args in ([], ['--resume']):
        done = run('search.py', *shared, *args, *options)
        assert done.status == 1
        assert 'is there, but not the evaluations.jsonl' in done.last
    assert (tmp_path / 'pareto.json').read_bytes() == front


def test_data_and_objectives_of_its_own(trained, tmp_path):
    """search_dataloader needs no more than the others; --objectives."""
    config = tmp_path / 'own.py'
    config.write_text(
        f"_base_ = ['{DIGITS}']\n"
        'search_dataloader = dict(batch_size=16, persistent_workers=True, '
        "sampler=dict(type='DefaultSampler', shuffle=False), dataset=dict("
        "type='eavit_mm.Split', part='other', parts=dict(search=150, "
        "other=40, train=None), dataset=dict(type='eavit_mm.Digits', "
        "pipeline=[dict(type='Resize', scale=28), dict(type='PackInputs')]"
        ')))\n'
        "search_evaluator = dict(type='Accuracy', topk=(1, 5))\n"
        'parts = dict(_delete_=True, search=150, other=40, train=None)\n'
        'train_dataloader = dict(dataset=dict(parts=parts))\n'
        "search_cfg = dict(metric='accuracy/top5', max_evaluations=8)\n"
    )
    done = run(
        'search.py',
        config,
        trained,
        '--objectives',
        'metric',
        'params',
        '--work-dir',
        tmp_path,
    )
    assert done.status == 0, done.text
    values = json.loads((tmp_path / 'pareto.json').read_text())
    assert values['objectives'] == ['metric', 'params']
    assert values['metric'] == 'accuracy/top5'
    first = (tmp_path / 'evaluations.jsonl').read_text().splitlines()[0]
    assert json.loads(first)['images'] == 40


def test_a_failing_evaluation_ends_every_process(find, tmp_path):
    # Ten classes have no eleven best.
    options = ('val_evaluator.topk=11',)
    done = find(tmp_path, options=options, processes=2)
    assert done.status == 1
    assert 'Top-11 accuracy is unavailable' in done.text
    assert not (tmp_path / 'pareto.json').exists()
