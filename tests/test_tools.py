"""The commands of a checkout, run as a user runs them."""

import json
import runpy
from pathlib import Path
from typing import Any

import mmpretrain
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmpretrain.registry import MODELS
from test_datasets import flowers
from tool_runs import DIGITS, ROOT, TOOLS, run

import eavit_mm  # noqa: F401
from eavit_mm.space import Subnet

torch.set_num_threads(1)

STOCK = Path(mmpretrain.__file__).parent / '.mim' / 'tools'
GPU_AMP = dict(type='AmpOptimWrapper', loss_scale=512.0, dtype='float16')
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


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
    """The folder of a short training by our tool, and its output."""
    folder = tmp_path_factory.mktemp('trained')
    args = (DIGITS, '--work-dir', folder, *SHORT)
    return folder, run(TOOLS / 'train.py', *args, cwd=folder)


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


def test_the_stock_tool_trains_the_same_network(trained, tmp_path):
    folder, _ = trained
    args = (DIGITS, '--work-dir', tmp_path, *SHORT)
    text = run(STOCK / 'train.py', *args, cwd=tmp_path)
    assert 'Curriculum level 2: ' in text
    stock, ours = (
        torch.load(path / 'epoch_2.pth')['state_dict']
        for path in (tmp_path, folder)
    )
    for name, value in ours.items():
        torch.testing.assert_close(stock[name], value)


def test_budgets_and_a_subnet_are_evaluated(trained, tmp_path, call, capsys):
    folder, _ = trained
    checkpoint = folder / 'epoch_2.pth'
    model = model_of(DIGITS)
    subnet = model.backbone.space.uniform(0.4)
    (tmp_path / 'mine.json').write_text(subnet.to_json())
    out = tmp_path / 'results' / 'found.json'
    budgets = ('1.0', '0.3', '4MMACs', '0.2Mparams')
    asked = ('--budgets', *budgets, '--subnet', tmp_path / 'mine.json')
    where = ('--work-dir', tmp_path / 'work', '--out', out)
    call('test.py', DIGITS, checkpoint, *asked, *where)
    text = capsys.readouterr().out
    result = json.loads(out.read_text())
    assert result['config'] == str(DIGITS)
    assert result['checkpoint'] == str(checkpoint)
    assert result['metric'] == 'accuracy/top1'
    rows = {row['name']: row for row in result['subnets']}
    assert list(rows) == ['mine', *budgets]
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
    with pytest.raises(
        SystemExit, match='--tta: tta_pipeline=None in .*split.*; must be a p'
    ):
        call('test.py', *args, '--cfg-options', 'tta_pipeline=None')
    # It is the network's, not that of what --tta wraps it in.
    head = 'model.head.topk=1'
    call('test.py', *args, '--work-dir', tmp_path, '--cfg-options', head)
    config.write_text(JOINED.format(digits=DIGITS))
    with pytest.raises(
        SystemExit, match="--tta: .*: 'ConcatDataset' has no pipeline to aug"
    ):
        call('test.py', *args, '--work-dir', tmp_path)


@pytest.mark.parametrize('criterion', ['taylor', 'none', None])
def test_rearranging_keeps_the_logits(trained, tmp_path, call, criterion):
    """By default as the config says; not in a space of suffixes."""
    folder, _ = trained
    source, out = folder / 'epoch_2.pth', tmp_path / 'new' / 'out.pth'
    how = ('--criterion', criterion, '--num-batches', 2)
    if criterion is None:
        config = tmp_path / 'config.py'
        config.write_text(f"""
_base_ = {str(DIGITS)!r}
model = dict(backbone=dict(space=dict(max_off=0)))
custom_hooks = [dict(
    type='eavit_mm.RearrangeHook', num_batches=2, batch_size=4,
    criterion=dict(type='eavit_mm.TaylorCriterion'))]
""")
        how = ('--cfg-options', 'model.backbone.space.suffix_smallest=True')
        with pytest.raises(SystemExit, match='suffix_smallest=True: the sm'):
            call('rearrange.py', config, source, out, *how)
        call('rearrange.py', config, source, out, '--work-dir', tmp_path)
    else:
        call('rearrange.py', DIGITS, source, out, *how, '--work-dir', tmp_path)
    assert [path.name for path in out.parent.iterdir()] == ['out.pth']
    saved = torch.load(out, weights_only=True)
    assert saved['meta']['eavit_mm']['stage'] == 0
    # Stock order is stock order, whatever was asked for.
    if criterion != 'none':
        name = saved['meta']['eavit_mm']['rearrangement']
        assert name == 'TaylorCriterion'
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
train_dataloader = dict(batch_size=2, **loader)
val_dataloader = loader
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


def test_the_flowers_recipe_runs_on_a_few_flowers(tmp_path, call):
    flowers.write(tmp_path / 'data' / 'Flowers102')
    config = tmp_path / 'tiny_flowers.py'
    config.write_text(TINY.format(flowers=FLOWERS))
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
    assert 'Rearranged by TaylorCriterion; the head is new' in text
    assert 'Curriculum level 1: ' in text
    (best,) = (tmp_path / 'work').glob('best_auc_epoch_1.pth')
    call('test.py', config, best, '--budgets', 1.0, 0.5, '--work-dir', 'work')
    result = json.loads((tmp_path / 'work' / 'subnets.json').read_text())
    assert [row['name'] for row in result['subnets']] == ['1.0', '0.5']
    assert result['subnets'][1]['macs_ratio'] <= 0.5


@pytest.mark.parametrize(
    ('options', 'amp', 'manner'),
    [
        (dict(), ['--amp'], '--amp: bfloat16'),
        (GPU_AMP, ['--amp'], '--amp: bfloat16'),
        (GPU_AMP, [], 'AmpOptimWrapper: float32'),
    ],
)
def test_amp_of_a_recipe_for_gpus(
    options, amp, manner, tmp_path, call, capsys
):
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
    call('train.py', config, *amp, '--no-validate')
    text = capsys.readouterr().out
    for name, value in options.items():
        left = f'{manner} on the CPU, {name}={value!r} is left out'
        assert (left in text) == (name != 'type')
    assert (tmp_path / 'work_dirs' / 'amp' / 'epoch_1.pth').exists()


def test_an_option_names_the_part_that_the_config_leaves_out(tmp_path, call):
    config = tmp_path / 'parts.py'
    parts = ('test_dataloader', 'test_cfg', 'test_evaluator', 'optim_wrapper')
    lines = [f"_base_ = ['{DIGITS}']", *(f'{part} = None' for part in parts)]
    config.write_text('\n'.join(lines))
    number = ['no.pth', '--cfg-options', 'test_cfg=5']
    with pytest.raises(SystemExit, match='test_cfg=5 in .*; must be a dict$'):
        call('test.py', DIGITS, *number)
    for tool, option, part in (
        ('test.py', ('--budgets', '0.5'), 'test_cfg'),
        ('test.py', ('--tta',), 'test_dataloader'),
        ('test.py', (), 'test_dataloader'),
        ('train.py', ('--amp',), 'optim_wrapper'),
    ):
        by = option[0] if option else 'tools/test.py'
        words = f'^error: {by}: {part}=None in .*parts.py; must be a dict$'
        file = ['no.pth'] if tool == 'test.py' else []
        with pytest.raises(SystemExit, match=words):
            call(tool, config, *file, *option)


def test_resume_without_a_checkpoint_keeps_what_the_config_loads(tmp_path):
    namespace = runpy.run_path(str(TOOLS / 'train.py'))
    cfg = Config(dict(work_dir=str(tmp_path), load_from='weights.pth'))
    namespace['set_resume'](cfg, 'auto')
    assert cfg.load_from == 'weights.pth'
    assert not cfg.resume
