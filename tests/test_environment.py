"""The environment: requirements/make_env.py and the pins."""

import ast
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import make_env
import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
REQUIREMENTS = ROOT / 'requirements'
PIN = re.compile(r'[A-Za-z0-9][\w.-]*==\d[\w.]*')


OWN = make_env.OWN


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """Looks like ours, `.venv` included; its Python is our own."""
    (tmp_path / 'requirements').mkdir()
    (tmp_path / 'requirements' / 'runtime.txt').write_text('torch==2.11.0\n')
    (tmp_path / 'setup.py').write_text('setup()\n')
    create_venv(tmp_path)
    return tmp_path


def create_venv(root: Path) -> None:
    folder = root / '.venv' / 'bin'
    folder.mkdir(parents=True, exist_ok=True)
    (folder / 'python').write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    (folder / 'python').chmod(0o755)


def stamp_of(root: Path, mmcv: str = 'lite') -> dict[str, str]:
    return make_env.wanted_stamp(root, mmcv, keep_python=True, wheel='')


def test_a_wrong_python_is_named() -> None:
    # By any Python, which must be able to read the script.
    text = (REQUIREMENTS / 'make_env.py').read_text()
    ast.parse(text, feature_version=(3, 6))
    for version in ('3.11', '3.12', '3.13'):
        make_env.check_python(version, 'python3')
    assert "python_requires='>=3.11,<3.14'" in (ROOT / 'setup.py').read_text()
    for version in ('3.10', '3.14', '2.7'):
        words = (
            rf'found Python {version} \(/usr/bin/python3\).* needs Python '
            r'3\.11 to 3\.13: `make env PYTHON=python3\.11'
        )
        with pytest.raises(make_env.SetupError, match=words):
            make_env.check_python(version, '/usr/bin/python3')


def test_the_stamp_changes_with_what_is_to_be_installed(
    repository: Path,
) -> None:
    stamps = [stamp_of(repository)]
    assert stamps[0] == stamp_of(repository)
    for file in ('requirements/runtime.txt', 'setup.py'):
        path = repository / file
        path.write_text(path.read_text().replace('t', 'T', 1))
        stamps.append(stamp_of(repository))
    (repository / 'requirements' / 'constraints.txt').write_text('')
    stamps += [stamp_of(repository), stamp_of(repository, 'full')]
    assert all(stamps.count(stamp) == 1 for stamp in stamps)


def test_python_and_mmcv_of_the_environment_are_kept(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wanted(mmcv: str | None = None, keep: bool = True) -> tuple[str, str]:
        found = make_env.wanted_stamp(repository, mmcv, keep, '')
        return found['python'], found['mmcv']

    packages = repository / '.venv/lib/python3.11/site-packages'
    assert wanted() == (OWN, 'lite')
    (packages / 'mmcv_lite-2.1.0.dist-info').mkdir(parents=True)
    assert wanted() == (OWN, 'lite')
    (packages / 'mmcv-2.1.0.dist-info').mkdir()
    assert wanted() == (OWN, 'full')
    assert wanted('lite') == (OWN, 'lite')
    other = '3.12' if OWN == '3.11' else '3.11'
    monkeypatch.setattr(make_env, 'python_of', lambda folder: other)
    assert wanted()[0] == other
    assert wanted(keep=False)[0] == OWN
    for unsupported in (None, '3.9'):
        monkeypatch.setattr(make_env, 'python_of', lambda f, v=unsupported: v)
        assert wanted()[0] == OWN


def test_a_wheel_is_never_dropped_in_silence(repository: Path) -> None:
    wheel = repository / 'mmcv.whl'
    with pytest.raises(make_env.SetupError, match=r'mmcv\.whl.*no such file'):
        make_env.wanted_stamp(repository, 'full', True, str(wheel))
    wheel.touch()
    make_env.wanted_stamp(repository, 'full', True, str(wheel))
    with pytest.raises(make_env.SetupError, match='only used with MMCV=full'):
        make_env.wanted_stamp(repository, 'lite', True, str(wheel))


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What runs of make_env did; nothing is installed."""
    found: list[str] = []

    def create(self, reason: str) -> None:
        found.append(reason)
        create_venv(self.root)

    def install_all(self, mmcv: str, wheel: str) -> None:
        found.append(f'install {mmcv}')

    monkeypatch.setattr(make_env.Installer, 'create', create)
    monkeypatch.setattr(make_env.Installer, 'install_all', install_all)
    return found


def run(root: Path, mmcv: str | None = None) -> None:
    make_env.make_env(root, mmcv, keep_python=True, wheel='')


def test_runs_of_make_env(
    repository: Path, calls: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """A sound environment without a stamp is installed into, once."""
    run(repository)
    run(repository)
    assert calls == ['install lite']
    assert 'up to date' in capsys.readouterr().out
    run(repository, 'full')
    assert calls == ['install lite', 'install full']


REBUILT = 'an earlier run was killed'


@pytest.mark.parametrize('text', [make_env.UNFINISHED, '', '{"root":', '[]'])
def test_what_a_killed_run_left_is_made_anew(
    repository: Path, calls: list[str], text: str
) -> None:
    (repository / '.venv' / make_env.STAMP).write_text(text)
    run(repository)
    assert calls == [REBUILT, 'install lite']


def test_what_does_not_work_here_is_made_anew(
    repository: Path,
    calls: list[str],
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run(repository)
    moved = repository.rename(tmp_path_factory.mktemp('other') / 'place')
    run(moved)
    (moved / '.venv/bin/python').unlink()
    run(moved)
    monkeypatch.setattr(make_env, 'OWN', '3.12' if OWN == '3.11' else '3.11')
    make_env.make_env(moved, None, keep_python=False, wheel='')
    assert calls[1::2] == [
        f'it was made in {repository}',
        'there is none with a working Python and pip',
        f'it has Python {OWN}, not {make_env.OWN}',
    ]


@pytest.mark.parametrize(
    ('end', 'then'),
    [
        ('raise SystemExit(3)', []),  # by itself: pip has tidied up
        ('import os; os.kill(os.getpid(), 9)', [REBUILT]),
    ],
)
def test_a_failing_step_is_named(
    repository: Path,
    calls: list[str],
    monkeypatch: pytest.MonkeyPatch,
    end: str,
    then: list[str],
) -> None:
    """And it saw neither PYTHONPATH nor what was typed."""
    monkeypatch.setenv('PYTHONPATH', str(repository))
    code = (
        'import os, sys; assert "PYTHONPATH" not in os.environ; '
        f'assert not sys.stdin.read(); assert os.environ["A"] == "1"; {end}'
    )
    step = 'exit status 3' if not then else 'exit status -9'
    with monkeypatch.context() as patch:
        patch.setattr(
            make_env.Installer,
            'install_all',
            lambda self, mmcv, wheel: self.python('Try', '-c', code, A='1'),
        )
        words = rf"step 'Try' failed \({step}\)"
        with pytest.raises(make_env.SetupError, match=words):
            run(repository)
    run(repository)
    assert calls == [*then, 'install lite']


# The pins


def requirements(name: str) -> list[str]:
    text = (REQUIREMENTS / f'{name}.txt').read_text()
    return [k for k in text.splitlines() if k and not k.startswith('#')]


def pins(name: str) -> dict[str, str]:
    found = requirements(name)
    for line in found:
        assert PIN.fullmatch(line), f'{name}.txt: {line} is no exact pin'
    versions = (line.split('==') for line in found)
    return {canonicalize_name(name): version for name, version in versions}


def ranges(*names: str) -> dict[str, SpecifierSet]:
    found = [Requirement(line) for n in names for line in requirements(n)]
    asked = {canonicalize_name(each.name): each.specifier for each in found}
    assert len(asked) == len(found), 'a package is asked for twice'
    return asked


OF_THE_PACKAGE = ('runtime', 'export', 'tests', 'mmcv_lite')


def test_the_package_asks_for_ranges_that_hold_the_pins() -> None:
    """Exact pins would clash with every other project's."""
    constraints = pins('constraints')
    for name, specifier in ranges(*OF_THE_PACKAGE).items():
        assert constraints[name] in specifier, name
        assert not {'==', '~=', '==='} & {s.operator for s in specifier}, name
    needed = ranges('runtime', 'export', 'mmcv_lite')
    by_date = {'regex'}  # its versions are dates
    for name in needed.keys() - by_date:
        operators = {s.operator for s in needed[name]}
        assert operators == {'>=', '<'}, name


def test_the_environment_is_made_of_the_pins() -> None:
    constraints = pins('constraints')
    assert not {'mmcv', 'eavit-mm'} & constraints.keys()
    assert constraints['mmcv-lite'] == pins('mmcv_full').pop('mmcv')
    assert pins('mmcv_build').keys() >= {'setuptools', 'ninja'}
    if make_env.has_package(Path(sys.prefix), 'mmcv'):  # in place of mmcv-lite
        del constraints['mmcv-lite']
    found = {name: metadata.version(name) for name in constraints}
    assert found == constraints


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
    direct = ranges(*OF_THE_PACKAGE)
    pinned = pins('constraints').keys()
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
