"""What a build leaves out, keeps from before, or puts in: setup.py."""

import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import venv
from pathlib import Path
from zipfile import ZipFile

import pytest
import yaml
from modelindex.load_model_index import load
from tool_runs import ROOT, run

import eavit_mm.__main__ as program

IN_THE_SDIST = ('configs', 'docs', 'tools', 'eavit_mm', 'requirements')
# What lies about in a checkout, and what an earlier build took of it.
LEFT = (
    *('configs/eavit/epoch_1.pth', 'configs/.cache/list', 'tools/notes.txt'),
    *('eavit_mm/.mim/configs/gone.py', 'build/lib/eavit_mm/gone.py'),
)
# All packages but ours: an editable one would lend what a wheel lacks.
OTHERS = (
    'import site, sys; site.addsitedir({others!r}); sys.meta_path[:] = '
    "[k for k in sys.meta_path if 'editable' not in k.__module__]"
)
# In one process: most of the time of a short one goes into imports.
SEVERAL = """
import runpy, sys
for line in sys.argv[1:]:
    sys.argv = ['eavit_mm', *line.split()]
    runpy.run_module('eavit_mm', run_name='__main__')
print(sys.modules['eavit_mm'].__file__)
"""
# A config of a user, whose training is two iterations.
MINE = """
_base_ = '{home}/configs/eavit/vitmini_digits.py'
train_dataloader = dict(batch_size=600)
train_cfg = dict(max_epochs=1, val_interval=1)
param_scheduler = []
default_hooks = dict(checkpoint=dict(interval=1))
custom_hooks = [
    dict(
        type='eavit_mm.RearrangeHook',
        criterion=dict(type='eavit_mm.ActivationCriterion'),
    ),
]
search_cfg = dict(max_evaluations=10)
"""
COMMANDS = (
    'train mine.py --work-dir trained',
    'search mine.py trained/epoch_1.pth --work-dir searched',
    'test mine.py trained/epoch_1.pth --work-dir tested --budgets 0.5',
    'export mine.py trained/epoch_1.pth --front searched/pareto.json '
    '--budget 0.5 --rounds 1 --out small',
)
BUILD = """
import sys
from setuptools import build_meta
getattr(build_meta, f'build_{sys.argv[1]}')(sys.argv[2])
"""


def checkout(folder: Path) -> Path:
    """A copy of this one, with leftovers of its use and of a build."""
    ignore = shutil.ignore_patterns('__pycache__', '.mim')
    for name in IN_THE_SDIST:
        shutil.copytree(ROOT / name, folder / name, ignore=ignore)
    for path in ROOT.iterdir():
        if path.suffix in ('.md', '.cff', '.toml', '.yml', '.in', '.py'):
            shutil.copy(path, folder)
    shutil.copy(ROOT / 'LICENSE', folder)
    for name in LEFT:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    (folder / 'eavit_mm.egg-info').mkdir()
    (folder / 'eavit_mm.egg-info/SOURCES.txt').write_text('\n'.join(LEFT))
    return folder


def build(what: str, source: Path, out: Path) -> None:
    """As `python -m build --no-isolation` does, which is another package."""
    subprocess.run(
        [sys.executable, '-W', 'ignore', '-c', BUILD, what, str(out)],
        cwd=source,
        check=True,
        capture_output=True,
    )


def files(folder: Path) -> dict[str, bytes]:
    found = (p for p in folder.rglob('*') if '__pycache__' not in p.parts)
    return {
        str(path.relative_to(folder.parent)): path.read_bytes()
        for path in found
        if path.is_file()
    }


@pytest.fixture(scope='module')
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return checkout(tmp_path_factory.mktemp('checkout'))


@pytest.fixture(scope='module')
def installed(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The contents of a wheel that was built from the sdist."""
    folder = tmp_path_factory.mktemp('built')
    build('sdist', source, folder)
    (sdist,) = folder.glob('*.tar.gz')
    with tarfile.open(sdist) as packed:
        packed.extractall(folder, filter='data')
    build('wheel', folder / sdist.name.removesuffix('.tar.gz'), folder)
    build('wheel', source, folder / 'direct')
    for wheel in (*folder.glob('*.whl'), *folder.glob('direct/*.whl')):
        with ZipFile(wheel) as packed:
            packed.extractall(wheel.parent / 'site')
    return folder


def test_the_wheel_of_the_sdist_has_all_and_nothing_else(
    installed: Path,
) -> None:
    site = installed / 'site'
    packaged = files(site / 'eavit_mm')
    mim = 'eavit_mm/.mim/'
    wanted = files(ROOT / 'configs') | files(ROOT / 'tools')
    wanted['model-index.yml'] = (ROOT / 'model-index.yml').read_bytes()
    for page in (ROOT / 'docs').glob('*.md'):
        wanted[f'docs/{page.name}'] = page.read_bytes()
    assert len(wanted) > 150
    wanted = {mim + name: content for name, content in wanted.items()}
    wanted |= {
        name: content
        for name, content in files(ROOT / 'eavit_mm').items()
        if not name.startswith(mim)
    }
    assert packaged == wanted
    assert packaged == files(installed / 'direct' / 'site' / 'eavit_mm')
    (metadata,) = site.glob('*.dist-info/METADATA')
    lines = metadata.read_text().splitlines()
    assert 'License: Apache-2.0' in lines
    assert any(line.startswith('Project-URL: ') for line in lines)
    # What a reader of the package alone can use.
    assert 'make ' not in metadata.read_text()
    assert '- SnapViT: a front of a pretrained ViT' in metadata.read_text()
    links = re.findall(r'\]\(([^)]*)', '\n'.join(lines))
    assert links
    assert all(link.startswith('https://') for link in links)


def test_an_editable_install_links_to_the_checkout(
    source: Path, tmp_path: Path
) -> None:
    build('editable', source, tmp_path)
    folder = source / 'eavit_mm' / '.mim'
    names = ('configs', 'docs', 'model-index.yml', 'tools')
    assert sorted(path.name for path in folder.iterdir()) == sorted(names)
    for name in names:
        assert (folder / name).is_symlink()
        assert (folder / name).resolve() == source / name


def test_tools_run_away_from_the_checkout(
    installed: Path, tmp_path: Path
) -> None:
    site, name = installed / 'site', 'configs/eavit/vitmini_digits.py'
    done = subprocess.run(
        [sys.executable, '-m', 'eavit_mm', 'train', name, '--help'],
        cwd=tmp_path,
        env={**os.environ, 'PYTHONPATH': str(site), 'OMP_NUM_THREADS': '1'},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.startswith('usage: train.py [-h] [--resume')
    path = site / 'eavit_mm' / '.mim' / name
    assert done.stderr.endswith(f'{name}: none here, taking {path}\n')


def test_a_wheel_in_an_environment_of_its_own(
    installed: Path, tmp_path: Path
) -> None:
    """Its command trains, searches, tests and exports in an empty folder."""
    venv.create(tmp_path / 'venv', symlinks=True)
    program = tmp_path / 'venv/bin/python'
    (wheel,) = installed.glob('*.whl')
    pip = ['-m', 'pip', '--python', program, 'install', '-q', '--no-index']
    run(*pip, '--no-deps', wheel, cwd=tmp_path)
    (site,) = tmp_path.glob('venv/lib/python3*/site-packages')
    others = sysconfig.get_path('purelib')
    (site / 'others.pth').write_text(OTHERS.format(others=others))
    work = tmp_path / 'work'
    work.mkdir()
    (work / 'mine.py').write_text(MINE.format(home=site / 'eavit_mm/.mim'))
    env = dict(os.environ, OMP_NUM_THREADS='1', MKL_NUM_THREADS='1')
    env['PYTHONPATH'] = str(ROOT / 'tests/hidden_data')  # without this folder
    done = subprocess.run(
        [program, '-W', 'ignore', '-c', SEVERAL, *COMMANDS],
        cwd=work,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:]
    assert done.stdout.endswith(f'{site}/eavit_mm/__init__.py\n')
    assert (work / 'trained/epoch_1.pth').is_file()
    assert json.loads((work / 'searched/pareto.json').read_text())['members']
    tested = work / 'tested/subnets.json'
    assert json.loads(tested.read_text())
    report = json.loads((work / 'small/report.json').read_text())
    assert report['max_difference']
    assert (work / 'small/model.pth').is_file()


def test_a_config_is_the_working_folders_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    name = 'configs/eavit/vitmini_digits.py'
    assert program.located(name, ROOT) == str(ROOT / name)
    for other in (
        'configs/eavit/none.py',
        'configs/vit/vitmini_fashion.pth',
        'tools/train.py',
        'configs',
    ):
        assert program.located(other, ROOT) == other
    (tmp_path / 'configs' / 'eavit').mkdir(parents=True)
    (tmp_path / name).touch()
    assert program.located(name, ROOT) == name


def test_tools_are_listed_and_a_wrong_one_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tools = {path.stem for path in (ROOT / 'tools').glob('*.py')}
    monkeypatch.setattr(sys, 'argv', ['eavit_mm'])
    program.main()
    out = capsys.readouterr().out
    listed = [k.split()[0] for k in out.splitlines() if k.startswith('  ')]
    assert listed == sorted(tools - {'arguments'})
    assert 'train         Trains the model of a config' in out
    monkeypatch.setattr(sys, 'argv', ['eavit_mm', 'trian'])
    words = f"error: TOOL='trian'; must be one of {', '.join(listed)}$"
    with pytest.raises(SystemExit, match=words):
        program.main()
    monkeypatch.setattr(program, 'project_folder', lambda: None)
    with pytest.raises(SystemExit, match='^error: .* without its tools'):
        program.main()


def test_the_index_is_whole_where_mim_reads_it(installed: Path) -> None:
    """Every folder's file is in it, and what it says was measured."""
    folder = installed / 'site' / 'eavit_mm' / '.mim'
    index = load(str(folder / 'model-index.yml'))
    index.build_models_with_collections()
    models = {model.config: model for model in index.models}
    entries = [
        entry
        for path in (ROOT / 'configs').glob('*/metafile.yml')
        for entry in yaml.safe_load(path.read_text())['Models']
    ]
    assert len(models) == len(entries) > 50
    for path, model in models.items():
        assert (folder / path).is_file(), path
        assert model.metadata.parameters > 0
    runs = json.loads((ROOT / 'docs/benchmark/accuracy.json').read_text())
    for method, name in (
        ('default', 'eavit/vitmini_fashion40'),
        ('hydravit', 'baselines/hydravit_vitmini_fashion40'),
    ):
        found = [
            max(run['test'].values())[1]  # of the most MACs
            for run in runs
            if (run['method'], run['regime']) == (method, 'fashion40')
        ]
        (result,) = models[f'configs/{name}.py'].results
        mean = round(sum(found) / len(found), 2)
        assert result.metrics == {'Top 1 Accuracy': mean}
