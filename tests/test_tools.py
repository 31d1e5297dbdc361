"""The commands of a checkout, run as a user runs them."""

import argparse
import json
import os
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import arguments
import mmpretrain
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmpretrain.registry import MODELS
from test_datasets import flowers

import eavit_mm  # noqa: F401
from eavit_mm.space import Subnet
from eavit_mm.space.budget import PARTS, SOURCES
from eavit_mm.space.cost import COUNTS

torch.set_num_threads(1)

ROOT = Path(__file__).resolve().parents[1]
TOOLS = ROOT / 'tools'
STOCK = Path(mmpretrain.__file__).parent / '.mim' / 'tools'
DIGITS = ROOT / 'configs' / 'eavit' / 'vitmini_digits.py'
FLOWERS = ROOT / 'configs' / 'eavit' / 'vitb_flowers.py'
# 19 steps an epoch; the levels of the curriculum follow sooner.
SHORT = (
    '--cfg-options',
    'train_cfg.max_epochs=2',
    'train_cfg.val_interval=2',
    'default_hooks.checkpoint.interval=1',
    'default_hooks.checkpoint.max_keep_ckpts=3',
    'param_scheduler.0.end=1',
    'param_scheduler.1.begin=1',
    'custom_hooks.0.num_batches=2',
    'custom_hooks.1.by_epoch=False',
    'custom_hooks.1.levels.1.begin=4',
    'custom_hooks.1.levels.2.begin=8',
)


def run(*args: Any, cwd: Path, fails: bool = False) -> str:
    """Runs a command in a new process; its whole output."""
    threads = dict(OMP_NUM_THREADS='1', MKL_NUM_THREADS='1')
    done = subprocess.run(
        [sys.executable, '-W', 'ignore', *map(str, args)],
        cwd=cwd,
        env={**os.environ, **threads},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
        check=False,
    )
    assert (done.returncode != 0) == fails, done.stdout[-3000:]
    return done.stdout


@pytest.fixture
def call(monkeypatch, tmp_path):
    """Runs a tool within this process: much faster, for what is checked."""

    def called(tool: str, *args: Any) -> None:
        argv = [str(TOOLS / tool), *map(str, args)]
        monkeypatch.setattr(sys, 'argv', argv)
        monkeypatch.chdir(tmp_path)
        runpy.run_path(argv[0], run_name='__main__')

    return called


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
    """The folder of a short training by our tool, and its output."""
    folder = tmp_path_factory.mktemp('trained')
    text = run(
        TOOLS / 'train.py', DIGITS, '--work-dir', folder, *SHORT, cwd=folder
    )
    return folder, text


def model_of(config: Path, checkpoint: Path | None = None) -> Any:
    cfg = Config.fromfile(config)
    init_default_scope(cfg.default_scope)
    model = MODELS.build(cfg.model)
    if checkpoint is not None:
        state = torch.load(checkpoint, map_location='cpu')['state_dict']
        model.load_state_dict(state)
    model.eval()
    return model.double()


def test_training_writes_checkpoints_and_metrics(trained):
    folder, text = trained
    assert {p.name for p in folder.glob('*.pth')} == {
        'epoch_1.pth',
        'epoch_2.pth',
    }
    assert 'Rearranged by ActivationCriterion; the head is new' in text
    for level in range(3):
        assert f'Curriculum level {level}: ' in text
    (line,) = (k for k in text.splitlines() if 'Epoch(val) [2]' in k)
    for name in ('largest', 'half', 'smallest'):
        assert f'{name}/accuracy/top1: ' in line
    assert 'auc: ' in line
    accuracy = float(line.split('largest/accuracy/top1: ')[1].split()[0])
    assert accuracy > 15  # chance is 10
    checkpoint = torch.load(folder / 'epoch_2.pth', weights_only=True)
    meta = checkpoint['meta']['eavit_mm']
    assert meta['rearrangement'] == 'ActivationCriterion'
    assert meta['stage'] == 1


def test_a_training_goes_on_and_ends_the_same(trained, tmp_path):
    folder, _ = trained
    (tmp_path / 'last_checkpoint').write_text(str(folder / 'epoch_1.pth'))
    text = run(
        TOOLS / 'train.py',
        DIGITS,
        '--work-dir',
        tmp_path,
        '--resume',
        *SHORT,
        cwd=tmp_path,
    )
    assert 'resumed epoch: 1, iter: 19' in text
    assert 'Already rearranged by ActivationCriterion' in text
    assert 'Curriculum level 2: ' in text
    assert 'Curriculum level 0: ' not in text
    resumed, whole = (
        torch.load(path / 'epoch_2.pth')['state_dict']
        for path in (tmp_path, folder)
    )
    assert resumed.keys() == whole.keys()
    for name in whole:
        assert resumed[name].isfinite().all()


def test_the_stock_tool_trains_the_same_network(trained, tmp_path):
    folder, _ = trained
    text = run(
        STOCK / 'train.py',
        DIGITS,
        '--work-dir',
        tmp_path,
        *SHORT,
        cwd=tmp_path,
    )
    assert 'Curriculum level 2: ' in text
    stock, ours = (
        torch.load(path / 'epoch_2.pth')['state_dict']
        for path in (tmp_path, folder)
    )
    for name, value in ours.items():
        torch.testing.assert_close(stock[name], value)


def test_budgets_and_a_subnet_are_evaluated(trained, tmp_path):
    folder, _ = trained
    checkpoint = folder / 'epoch_2.pth'
    model = model_of(DIGITS)
    subnet = model.backbone.space.uniform(0.4)
    (tmp_path / 'mine.json').write_text(subnet.to_json())
    out = tmp_path / 'results' / 'found.json'
    text = run(
        TOOLS / 'test.py',
        DIGITS,
        checkpoint,
        '--work-dir',
        tmp_path / 'work',
        '--budgets',
        '1.0',
        '0.3',
        '4MMACs',
        '0.2Mparams',
        '--subnet',
        tmp_path / 'mine.json',
        '--out',
        out,
        cwd=tmp_path,
    )
    result = json.loads(out.read_text())
    assert result['config'] == str(DIGITS)
    assert result['checkpoint'] == str(checkpoint)
    assert result['metric'] == 'accuracy/top1'
    rows = {row['name']: row for row in result['subnets']}
    assert list(rows) == ['mine', '1.0', '0.3', '4MMACs', '0.2Mparams']
    assert Subnet.from_dict(rows['mine']['subnet']) == subnet
    assert rows['mine']['macs'] == model.macs(subnet)['total']
    assert rows['1.0']['macs_ratio'] == 1
    assert rows['0.3']['macs_ratio'] <= 0.3
    assert rows['4MMACs']['macs'] <= 4e6
    assert rows['0.2Mparams']['params'] <= 0.2e6
    points = sorted(
        (row['macs_ratio'], row['metrics']['accuracy/top1'] / 100)
        for row in rows.values()
    )
    area = sum(
        (b[0] - a[0]) * (a[1] + b[1]) / 2
        for a, b in zip(points, points[1:], strict=False)
    )
    assert result['auc'] == pytest.approx(area)
    assert out.with_suffix('.png').stat().st_size > 1000
    assert [p.name for p in sorted(out.parent.iterdir())] == [
        'found.json',
        'found.png',
    ]
    for name in (*rows, str(out), f'AUC {result["auc"]:.4f}'):
        assert name in text


def test_the_config_says_what_is_evaluated_else(trained, tmp_path, call):
    folder, _ = trained
    call('test.py', DIGITS, folder / 'epoch_2.pth', '--work-dir', tmp_path)
    result = json.loads((tmp_path / 'subnets.json').read_text())
    names = [row['name'] for row in result['subnets']]
    assert names == ['largest', 'half', 'smallest']
    assert (tmp_path / 'subnets.png').exists()


def test_the_augmentation_changes_scores_only(trained, tmp_path, call):
    folder, _ = trained
    call(
        'test.py',
        DIGITS,
        folder / 'epoch_2.pth',
        '--tta',
        '--budgets',
        '1.0',
        '0.5',
        '--work-dir',
        tmp_path,
    )
    result = json.loads((tmp_path / 'subnets.json').read_text())
    rows = {row['name']: row for row in result['subnets']}
    assert set(rows) == {'1.0', '0.5'}
    assert rows['1.0']['macs_ratio'] == 1


SPLIT = """
_base_ = ['{digits}']
test_dataloader = dict(dataset=dict(
    _delete_=True, type='eavit_mm.Split', part='a', parts=dict(a=90, b=None),
    dataset={{{{_base_.test_dataloader.dataset}}}}))
"""
JOINED = """
_base_ = ['{digits}']
test_dataloader = dict(dataset=dict(
    _delete_=True, type='ConcatDataset', datasets=[]))
"""


def test_the_augmentation_of_a_part_of_the_data(trained, tmp_path, call):
    folder, _ = trained
    config = tmp_path / 'split.py'
    args = [config, folder / 'epoch_2.pth', '--tta', '--budgets', '1.0']
    config.write_text(SPLIT.format(digits=DIGITS))
    call('test.py', *args, '--work-dir', tmp_path)
    result = json.loads((tmp_path / 'subnets.json').read_text())
    (row,) = result['subnets']
    assert row['metrics']['accuracy/top1'] > 15  # chance is 10
    config.write_text(JOINED.format(digits=DIGITS))
    with pytest.raises(
        SystemExit, match="--tta: .*: 'ConcatDataset' has no pipeline to aug"
    ):
        call('test.py', *args, '--work-dir', tmp_path)


def test_an_error_ends_with_a_code_and_a_message(trained, tmp_path):
    folder, _ = trained
    text = run(
        TOOLS / 'test.py',
        DIGITS,
        folder / 'epoch_2.pth',
        '--budgets',
        '0.0001',
        cwd=tmp_path,
        fails=True,
    )
    last = text.strip().splitlines()[-1]
    assert last.startswith('error: ')
    assert 'budget 0.0001: ' in last
    assert 'this space reaches' in last
    assert 'Traceback' not in text


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (['--budgets', '0.5', 'half'], "budget='half'; must be a share"),
        (['--budgets', '1.5'], "budget='1.5'; must be a share in"),
        (['--budgets', '5ms'], 'limit in ms needs a latency table'),
        (['--budgets', '1MACs'], r'cannot be reached; this space reaches'),
        (['--budgets', '0.5', '--part', 'neck'], "part='neck'; this model"),
        (['--subnet', 'no_such.json'], r'no_such\.json'),
    ],
)
def test_what_cannot_be_evaluated_is_said(
    trained, tmp_path, call, options, message
):
    folder, _ = trained
    with pytest.raises(SystemExit, match=f'error: .*{message}') as error:
        call(
            'test.py',
            DIGITS,
            folder / 'epoch_2.pth',
            '--work-dir',
            tmp_path,
            *options,
        )
    assert error.value.code not in (0, None)


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('', 'not a subnet in JSON'),
        ('[1, 2]', 'a subnet must be a dict'),
        ('{"embed_dims": 32}', r'missing: \['),
        (
            Subnet(96, (13,) * 6, (384,) * 6, 16).to_json(),
            r'num_heads=13 is outside this space \(1, 2, 3, 4, 5, 6\).*'
            'another supernet',
        ),
        (Subnet(96, (6,) * 5, (384,) * 5, 16).to_json(), 'has 5 layers'),
    ],
)
def test_a_wrong_subnet_file_is_said(trained, tmp_path, call, text, message):
    folder, _ = trained
    path = tmp_path / 'wrong.json'
    path.write_text(text)
    with pytest.raises(SystemExit, match=f'error: .*{message}'):
        call('test.py', DIGITS, folder / 'epoch_2.pth', '--subnet', path)


@pytest.mark.parametrize('tool', ['test.py', 'rearrange.py'])
@pytest.mark.parametrize(
    ('content', 'message'),
    [
        (None, r'input\.pth'),
        (b'junk', r'input\.pth is broken or no checkpoint'),
    ],
)
def test_a_broken_checkpoint_is_said(tmp_path, call, tool, content, message):
    path = tmp_path / 'input.pth'
    if content is not None:
        path.write_bytes(content)
    out = [tmp_path / 'out.pth'] if tool == 'rearrange.py' else []
    with pytest.raises(SystemExit, match=f'error: .*{message}'):
        call(tool, DIGITS, path, *out)
    assert not (tmp_path / 'out.pth').exists()


CRITERIA = dict(
    activation='ActivationCriterion',
    taylor='TaylorCriterion',
    magnitude='MagnitudeCriterion',
    random='RandomCriterion',
    none='NoCriterion',
)


@pytest.mark.parametrize('criterion', CRITERIA)
def test_rearranging_keeps_the_logits(trained, tmp_path, call, criterion):
    folder, _ = trained
    source, out = folder / 'epoch_2.pth', tmp_path / 'new' / 'out.pth'
    call(
        'rearrange.py',
        DIGITS,
        source,
        out,
        '--criterion',
        criterion,
        '--num-batches',
        2,
        '--work-dir',
        tmp_path,
    )
    assert [path.name for path in out.parent.iterdir()] == ['out.pth']
    saved = torch.load(out, weights_only=True)
    assert saved['meta']['eavit_mm']['stage'] == 0
    # Stock order is stock order, whatever was asked for.
    if criterion != 'none':
        name = saved['meta']['eavit_mm']['rearrangement']
        assert name == CRITERIA[criterion]
    before, after = model_of(DIGITS, source), model_of(DIGITS, out)
    x = torch.randn(4, 1, 28, 28, dtype=torch.float64)
    with torch.no_grad():
        torch.testing.assert_close(
            after(x, mode='tensor'),
            before(x, mode='tensor'),
            rtol=0,
            atol=1e-9,
        )
    same = torch.equal(before.backbone.pos_embed, after.backbone.pos_embed)
    assert same == (criterion == 'none')


def test_missing_flowers_are_named(tmp_path):
    text = run(
        TOOLS / 'train.py',
        FLOWERS,
        '--work-dir',
        tmp_path,
        cwd=tmp_path,
        fails=True,
    )
    assert 'Flowers-102: missing in' in text
    assert 'jpg, imagelabels.mat, setid.mat' in text
    assert str(tmp_path / 'data' / 'Flowers102') in text
    assert '102flowers.tgz' in text


TINY = """
_base_ = ['{flowers}']
model = dict(
    backbone=dict(
        arch=dict(_delete_=True, embed_dims=24, num_layers=2, num_heads=3,
                  feedforward_channels=32),
        patch_size=56,
        init_cfg=dict(checkpoint='checkpoints/small.pth'),
        space=dict(_delete_=True, embed_dims=[8, 16, 24],
                   num_heads=[1, 2, 3], feedforward_channels=[16, 32],
                   max_off=1)),
    head=dict(in_channels=24))
loader = dict(num_workers=0, persistent_workers=False)
parts = dict(search=6)
train_dataloader = dict(batch_size=2, dataset=dict(parts=parts), **loader)
val_dataloader = dict(dataset=dict(parts=parts), **loader)
test_dataloader = loader
train_cfg = dict(max_epochs=1, val_interval=1)
param_scheduler = []
default_hooks = dict(checkpoint=dict(interval=1))
custom_hooks = [
    dict(type='eavit_mm.RearrangeHook', num_batches=2,
         criterion=dict(type='eavit_mm.TaylorCriterion')),
    dict(type='eavit_mm.CurriculumHook', by_epoch=False, levels=[
        dict(begin=0),
        dict(begin=2, embed_dims=8, num_heads=1, feedforward_channels=16,
             max_off=1, p_off=0.3)]),
]
"""


def test_the_flowers_recipe_runs_on_a_few_flowers(tmp_path):
    flowers.write(tmp_path / 'data' / 'Flowers102')
    config = tmp_path / 'tiny_flowers.py'
    config.write_text(TINY.format(flowers=FLOWERS))
    # As published: a class token, and the final norm before the pool.
    init_default_scope('mmpretrain')
    vit = MODELS.build(
        dict(
            type='VisionTransformer',
            arch=dict(
                embed_dims=24,
                num_layers=2,
                num_heads=3,
                feedforward_channels=32,
            ),
            img_size=224,
            patch_size=56,
        )
    )
    (tmp_path / 'checkpoints').mkdir()
    state = {f'backbone.{k}': v for k, v in vit.state_dict().items()}
    torch.save(dict(state_dict=state), tmp_path / 'checkpoints' / 'small.pth')
    text = run(TOOLS / 'train.py', config, '--work-dir', 'work', cwd=tmp_path)
    assert 'cls_token: dropped' in text
    assert 'Rearranged by TaylorCriterion; the head is new' in text
    assert 'Curriculum level 1: ' in text
    (best,) = (tmp_path / 'work').glob('best_auc_epoch_1.pth')
    text = run(
        TOOLS / 'test.py',
        config,
        best,
        '--budgets',
        '1.0',
        '0.5',
        '--work-dir',
        'work',
        cwd=tmp_path,
    )
    result = json.loads((tmp_path / 'work' / 'subnets.json').read_text())
    assert [row['name'] for row in result['subnets']] == ['1.0', '0.5']
    assert result['subnets'][1]['macs_ratio'] <= 0.5


HELP = """
import runpy, sys

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split('.')[0] in (
            'torch', 'mmengine', 'mmcv', 'mmpretrain', 'numpy', 'eavit_mm'
        ):
            raise ImportError(f'{name} is imported before the help')

sys.meta_path.insert(0, Refuse())
tool = sys.argv[1]
sys.argv = [tool, '--help']
sys.path[0] = tool.rpartition('/')[0]
runpy.run_path(tool, run_name='__main__')
"""


@pytest.mark.parametrize(
    'tool',
    sorted(p.name for p in TOOLS.glob('*.py') if p.name != 'arguments.py'),
)
def test_every_tool_answers_for_help_at_once(tool, tmp_path):
    text = run('-c', HELP, TOOLS / tool, cwd=tmp_path)
    assert text.startswith(f'usage: {tool} ')
    if tool in ('train.py', 'test.py', 'search.py', 'rearrange.py'):
        for option in ('--work-dir', '--cfg-options', '--launcher'):
            assert option in text


def test_choices_of_the_tools_are_those_of_the_package():
    parser = argparse.ArgumentParser()
    arguments.add_budget_arguments(parser)
    choices = {a.dest: a.choices for a in parser._actions if a.choices}
    assert choices == dict(
        by=list(SOURCES), count=list(COUNTS), part=list(PARTS)
    )


@pytest.mark.parametrize(
    'options',
    [
        dict(),
        dict(loss_scale='dynamic'),
        dict(type='AmpOptimWrapper', loss_scale=512.0, dtype='float16'),
        dict(loss_scale=dict(init_scale=8.0), dtype='bfloat16'),
        dict(dtype='bfloat16', use_fsdp=False),
    ],
)
def test_amp_of_a_recipe_for_gpus(options, tmp_path, call, capsys):
    config = tmp_path / 'amp.py'
    config.write_text(
        f"""
_base_ = ['{DIGITS}']
optim_wrapper = dict(**{options!r})
train_dataloader = dict(dataset=dict(parts=dict(train=64)))
train_cfg = dict(max_epochs=1)
param_scheduler = []
custom_hooks = []
default_hooks = dict(checkpoint=dict(interval=1))
"""
    )
    call('train.py', config, '--amp', '--no-validate')
    text = capsys.readouterr().out
    for name, value in options.items():
        left = f'--amp: bfloat16 on the CPU, {name}={value!r} is left out'
        assert (left in text) == (name != 'type')
    assert (tmp_path / 'work_dirs' / 'amp' / 'epoch_1.pth').exists()


def test_resume_without_a_checkpoint_keeps_what_the_config_loads(tmp_path):
    namespace = runpy.run_path(str(TOOLS / 'train.py'))
    cfg = Config(dict(work_dir=str(tmp_path), load_from='weights.pth'))
    namespace['set_resume'](cfg, 'auto')
    assert cfg.load_from == 'weights.pth'
    assert not cfg.resume


@pytest.fixture(scope='module')
def latency_table(tmp_path_factory):
    """A table of a narrowed space, by --cfg-options."""
    folder = tmp_path_factory.mktemp('latency')
    narrow = 'model.backbone.space.embed_dims=[96]'
    out = folder / 'table.json'
    where = ('build', DIGITS, out, '--rounds', '1', '--threads', '1')
    run(TOOLS / 'latency.py', *where, '--cfg-options', narrow, cwd=folder)
    return out, narrow


def test_latency_of_a_space_of_options(latency_table, call):
    out, narrow = latency_table
    values = json.loads(out.read_text())
    assert list(values['stem']) == ['96']
    check = ('validate', DIGITS, out, '--num', '3', '--rounds', '1')
    call('latency.py', *check, '--cfg-options', narrow)
    assert json.loads(out.read_text())['error'] >= 0
    with pytest.raises(SystemExit, match='embed_dims=') as error:
        call('latency.py', *check)
    assert str(error.value).startswith('error: the latency table has no')


@pytest.mark.parametrize(
    ('changes', 'options', 'message'),
    [
        ({}, ['--threads', '-1'], '--threads=-1; must be an integer of at'),
        ({}, ['--threads', '0'], '--threads=0; must be an integer of at'),
        ({}, ['--threads', '2'], 'threads=2; the table is of 1'),
        (dict(device='another'), [], "is of 'another', this device is"),
    ],
)
def test_latency_of_another_device(
    latency_table, call, tmp_path, changes, options, message
):
    out, narrow = latency_table
    table = tmp_path / 'other.json'
    table.write_text(json.dumps({**json.loads(out.read_text()), **changes}))
    before = table.read_text()
    check = ('validate', DIGITS, table, '--num', '3', '--rounds', '1')
    try:
        with pytest.raises(SystemExit, match=message):
            call('latency.py', *check, *options, '--cfg-options', narrow)
    finally:
        torch.set_num_threads(1)
    assert table.read_text() == before
