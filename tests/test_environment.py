"""The environment: requirements/make_env.py, the pins, eavit_mm/compat."""

import importlib.util
import json
import os
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from pickle import UnpicklingError
from types import ModuleType

import pytest
import torch
from mmengine.logging import HistoryBuffer, MessageHub
from mmengine.runner import save_checkpoint
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
REQUIREMENTS = ROOT / 'requirements'
PIN = re.compile(r'[A-Za-z0-9][\w.-]*==\d[\w.]*')


def load_make_env() -> ModuleType:
    spec = importlib.util.spec_from_file_location(
        'make_env', REQUIREMENTS / 'make_env.py'
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


make_env = load_make_env()


def python(code: str, *args: str, path: Path | None = None) -> str:
    """Output of code in a fresh Python; stderr too, so warnings show."""
    folders = [str(folder) for folder in (path, ROOT) if folder]
    folders.append(os.environ['PYTHONPATH'])
    result = subprocess.run(
        [sys.executable, '-c', code, *args],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, 'PYTHONPATH': os.pathsep.join(folders)},
    )
    assert result.returncode == 0, result.stderr
    return result.stdout + result.stderr


# requirements/make_env.py


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    (tmp_path / 'requirements').mkdir()
    (tmp_path / 'requirements' / 'runtime.txt').write_text('torch==2.11.0\n')
    (tmp_path / 'requirements' / 'tests.txt').write_text('pytest==9.2.0\n')
    (tmp_path / 'setup.py').write_text('setup()\n')
    return tmp_path


@pytest.fixture
def venv(repository: Path) -> Path:
    """Looks like an environment: has a Python with pip, our own."""
    folder = repository / '.venv'
    (folder / 'bin').mkdir(parents=True)
    script = f'#!/bin/sh\nexec {sys.executable} "$@"\n'
    (folder / 'bin' / 'python').write_text(script)
    (folder / 'bin' / 'python').chmod(0o755)
    return folder


def stamp_of(repository: Path, mmcv: str = 'lite') -> dict[str, str]:
    version = f'{sys.version_info.major}.{sys.version_info.minor}'
    return make_env.make_stamp(repository, version, mmcv)


@pytest.mark.parametrize('version', [(3, 11, 0), (3, 12, 9)])
def test_supported_python_is_accepted(version: tuple[int, ...]) -> None:
    make_env.check_python(version, 'python3')


@pytest.mark.parametrize('version', [(3, 10, 13), (3, 13, 0), (2, 7, 18)])
def test_wrong_python_is_named(version: tuple[int, ...]) -> None:
    found = '.'.join(map(str, version))
    words = (
        rf'found Python {found} \(/usr/bin/python3\).* needs Python 3\.11 '
        r'or 3\.12.*make env PYTHON=python3\.11'
    )
    with pytest.raises(make_env.SetupError, match=words):
        make_env.check_python(version, '/usr/bin/python3')


def test_supported_pythons_are_those_of_setup() -> None:
    versions = ', '.join(
        f'{major}.{minor}' for major, minor in make_env.SUPPORTED
    )
    assert versions == '3.11, 3.12'
    assert "python_requires='>=3.11,<3.13'" in (ROOT / 'setup.py').read_text()


@pytest.mark.parametrize(
    'file', ['requirements/runtime.txt', 'requirements/tests.txt', 'setup.py']
)
def test_stamp_changes_with_what_is_to_be_installed(
    repository: Path, file: str
) -> None:
    before = stamp_of(repository)
    assert before == stamp_of(repository)
    path = repository / file
    path.write_text(path.read_text().replace('t', 'T', 1))
    assert stamp_of(repository) != before


def test_stamp_changes_with_a_new_requirements_file(repository: Path) -> None:
    before = stamp_of(repository)
    (repository / 'requirements' / 'constraints.txt').write_text('')
    assert stamp_of(repository) != before


def test_stamp_changes_with_python_mode_and_folder(
    repository: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    stamp = make_env.make_stamp(repository, '3.11', 'lite')
    assert make_env.make_stamp(repository, '3.12', 'lite') != stamp
    assert make_env.make_stamp(repository, '3.11', 'full') != stamp
    moved = repository.rename(tmp_path_factory.mktemp('other') / 'place')
    assert make_env.make_stamp(moved, '3.11', 'lite') != stamp


def test_finished_environment_is_up_to_date(
    repository: Path, venv: Path
) -> None:
    goal = stamp_of(repository)
    make_env.write_stamp(venv, json.dumps(goal))
    assert make_env.is_up_to_date(venv, goal)
    assert make_env.rebuild_reason(venv, goal) is None
    assert not make_env.is_up_to_date(venv, stamp_of(repository, 'full'))


@pytest.mark.parametrize('text', [make_env.UNFINISHED, '', '{"root":', '[]'])
def test_half_made_environment_is_built_anew(
    repository: Path, venv: Path, text: str
) -> None:
    goal = stamp_of(repository)
    make_env.write_stamp(venv, text)
    assert not make_env.is_up_to_date(venv, goal)
    assert 'killed' in make_env.rebuild_reason(venv, goal)


def test_environment_without_stamp_is_installed_into(
    repository: Path, venv: Path
) -> None:
    goal = stamp_of(repository)
    assert not make_env.is_up_to_date(venv, goal)
    assert make_env.rebuild_reason(venv, goal) is None


def test_environment_without_working_python_is_built_anew(
    repository: Path, venv: Path
) -> None:
    goal = stamp_of(repository)
    make_env.write_stamp(venv, json.dumps(goal))
    (venv / 'bin' / 'python').unlink()
    assert not make_env.is_up_to_date(venv, goal)
    assert 'no working Python' in make_env.rebuild_reason(venv, goal)


def test_moved_environment_is_built_anew(repository: Path, venv: Path) -> None:
    goal = stamp_of(repository)
    make_env.write_stamp(venv, json.dumps({**goal, 'root': '/elsewhere'}))
    assert '/elsewhere' in make_env.rebuild_reason(venv, goal)


def test_environment_of_another_python_is_built_anew(
    repository: Path, venv: Path
) -> None:
    goal = {**stamp_of(repository), 'python': '3.99'}
    assert '3.99' in make_env.rebuild_reason(venv, goal)


def test_kept_python_is_that_of_the_environment() -> None:
    own = '{}.{}'.format(*sys.version_info)
    other = '3.12' if own == '3.11' else '3.11'
    assert make_env.wanted_python(other, keep=True) == other
    assert make_env.wanted_python(other, keep=False) == own
    assert make_env.wanted_python(None, keep=True) == own
    assert make_env.wanted_python('3.9', keep=True) == own


def test_mmcv_of_the_environment_is_kept(venv: Path) -> None:
    packages = venv / 'lib' / 'python3.11' / 'site-packages'
    assert make_env.wanted_mmcv(venv, None) == 'lite'
    (packages / 'mmcv_lite-2.1.0.dist-info').mkdir(parents=True)
    assert make_env.wanted_mmcv(venv, None) == 'lite'
    (packages / 'mmcv-2.1.0.dist-info').mkdir()
    assert make_env.wanted_mmcv(venv, None) == 'full'
    assert make_env.wanted_mmcv(venv, 'lite') == 'lite'


def test_mmcv_wheel_is_never_dropped_in_silence(tmp_path: Path) -> None:
    wheel = tmp_path / 'mmcv.whl'
    with pytest.raises(make_env.SetupError, match=r'mmcv\.whl.*no such file'):
        make_env.wanted_wheel(str(wheel), 'full')
    wheel.touch()
    assert make_env.wanted_wheel(str(wheel), 'full') == wheel
    with pytest.raises(make_env.SetupError, match='only used with MMCV=full'):
        make_env.wanted_wheel(str(wheel), 'lite')
    assert make_env.wanted_wheel('', 'lite') is None


@pytest.mark.parametrize(
    ('code', 'stamp'),
    [
        ('raise SystemExit(3)', None),  # ended by itself: installed into
        ('import os; os.kill(os.getpid(), 9)', {}),  # killed: built anew
    ],
)
def test_failing_step_is_named(
    repository: Path, venv: Path, code: str, stamp: dict | None
) -> None:
    make_env.write_stamp(venv, make_env.UNFINISHED)
    with make_env.locked(venv) as lock:
        installer = make_env.Installer(repository, lock)
        with pytest.raises(make_env.SetupError, match="'Try it' failed"):
            installer.python('Try it', '-c', code)
    assert make_env.read_stamp(venv) == stamp


def test_steps_see_neither_pythonpath_nor_stdin(
    repository: Path, venv: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv('PYTHONPATH', str(repository))
    code = (
        'import os, sys; assert "PYTHONPATH" not in os.environ; '
        'assert not sys.stdin.read(); assert os.environ["ADDED"] == "1"'
    )
    with make_env.locked(venv) as lock:
        make_env.Installer(repository, lock).python(
            'Look', '-c', code, ADDED='1'
        )


# The pins


def pins(name: str) -> dict[str, str]:
    lines = (REQUIREMENTS / f'{name}.txt').read_text().splitlines()
    found = [line for line in lines if line and not line.startswith('#')]
    for line in found:
        assert PIN.fullmatch(line), f'{name}.txt: {line} is no exact pin'
    versions = (line.split('==') for line in found)
    return {canonicalize_name(name): version for name, version in versions}


def test_pins_are_exact_and_said_once() -> None:
    files = [pins(n) for n in ('runtime', 'export', 'tests', 'constraints')]
    assert len(set().union(*files)) == sum(map(len, files))
    constraints = files[-1]
    assert not {'mmcv', 'mmcv-lite', 'eavit-mm'} & constraints.keys()
    assert pins('mmcv_lite').popitem()[1] == pins('mmcv_full').popitem()[1]
    assert pins('mmcv_build').keys() >= {'setuptools', 'ninja'}


def required_by(name: str) -> set[str]:
    """Names that an installed distribution requires here, extras not."""
    try:
        lines = metadata.requires(name) or []
    except metadata.PackageNotFoundError:
        return set()
    needed = (Requirement(line) for line in lines)
    return {
        canonicalize_name(requirement.name)
        for requirement in needed
        if not requirement.marker or requirement.marker.evaluate({'extra': ''})
    }


def test_everything_the_pinned_packages_bring_is_pinned() -> None:
    direct = pins('runtime') | pins('export') | pins('tests')
    pinned = direct.keys() | pins('constraints').keys()
    by_torch = re.compile('nvidia-|cuda-toolkit$|triton$')
    seen: set[str] = set()
    queue = set(direct)
    while queue:
        name = queue.pop()
        seen.add(name)
        needed = {n for n in required_by(name) if not by_torch.match(n)}
        assert needed <= pinned, f'{name} brings {needed - pinned}, unpinned'
        queue |= needed - seen


def test_installed_packages_fit_together() -> None:
    result = subprocess.run(
        [sys.executable, '-m', 'pip', 'check'],
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout


# eavit_mm/compat


def has_compiled_mmcv() -> bool:
    try:
        metadata.version('mmcv')
    except metadata.PackageNotFoundError:
        return False
    return True


def test_import_is_silent_and_light() -> None:
    code = (
        'import sys, eavit_mm; '
        'assert not {"mmpretrain", "mmseg"} & sys.modules.keys()'
    )
    assert python(code) == ''
    assert python(f'import eavit_mm.registry; {code}') == ''


@pytest.mark.skipif(has_compiled_mmcv(), reason='mmcv has its ops here')
def test_mmseg_imports_and_ops_raise_with_mmcv_lite() -> None:
    code = """
import eavit_mm
import mmseg.models
import torch
from mmcv.ops import nms
try:
    nms(torch.zeros(1, 4), torch.zeros(1), 0.5)
except ImportError as error:
    print(error)
"""
    output = python(code)
    assert "mmcv op 'nms' is not compiled here" in output
    assert 'full mmcv: `make env MMCV=full`' in output


@pytest.mark.skipif(not has_compiled_mmcv(), reason='needs the full mmcv')
def test_full_mmcv_is_used() -> None:
    code = """
import sys
import eavit_mm
from eavit_mm.compat import install_mmcv_stand_in
assert not install_mmcv_stand_in()
import mmseg.models
from mmcv.ops import nms
import torch
boxes = torch.tensor([[0., 0., 1., 1.], [0., 0., 1., 1.]])
print(len(nms(boxes, torch.tensor([0.9, 0.8]), 0.5)[1]))
"""
    assert python(code) == '1\n'


def test_stand_in_gives_way_to_a_compiled_extension(tmp_path: Path) -> None:
    (tmp_path / 'mmcv').mkdir()
    (tmp_path / 'mmcv' / '__init__.py').touch()
    (tmp_path / 'mmcv' / '_ext.py').write_text('compiled = True\n')
    code = """
import sys
import eavit_mm
from eavit_mm.compat import install_mmcv_stand_in
assert 'mmcv._ext' not in sys.modules
assert not install_mmcv_stand_in()
import mmcv._ext
print(mmcv._ext.compiled)
"""
    assert python(code, path=tmp_path) == 'True\n'


def test_missing_mmcv_is_named() -> None:
    code = """
import sys
sys.modules['mmcv'] = None
try:
    import eavit_mm
except ImportError as error:
    print(error)
"""
    assert 'eavit_mm needs mmcv: `pip install mmcv-lite' in python(code)


def test_checkpoint_of_mmengine_loads_with_weights_only(
    tmp_path: Path,
) -> None:
    hub = MessageHub('test_environment')
    for loss in (3.0, 1.0, 2.0):
        hub.update_scalar('train/loss', loss)
    file = tmp_path / 'epoch_1.pth'
    weight = torch.arange(6.0).reshape(2, 3)
    save_checkpoint(
        {'state_dict': {'weight': weight}, 'message_hub': hub.state_dict()},
        str(file),
    )
    code = """
import sys
import eavit_mm
import torch
checkpoint = torch.load(sys.argv[1], weights_only=True)
loss = checkpoint['message_hub']['log_scalars']['train/loss']
print(loss.mean(), loss.min(), loss.current())
print(checkpoint['state_dict']['weight'].sum().item())
"""
    assert python(code, str(file)) == '2.0 1.0 2.0\n15.0\n'


class Attack:
    """Pickles as a call of a function."""

    def __init__(self, *call: object) -> None:
        self.call = call

    def __reduce__(self) -> tuple:
        function, *args = self.call
        return function, tuple(args)


@pytest.mark.parametrize(
    ('attack', 'words'),
    [
        (Attack(os.system, 'exit 1'), 'system'),
        (Attack(getattr, os.system, '__globals__'), 'system'),
        (Attack(getattr, HistoryBuffer, '__init__'), 'may be read'),
        (Attack(getattr, HistoryBuffer, '_statistics_methods'), 'may be read'),
        (Attack(getattr, 'text', 'mean'), 'may be read'),
    ],
)
def test_other_globals_are_refused(
    tmp_path: Path, attack: Attack, words: str
) -> None:
    import eavit_mm  # noqa: F401

    file = tmp_path / 'attack.pth'
    torch.save({'state_dict': attack}, file)
    with pytest.raises((UnpicklingError, ValueError), match=words):
        torch.load(file, weights_only=True)
