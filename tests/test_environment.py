"""The environment: requirements/make_env.py and the pins."""

import ast
import importlib.util
import re
import shutil
import subprocess
import sys
import venv
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
REQUIREMENTS = ROOT / 'requirements'
PIN = re.compile(r'[A-Za-z0-9][\w.-]*==\d[\w.]*')
OWN = '{}.{}'.format(*sys.version_info)
OTHER = '3.12' if OWN == '3.11' else '3.11'

# A Python of an environment: it tells its version, notes what else it is
# asked to do, and does not do it.
PYTHON = f"""#!/bin/sh
case "$*" in *version_info*) exec {sys.executable} "$@";; esac
echo "$*" >> "$0.log"
if [ -f "$0.fails" ]; then eval "$(cat "$0.fails")"; fi
"""


class Repository:
    """Looks like ours; `run` runs its `make env`, which installs nothing."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.python = root / '.venv/bin/python'
        self.packages = root / '.venv/lib/python3.11/site-packages'

    def create_venv(self) -> None:
        self.python.parent.mkdir(parents=True)
        self.python.write_text(PYTHON)
        self.python.chmod(0o755)

    def fail(self, how: str) -> None:
        self.python.with_name('python.fails').write_text(how)

    def run(
        self,
        mmcv: str = '',
        wheel: str = '',
        keep_python: bool = True,
        **constants: str,
    ) -> list[str]:
        """What was done: 'anew', then the commands of the environment."""
        path = self.root / 'requirements/make_env.py'
        spec = importlib.util.spec_from_file_location('make_env', path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        done = []

        def create(folder: Path, **options: bool) -> None:
            done.append('anew')
            self.create_venv()

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(venv, 'create', create)
            for name, value in constants.items():
                patch.setattr(module, name, value)
            log = self.python.with_name('python.log')
            log.unlink(missing_ok=True)
            module.make_env(mmcv, wheel, keep_python)
        if log.exists():
            lines = log.read_text().splitlines()
            done += [k.removeprefix('-I -m pip ') for k in lines]
        return done


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    ignore = shutil.ignore_patterns('__pycache__')
    shutil.copytree(REQUIREMENTS, tmp_path / 'requirements', ignore=ignore)
    (tmp_path / 'setup.py').write_text('setup()\n')
    return Repository(tmp_path)


INSTALL = 'install -c requirements/constraints.txt -e .[{}export,tests]'
LITE, FULL = INSTALL.format('lite,'), INSTALL.format('')
CHECKS = [
    'check',
    '-I -c import eavit_mm, mmpretrain.models, mmseg.models',
]


def test_a_wrong_python_is_named(repository: Repository) -> None:
    # By any Python, which must be able to read the script.
    text = (REQUIREMENTS / 'make_env.py').read_text()
    ast.parse(text, feature_version=(3, 6))
    assert "python_requires='>=3.11,<3.14'" in (ROOT / 'setup.py').read_text()
    for version in ('3.10', '3.14', '2.7'):
        words = (
            rf'found Python {version} \(.*\).* needs Python 3\.11 to 3\.13: '
            r'`make env PYTHON=python3\.11'
        )
        with pytest.raises(SystemExit, match=words):
            repository.run(OWN=version)
    assert not (repository.root / '.venv').exists()


def test_the_first_run_installs_and_the_next_does_nothing(
    repository: Repository, capsys: pytest.CaptureFixture[str]
) -> None:
    assert repository.run() == ['anew', LITE, *CHECKS]
    assert repository.run() == []
    assert 'up to date' in capsys.readouterr().out
    for file in ('requirements/runtime.txt', 'setup.py'):
        with (repository.root / file).open('a') as stream:
            stream.write('# changed\n')
        assert repository.run() == [LITE, *CHECKS]
        assert repository.run() == []


def test_an_environment_of_somebody_else_is_installed_into(
    repository: Repository,
) -> None:
    repository.create_venv()
    assert repository.run() == [LITE, *CHECKS]


def test_mmcv_is_kept_and_changed(repository: Repository) -> None:
    """With the full one, whose build takes half an hour, it is kept."""
    repository.run()
    lite = repository.packages / 'mmcv_lite-2.1.0.dist-info'
    lite.mkdir(parents=True)
    assert repository.run() == []
    done = repository.run('full')
    assert done[:3] == [
        'uninstall -y mmcv mmcv-lite',
        FULL,
        'install -r requirements/mmcv_build.txt',
    ]
    assert '--no-cache-dir --no-build-isolation --no-deps' in done[3]
    assert done[4:] == [FULL, CHECKS[0], done[-1]]
    assert 'import mmcv.ops; import eavit_mm' in done[-1]
    lite.rename(repository.packages / 'mmcv-2.1.0.dist-info')
    assert repository.run() == []
    (repository.root / 'setup.py').write_text('changed')
    assert repository.run() == [FULL, *done[-2:]]
    assert repository.run('lite') == [
        'uninstall -y mmcv mmcv-lite',
        LITE,
        *CHECKS,
    ]


def test_a_wheel_takes_the_place_of_the_build(repository: Repository) -> None:
    with pytest.raises(SystemExit, match='only used with MMCV=full'):
        repository.run('', 'mmcv.whl')
    wheel = str(repository.root / 'mmcv.whl')
    done = repository.run('full', wheel)
    assert done[1:3] == [FULL, f'install --no-deps {wheel}']
    assert len(done) == 5


@pytest.mark.parametrize(
    ('option', 'words'),
    [
        ('MMCV=best', 'MMCV=best is neither lite nor full'),
        ('MMCV_WHEEL=a.whl', 'MMCV_WHEEL=a.whl: there is no such file'),
    ],
)
def test_a_wrong_option_is_named(option: str, words: str) -> None:
    command = ['env', option, sys.executable, REQUIREMENTS / 'make_env.py']
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stderr == f'make env: {words}\n'
    assert done.returncode == 1


def test_the_python_of_the_environment_is_kept(repository: Repository) -> None:
    repository.run()
    assert repository.run(OWN=OTHER) == []
    assert repository.run(OWN='3.10') == []
    assert repository.run(OWN=OTHER, keep_python=False)[0] == 'anew'


def test_what_does_not_work_here_is_made_anew(
    repository: Repository, tmp_path_factory: pytest.TempPathFactory
) -> None:
    repository.run()
    place = tmp_path_factory.mktemp('other') / 'place'
    moved = Repository(repository.root.rename(place))
    assert moved.run() == ['anew', LITE, *CHECKS]
    moved.python.unlink()
    assert moved.run() == ['anew', LITE, *CHECKS]


def test_after_a_failing_step_it_is_installed_into(
    repository: Repository,
) -> None:
    """And after a killed one made anew: pip has not tidied up."""
    repository.create_venv()
    for how, status, anew in [
        ('exit 3', '3', []),
        ('kill -9 $$', '-9', ['anew']),
    ]:
        repository.fail(how)
        words = rf'last step failed \(exit status {status}\)'
        with pytest.raises(SystemExit, match=words):
            repository.run()
        repository.fail('')
        assert repository.run() == [*anew, LITE, *CHECKS]
        (repository.root / 'setup.py').write_text('changed')


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
    assert all(name.startswith('onedl-mm') for name in pins('onedl'))
    assert pins('mmcv_build').keys() >= {'setuptools', 'ninja'}
    if not list(metadata.Distribution.discover(name='mmcv-lite')):
        del constraints['mmcv-lite']  # the full mmcv takes its place
        assert metadata.version('mmcv')
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
