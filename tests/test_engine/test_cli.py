"""The border: errors become one line, checkpoints are read once."""

import argparse
import os
import re
import signal
import sys
import time
import warnings
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine.registry import DefaultScope
from test_bad_input.checkpoints import CODE, GONE, TRACE, edit, entry
from test_bad_input.mutation import Spoil

from eavit_mm.engine import cli
from eavit_mm.engine.cli import build_runner, run_tool

from .toys import build, config, evaluated, loader, model_cfg

META = dict(supernet_meta=dict(type='eavit_mm.SupernetMetaHook'))


@pytest.mark.parametrize('kind', [ValueError, OSError, FloatingPointError])
def test_a_users_error_is_one_line(kind: type[Exception]) -> None:
    def main() -> None:
        raise kind('x=1; must be 2')

    with pytest.raises(SystemExit, match='^error: x=1; must be 2$'):
        run_tool(main)


def test_a_defect_keeps_its_traceback() -> None:
    def main(number: int) -> None:
        raise KeyError(number)

    with pytest.raises(KeyError):
        run_tool(main, 1)


@pytest.mark.parametrize('name', ['SIGINT', 'SIGTERM', 'SIGHUP'])
@pytest.mark.parametrize(
    ('options', 'words'),
    [
        (dict(resume=None), 'to go on: python t.py {0} --resume'),
        (dict(resume='auto', launcher='none'), 'to go on: python t.py {0}'),
        (
            dict(resume=False, launcher='pytorch'),
            'to go on: the same command, with --resume',
        ),
        (dict(), 'to begin anew: python t.py {0}'),
    ],
)
def test_a_signal_is_one_line_that_says_how_to_go_on(
    name: str,
    options: dict[str, Any],
    words: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    number = signal.Signals[name]
    monkeypatch.setattr(sys, 'argv', ['t.py', 'a b'])
    before, closed = signal.getsignal(number), []
    of_ctrl_c = signal.getsignal(signal.SIGINT)

    def main(args: Any) -> None:
        try:
            os.kill(os.getpid(), number)
            time.sleep(5)
        except BaseException:
            closed.append(args)
            # As mmengine says of a config in whose layout it comes.
            raise SyntaxError('cannot be formatted') from None

    try:
        with pytest.raises(SystemExit) as end:
            run_tool(main, argparse.Namespace(**options))
        # While it ends, a second one is no traceback.
        assert signal.getsignal(signal.SIGINT) is signal.SIG_DFL
    finally:
        signal.signal(signal.SIGINT, of_ctrl_c)
    assert end.value.code == 128 + number
    assert closed
    words = words.format("'a b'")
    assert capsys.readouterr().err == f'\nstopped by {name}; {words}\n'
    assert signal.getsignal(number) == before


HOOK = dict(type='LoggerHook', batches=3)
ACCURACY = dict(type='Acuracy')
LARGEST = model_cfg(sampler=dict(type='eavit_mm.LargestSampler'))


@pytest.mark.parametrize(
    ('changes', 'part', 'words'),
    [
        (dict(custom_hooks=[HOOK]), 'custom_hooks', "argument 'batches'"),
        (
            dict(train_cfg=dict(type='Loop', max_epochs=1)),
            'train_cfg',
            'Loop is not in',
        ),
        (
            dict(train_dataloader=loader(dataset=dict(type='Images'))),
            'train_dataloader',
            'Images is not in',
        ),
        (
            dict(optim_wrapper=dict(optimizer=dict(type='SGD', rate=1))),
            'optim_wrapper',
            "argument 'rate'",
        ),
        (
            {**evaluated(), 'val_evaluator': ACCURACY},
            'val_evaluator',
            'Acuracy is not in',
        ),
        (dict(auto_scale_lr=3), 'scale_lr', "'int' object has no"),
        (dict(runner_type=3), 'runner_type', 'type must be a str'),
        (
            dict(model=LARGEST, compile='yes'),
            'compile',
            'should be a dict or bool',
        ),
        (
            dict(activation_checkpointing=3),
            'activation_checkpointing',
            "'int' object is not iterable",
        ),
        (
            dict(randomness=dict(sed=1)),
            'config',
            "TypeError: .* argument 'sed'",
        ),
    ],
    ids=str,
)
def test_a_part_that_cannot_be_built_is_named(
    tmp_path: Path, changes: dict[str, Any], part: str, words: str
) -> None:
    def main() -> None:
        build_runner(config(tmp_path, launcher='none', **changes)).train()

    with pytest.raises(SystemExit) as error:
        run_tool(main)
    assert re.match(f'error: {part}: .*{words}', str(error.value))
    assert '\n' not in str(error.value)


HOOKS = dict(meta=dict(type='eavit_mm.SupernetMetaHok'))
VIT = 'eavit_mm.ElasticVisionTransformer'
CLOSE = "is not known; valid are .'eavit_mm.Supernet"
SPLIT = dict(type='eavit_mm.Split', dataset={}, sed=1)
NSGA2 = dict(type='eavit_mm.NSGA2', survival=dict(type='eavit_mm.Partition'))


@pytest.mark.parametrize(
    ('changes', 'words'),
    [
        (
            dict(model=model_cfg(samplr=1)),
            'model.samplr=1 is no option of ElasticImageClassifier; valid are '
            ".*'sampler', .*'new_head', .*'backbone', .*'init_cfg'",
        ),
        (
            dict(model=model_cfg(backbone=dict(type=VIT, spce=1))),
            'model.backbone.spce=1 is no option of ElasticVisionTransformer; '
            "valid are .'space', 'num_register_tokens', 'arch', ",
        ),
        (dict(default_hooks=HOOKS), f'default_hooks.meta.type=.* {CLOSE}'),
        (
            dict(model=model_cfg(sampler=dict(type='eavit_mm.UniformSamplr'))),
            "model.sampler.type=.*; valid are .'eavit_mm.UniformSampler'",
        ),
        (
            dict(custom_hooks=[dict(type='eavit_mm.CurriculumHook', level=1)]),
            "custom_hooks.0.level=1 .* valid are .'levels', 'by_epoch'",
        ),
        (
            dict(train_dataloader=loader(dataset=SPLIT)),
            'train_dataloader.dataset.sed=1 is no option of split_dataset; '
            "valid are .*'seed'",
        ),
        (
            dict(val_cfg=dict(type='eavit_mm.SubnetValLoop', subnts=1)),
            "val_cfg.subnts=1 .* valid are .'subnets', .*'runner', ",
        ),
        (
            dict(search_cfg=dict(algorithm=NSGA2)),
            "search_cfg.algorithm.survival.type='eavit_mm.Partition' is not "
            "known; valid are .*'eavit_mm.PartitionSurvival'",
        ),
    ],
    ids=str,
)
def test_a_class_and_an_option_of_ours_are_named_by_their_place(
    tmp_path: Path, changes: dict[str, Any], words: str
) -> None:
    """Before anything is built; what mmengine itself takes is let through."""
    hook = dict(type='eavit_mm.ReproducibleHook', priority='LOW')
    changes = dict(dict(custom_hooks=[hook]), **changes)
    with pytest.raises(ValueError, match=f'^{words}'):
        build_runner(config(tmp_path, launcher='none', **changes))
    assert not list(tmp_path.iterdir())


def test_the_log_file_has_the_traceback(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def main() -> None:
        cfg = config(
            tmp_path, launcher='none', param_scheduler=[dict(type='Cosine')]
        )
        build_runner(cfg).train()

    with pytest.raises(SystemExit):
        run_tool(main)
    (log,) = tmp_path.glob('*/*.log')
    assert 'Traceback (most recent call last)' in log.read_text()
    shown = capsys.readouterr()
    assert 'Traceback' not in shown.out + shown.err


@pytest.mark.parametrize('seed', [None, 5])
def test_a_resume_reads_one_file_once_and_keeps_its_seed(
    tmp_path: Path,
    toy_run: Path,
    monkeypatch: pytest.MonkeyPatch,
    seed: int | None,
) -> None:
    read: list[str] = []
    load = torch.load

    def counted(path: Any, *args: Any, **kwargs: Any) -> Any:
        read.append(str(path))
        return load(path, *args, **kwargs)

    monkeypatch.setattr(torch, 'load', counted)
    cfg = config(
        toy_run,
        launcher='none',
        resume=True,
        randomness=dict(seed=seed, deterministic=True),
    )
    monkeypatch.delenv('CUBLAS_WORKSPACE_CONFIG', raising=False)
    runner = build_runner(cfg)
    assert os.environ['CUBLAS_WORKSPACE_CONFIG'] == ':4096:8'
    runner.train()
    # Where the run was made is not where it is.
    last = toy_run / 'epoch_3.pth'
    assert read == [str(last)]
    assert cfg.load_from == str(last)
    assert cfg.randomness == dict(seed=3, deterministic=True)
    assert runner.seed == 3


def pop_parameter(checkpoint: Any) -> None:
    checkpoint['optimizer']['param_groups'][0]['params'].pop()


@pytest.mark.parametrize(
    ('spoil', 'words'),
    [
        (
            entry('meta', value=None),
            "not of a training run, .'epoch', 'iter'. missing; .*load_from",
        ),
        (
            entry('message_hub', value=GONE),
            "not of a training run, .'message_hub'. missing",
        ),
        (
            entry('meta', 'config', value=CODE),
            r"meta\['config'\] is refused: mmengine runs it as code",
        ),
        (entry('state_dict', value=GONE), 'does not fit ElasticImageClass'),
        (entry('meta', 'iter', value=-5), r"'iter'\]=-5; must be an integer"),
        (entry('meta', 'epoch', value='x'), r"\['epoch'\]='x'; must be an"),
        (
            entry('param_schedulers', value=[]),
            'the state of 0 schedules; the config.* has 1',
        ),
        (
            entry('optimizer', 'state', value={}),
            r"optimizer\['state'\] is empty after . iterations",
        ),
        # torch's own words.
        (partial(edit, pop_parameter), "that doesn't match the size"),
    ],
)
def test_what_cannot_be_resumed_is_named_by_its_file(
    tmp_path: Path,
    toy_run: Path,
    spoil: Spoil,
    words: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)  # where code would leave its trace
    path = toy_run / 'epoch_2.pth'
    spoil(path)

    def main() -> None:
        cfg = config(
            tmp_path, launcher='none', load_from=str(path), resume=True
        )
        if 'schedules' in words:
            cfg.param_scheduler = [dict(type='ConstantLR')]
        build_runner(cfg).train()

    with pytest.raises(SystemExit, match=f'error: .*epoch_2.pth: .*{words}'):
        run_tool(main)
    assert not Path(TRACE).exists()


def test_code_is_not_run_by_a_stock_tool(
    toy_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(toy_run)
    entry('meta', 'config', value=CODE)(toy_run / 'epoch_2.pth')
    options = dict(load_from='epoch_2.pth', resume=True)

    def resume(**hooks: Any) -> None:
        hooks = dict(logger=None, **hooks)
        build(toy_run, default_hooks=hooks, **options).train()

    with pytest.raises(ValueError, match='as code'):
        resume(**META)
    assert not Path(TRACE).exists()
    # Without our hook it is run: the attack is real.
    resume()
    assert Path(TRACE).exists()


def test_a_launcher_that_did_not_start_it_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ('RANK', 'WORLD_SIZE', 'MASTER_ADDR', 'MASTER_PORT'):
        monkeypatch.delenv(name, raising=False)
    cfg = config(tmp_path, launcher='pytorch')
    with pytest.raises(ValueError, match='--launcher pytorch: .*RANK expec'):
        build_runner(cfg)


def merged(*options: str) -> Any:
    cfg = config(Path(os.devnull))
    cli.merge_options(cfg, argparse.Namespace(cfg_options=list(options)))
    return cfg


@pytest.mark.parametrize(
    ('text', 'value'),
    [
        ('7', 7),
        ('1e-2', 0.01),
        ('1,2,b', [1, 2, 'b']),
        ('[ 1 , (2, b) ]', [1, (2, 'b')]),
        ('"[1, 2]"', [1, 2]),
        ('[\'a\',"b"]', ['a', 'b']),
        ('(1)', (1,)),
        ('[]', []),
        ('', ''),
        ('None', None),
        # mmengine recurses without end.
        ('[],[1]', [[], [1]]),
        ('(1,2),(3,4)', [(1, 2), (3, 4)]),
        # mmengine drops the spaces, or the quote.
        ('/my data/a(1)b.pth', '/my data/a(1)b.pth'),
        ('"a', '"a'),
    ],
)
def test_a_value_is_read_as_it_is_written(text: str, value: Any) -> None:
    assert merged(f'model.x={text}').model.x == value


@pytest.mark.parametrize(
    ('option', 'words'),
    [
        *[
            (f'model.x={text}', 'brackets and commas must form a list')
            for text in ('[1,2', '1,2]', '[(1,2])', '[1)', '[1][2]', '1,,2')
        ],
        ('model.x=' + 300 * '[' + 300 * ']', 'brackets and commas must'),
        ('model.x={"a":1}', 'a list holds no dicts, nor words with spaces'),
        ('model.x=[a b,1]', 'a list holds no dicts, nor words with spaces'),
        *[
            (option, 'must be KEY=VALUE, such as')
            for option in ('model', '=1', 'model.=1', '.model=1', 'a..b=1')
        ],
        ('custom_hooks.1.x=1', 'Index 1 exceeds the length of list'),
        ('custom_hooks.-1.x=1', 'list indices must be integers'),
        ('custom_hooks.0=3', "'int' object has no attribute"),
        ('work_dir.x=1', 'work_dir=.* is a dict in the child config'),
    ],
)
def test_an_option_that_cannot_be_merged_is_named(
    option: str, words: str
) -> None:
    name = re.escape(option[:80])
    with pytest.raises(ValueError, match=f'^--cfg-options {name}: .*{words}'):
        merged('seed=1', option)
    for data in ('train_dataloader=3', 'val_dataloader=[1]'):
        with pytest.raises(ValueError, match='; must be a dict of options'):
            merged(data)


def test_a_terminal_shows_what_happens(
    tmp_path: Path, call: Any, capsys: Any
) -> None:
    """Not what the run is made of, nor what warns on every run."""
    path = tmp_path / 'stock.py'
    cfg = config(tmp_path / 'run', log_level='INFO')
    cfg.custom_hooks, cfg.default_hooks = [], {}
    cfg.train_dataloader.pin_memory = True
    cfg.dump(path)
    text = path.read_text()
    path.write_text(
        f"_base_ = ['mmpretrain::_base_/default_runtime.py']\n{text}"
    )
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter('always')
        call('train.py', path)
        warnings.warn('a warning of ours', stacklevel=1)
    words = ' '.join(str(warning.message) for warning in seen)
    assert 'a warning of ours' in words
    assert 'pkg_resources' not in words
    assert 'pin_memory' not in words
    shown = capsys.readouterr().out
    (log,) = (tmp_path / 'run').glob('*/*.log')
    assert f'All that this run is made of: {log}' in shown
    assert 'Saving checkpoint at 3 epochs' in shown
    assert len(shown.splitlines()) < 20
    written = log.read_text()
    for part in ('System environment', 'Config:\n', 'Hooks will be', 'File'):
        assert part in written
        assert part not in shown


def test_a_supernet_of_a_wrong_config_is_named(tmp_path: Path) -> None:
    cfg = config(tmp_path, model=model_cfg(samplr=1))
    with (
        DefaultScope.overwrite_default_scope('mmpretrain'),
        pytest.raises(ValueError, match='^model.samplr=1 is no option of El'),
    ):
        cli.build_supernet(cfg, 'a test')
