"""Whatever is wrong is found in one call, and what to do is said."""

import runpy
import sys
from importlib import metadata

import pytest
import torch
from mmengine.config import Config
from mmengine.config import config as mmengine_config
from mmengine.utils import dl_utils
from tool_runs import DIGITS, ROOT, forget_runs

from eavit_mm import doctor
from eavit_mm.datasets.published import how_to_get

STAGE2 = DIGITS.with_name('vitmini_digits_stage2.py')
MANY = f"""
_base_ = ['{DIGITS}']
model = dict(
    head=dict(num_classes=5),
    sampler=dict(type='eavit_mm.UniformSampler', nummer=2, seeed=1),
)
custom_hooks = [
    dict(type='eavit_mm.CurriculumHook', levels=[dict(begin=100)])
]
train_dataloader = dict(dataset=dict(dataset=dict(split='test')))
val_dataloader = dict(dataset=dict(dataset=dict(
    _delete_=True, type='CustomDataset', data_root='nowhere')))
"""
NONE = 'model.backbone.init_cfg=None'
LATE = f"""
_base_ = ['{DIGITS}']
param_scheduler = [dict(type='MultiStepLR', begin=900, milestones=[1])]
search_cfg = dict(metric='accuracy/top9')
"""


def run_here(command, log, label):
    """As :func:`run_logged`, without a process: all is imported here."""
    sys.argv = command[1:]
    forget_runs()
    try:
        runpy.run_path(command[1], run_name='__main__')
    except SystemExit as end:
        raise ValueError(f'{label}: {end}') from end


@pytest.fixture
def ask(monkeypatch, call, capsys):
    """What the doctor says, and its exit status."""
    found = {'sys.platform': 'linux', 'GPU 0': 'one'}
    monkeypatch.setattr(dl_utils, 'collect_env', lambda: found)
    monkeypatch.setattr(doctor, 'run_logged', run_here)
    # Most of the time would go into the layout of logged configs.
    plain = lambda code, **options: (code, False)  # noqa: E731
    monkeypatch.setattr(mmengine_config, 'FormatCode', plain)

    def asked(*args):
        with pytest.raises(SystemExit) as end:
            call('doctor.py', *args)
        text = capsys.readouterr().out
        lines = text.splitlines()
        for line, after in zip(lines, lines[1:], strict=False):
            assert not line.startswith('wrong ') or '-> ' in after, line
        return end.value.code, text

    return asked


def test_nothing_is_wrong_with_the_demo(ask):
    code, text = ask(STAGE2, '--budgets', '0.5')
    assert (code, 'wrong  ' in text) == (0, False), text
    for said in (
        "front='work_dirs/vitmini_digits_stage2/search/pareto.json' is not",
        'space: macs from 467,776 to 10,987,968 (4.3% to 100 %)',
        'budgets: 0.5 by uniform: 5,359,232, 98% of it',
        'train_dataloader: 1197 samples, 10 classes',
        'train and test: share no sample',
        'train: tools/train.py would begin',
        'search: tools/search.py would begin',
    ):
        assert said in text


def test_one_call_finds_all_that_is_wrong(ask, tmp_path):
    config, broken = tmp_path / 'many.py', tmp_path / 'broken.pth'
    config.write_text(MANY)
    broken.write_bytes(b'none')
    front = ('--front', tmp_path / 'none.json')
    budgets = ('--budgets', '0.5', '1%', '5ms', 'much')
    code, text = ask(config, broken, *budgets, *front)
    assert code == 1
    for said in (
        'config: model.sampler.nummer=2 is no option of UniformSampler',
        'config: model.sampler.seeed=1 is no option of UniformSampler',
        'space: level 0 of the curriculum: begin=100; must be 0',
        f'checkpoint: {broken} ',
        'none.json',
        'budget 1%: 109,875 MACs of the total cannot be reached',
        'budgets: a limit in ms needs a latency table',
        "'5ms' (a MAC is two FLOPs)\n         -> write it as 0.5, 50%, 8GMACs",
        'train_dataloader: model.head.num_classes=5; the data have 10 class',
        'val_dataloader: ',
        'nowhere',
        'warning  search: tools/search.py does not try its own checks',
    ):
        assert said in text, text
    assert 'ok       budgets: 0.5 by uniform' in text


def test_data_that_share_samples_are_told(ask, tmp_path):
    config = tmp_path / 'shared.py'
    part = "dict(dataset=dict(dataset=dict(split='test')))"
    config.write_text(f"_base_ = ['{DIGITS}']\ntrain_dataloader = {part}\n")
    options = ('--cfg-options', 'val_dataloader.dataset.part=train')
    code, text = ask(config, *options)
    assert code == 1
    assert 'the test data and the train data share 300 samples' in text
    assert 'ok       val and test: share no sample' in text


def test_folders_are_asked_for_where_no_command_makes_them(
    ask, tmp_path, monkeypatch
):
    """A published set lies in the same place."""
    monkeypatch.setattr(doctor.Doctor, 'try_tools', lambda *_: None)
    monkeypatch.chdir(tmp_path)
    vitti, vitb = (
        ask(ROOT / f'configs/eavit/{name}_cifar100.py', '--cfg-options', NONE)
        for name in ('vitti', 'vitb')
    )
    assert 'data/cifar100/{train,val,test}/CLASS/*' in vitti[1]
    assert 'eavit_mm prepare_data' not in vitti[1]
    assert 'python -m eavit_mm prepare_data cifar100' in vitb[1]


@pytest.mark.parametrize(
    ('name', 'how'),
    [
        ('vitb_pathmnist', 'prepare_data pathmnist'),
        ('vitb_dermamnist', 'prepare_data dermamnist'),
        ('vitti_folder', '--data DIR (docs/your_data.md)'),
    ],
)
def test_a_missing_set_is_told_by_its_own_name(name, how):
    """Two share a folder, one is the user's."""
    cfg = Config.fromfile(ROOT / f'configs/eavit/{name}.py')
    for part in ('train', 'val', 'test'):
        places = ' '.join(doctor._places(cfg[f'{part}_dataloader']))
        assert how_to_get(places).endswith(how)


def test_nothing_is_fetched(ask, tmp_path):
    """mmpretrain's own class would, into a folder that is not there."""
    config, stock = tmp_path / 'stock.py', "type='CIFAR10', data_root='none'"
    config.write_text(
        f"_base_ = ['{DIGITS}']\ntrain_dataloader = dict(dataset=dict("
        f'dataset=dict(_delete_=True, {stock})))\n'
    )
    code, text = ask(config)
    assert code == 1
    assert 'train_dataloader: RuntimeError: Cannot find CIFAR10' in text
    assert 'prepare_data` fetches the published sets' in text
    assert not (tmp_path / 'none').exists()


def test_the_tools_say_what_they_would_refuse(ask, tmp_path):
    config = tmp_path / 'late.py'
    config.write_text(LATE)
    code, text = ask(config)
    assert code == 1
    assert 'train: error: param_scheduler.0: MultiStepLR begins at 900' in text
    assert 'warning  search: tools/search.py does not' in text
    options = ('--cfg-options', 'param_scheduler=None')
    code, text = ask(config, *options)
    assert code == 1
    assert "search: error: search_cfg.metric='accuracy/top9'" in text


@pytest.mark.parametrize(
    ('name', 'what'), [('none.py', 'not there'), ('', 'a folder')]
)
def test_an_unread_config_does_not_hide_a_checkpoint(
    ask, tmp_path, name, what
):
    config = tmp_path / name
    code, text = ask(config, tmp_path / 'none.pth')
    assert code == 1
    _, after = text.split(f'wrong    config: {config} is {what}; must be the ')
    assert after.split('-> ')[1].startswith('correct the path in the command')
    assert 'wrong    checkpoint: ' in text


DEMO = f"_base_ = ['{STAGE2}']\n"
STEPS = "[dict(type='TruncNormal', layer='Linear', std=.02)]"


@pytest.mark.parametrize(
    ('text', 'said'),
    [
        (f'{DEMO}model = dict(backbone=dict(init_cfg={STEPS}))', ''),
        (f'{DEMO}load_from = "https://host/a.pth"', ''),
        (f'{DEMO}model = dict(backbone=None)', 'model: '),
        (f'{DEMO}model = dict(_delete_=True, router="no")', 'model: '),
        ('model = []', 'model: '),
        ('raise SystemExit', 'config: SystemExit'),
        (f'{DEMO}test_evaluator = dict(type="NoSuchMetric")', 'test: KeyErr'),
        (f'{DEMO}test_cfg = dict(_delete_=True, no=1)', 'test: '),
        (f'{DEMO}load_from = "work_dirs/a.pth"', 'config: load_from='),
    ],
)
def test_an_odd_line_is_told_by_its_place(
    ask, tmp_path, monkeypatch, text, said
):
    monkeypatch.setattr(doctor.Doctor, 'try_tools', lambda *_: None)
    config = tmp_path / 'odd.py'
    config.write_text(text)
    code, found = ask(config)
    wrong = [line for line in found.splitlines() if line[:6] == 'wrong ']
    assert (bool(wrong), code) == (bool(said), bool(said)), found
    assert all(line.startswith(f'wrong    {said}') for line in wrong), found
    assert 'https://host' not in found


def test_val_is_test_and_nothing_is_left_behind(ask, tmp_path, monkeypatch):
    monkeypatch.setattr('tempfile.tempdir', str(tmp_path))
    config = tmp_path / 'plain.py'
    config.write_text(
        f"_base_ = ['{DIGITS}']\nsearch_cfg = None\n"
        "val_dataloader = dict(dataset=dict(dataset=dict(split='test')))\n"
        "param_scheduler = [dict(type='MultiStepLR', begin=900, "
        'milestones=[1])]\n'
    )
    code, text = ask(config)
    assert (code, text.count('wrong  ')) == (1, 1), text
    assert 'warning  val and test: ' in text
    assert 'wrong    train: error: ' in text
    assert 'its log' not in text
    assert not list(tmp_path.glob('**/doctor.log'))


def test_a_bare_environment(ask, monkeypatch):
    monkeypatch.setitem(sys.modules, 'packaging.requirements', None)
    code, _ = ask()
    assert code.startswith('wrong    packaging: not installed\n         -> ')


@pytest.fixture
def install(monkeypatch):
    """Pretends other versions of distributions; None: not installed."""
    of, versions = metadata.version, {}

    def version(name):
        if (found := versions.get(name, '')) is None:
            raise metadata.PackageNotFoundError(name)
        return found or of(name)

    monkeypatch.setattr(metadata, 'version', version)
    return versions.update


def test_the_forks_of_openmmlab_stand_for_it(ask, install):
    install(dict.fromkeys(('mmengine', 'mmpretrain', 'mmsegmentation')))
    install(dict.fromkeys(('mmcv', 'mmcv-lite')))
    pins = (ROOT / 'requirements' / 'onedl.txt').read_text().split()
    forks = dict(line.split('==') for line in pins)
    install(forks)
    code, text = ask()
    assert (code, 'wrong  ' in text) == (0, False), text
    assert f'mmcv: onedl-mmcv {forks["onedl-mmcv"]}, without' in text
    install({'onedl-mmengine': '0.9', 'onedl-mmcv': None})
    code, text = ask()
    assert code == 1
    assert "pip install 'onedl-mmengine~=0.10.12'" in text
    assert 'wrong    mmcv-lite: not installed' in text


def test_versions_and_devices(ask, install, monkeypatch):
    install(dict(torch='1.0', scipy=None, onnx=None, mmcv='2.1.0'))
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    monkeypatch.setattr(torch.cuda, 'device_count', lambda: 1)
    monkeypatch.setitem(sys.modules, 'eavit_mm.doctor', None)
    code, text = ask()
    assert code == 1
    for said in (
        "wrong    torch: 1.0; must be <3,>=2.11\n         -> pip install 't",
        'wrong    scipy: not installed',
        'warning  onnx: not installed',
        'wrong    mmcv: both mmcv and mmcv-lite',
        'wrong    gpu 0: ',
        'wrong    import: ',
    ):
        assert said in text, text


def test_weights_that_an_adaptation_begins_with_are_missing(ask):
    config = ROOT / 'configs' / 'eavit' / 'vitti_folder_stage2.py'
    status, text = ask(config)
    assert status
    assert 'vit-tiny-p16_in1k_fp16.pth is not there' in text
    assert 'eavit_mm convert' in text
