"""Creates ``.venv`` with the pinned stack and this project (``make env``).

Only the standard library is used. ``.venv`` counts as up to date when its
stamp says what we would install now. The stamp is set to "unfinished" before
the first change and written last, so a killed run leaves an environment that
the next run builds anew. A step that fails by itself (no network, say) leaves
what pip left, and the next run installs on top of it.

Everything that runs before the version check is kept readable for old
Pythons, which shall be told what is needed instead of a syntax error.
"""

import argparse
import contextlib
import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SUPPORTED = ((3, 11), (3, 12))  # as python_requires in setup.py
STAMP = 'eavit_mm.json'
LOCK = 'eavit_mm.lock'
UNFINISHED = 'unfinished'
# The distribution that each mode installs; the two share their files.
MMCV = {'lite': 'mmcv-lite', 'full': 'mmcv'}
HOSTS = 'eavit_mm, mmpretrain.models, mmseg.models'
# Without the compiled ops `import mmcv.ops` fails before eavit_mm is there.
IMPORTS = {'lite': f'import {HOSTS}', 'full': f'import mmcv.ops, {HOSTS}'}


class SetupError(Exception):
    """What a user has to know when ``.venv`` could not be made."""


def say(line: str) -> None:
    """Prints a line at once, in order with the output of pip."""
    print(line, flush=True)  # noqa: T201


def check_python(version: 'tuple[int, ...]', executable: str) -> None:
    """Accepts the Pythons of setup.py.

    Raises:
        SetupError: If the Python is too old or too new.
    """
    if tuple(version[:2]) in SUPPORTED:
        return
    found = '.'.join(str(part) for part in version[:3])
    needed = ' or '.join('{}.{}'.format(*pair) for pair in SUPPORTED)
    raise SetupError(
        f'found Python {found} ({executable}), but eavit_mm needs Python '
        f'{needed}: `make env PYTHON=python3.11`'
    )


def requirements_hash(root: Path) -> str:
    """SHA-256 of everything that says what to install."""
    digest = hashlib.sha256()
    files = sorted((root / 'requirements').glob('*.txt'))
    for file in [*files, root / 'setup.py']:
        content = file.read_bytes()
        digest.update(f'{file.name} {len(content)}\n'.encode() + content)
    return digest.hexdigest()


def make_stamp(root: Path, python: str, mmcv: str) -> 'dict[str, str]':
    """What the stamp of an environment of today holds.

    Args:
        root: The repository; a moved one needs a new environment.
        python: Version of the environment's Python, such as '3.11'.
        mmcv: 'lite' or 'full'.
    """
    return {
        'root': str(root),
        'python': python,
        'mmcv': mmcv,
        'requirements': requirements_hash(root),
    }


def read_stamp(venv: Path) -> 'dict[str, str] | None':
    """The stamp; empty if the last run was killed, None if there is none.

    No stamp means a step failed by itself, or somebody else made the
    environment: it is sound, but nothing is known about its contents.
    """
    try:
        stamp = json.loads((venv / STAMP).read_text())
    except FileNotFoundError:
        return None
    except ValueError:
        return {}
    return stamp if isinstance(stamp, dict) else {}


def write_stamp(venv: Path, text: str) -> None:
    """Replaces the stamp in one step."""
    new = venv / f'{STAMP}.new'
    new.write_text(text)
    new.replace(venv / STAMP)


def venv_python(venv: Path) -> 'str | None':
    """Version ('3.11') of the environment; None without Python or pip."""
    code = 'import sys, pip; print("{}.{}".format(*sys.version_info))'
    command = [str(venv / 'bin' / 'python'), '-I', '-c', code]
    try:
        answer = subprocess.check_output(command, stderr=subprocess.DEVNULL)
    except (OSError, subprocess.CalledProcessError):
        return None
    return answer.decode().strip()


def has_package(venv: Path, distribution: str) -> bool:
    """Whether a distribution lies in the environment, sound or not."""
    name = distribution.replace('-', '_')
    pattern = f'lib/python3*/site-packages/{name}-*.dist-info'
    return any(venv.glob(pattern))


def wanted_python(current: 'str | None', keep: bool) -> str:
    """The version to use: that of ``.venv`` to keep it, else our own.

    Raises:
        SetupError: If it would be our own and is not supported.
    """
    if keep and current in ['{}.{}'.format(*pair) for pair in SUPPORTED]:
        return current
    check_python(sys.version_info[:3], sys.executable)
    return '{}.{}'.format(*sys.version_info)


def wanted_mmcv(venv: Path, asked: 'str | None') -> str:
    """'lite' or 'full': what was asked for, else what ``.venv`` has."""
    if asked:
        return asked
    return 'full' if has_package(venv, MMCV['full']) else 'lite'


def wanted_wheel(path: str, mmcv: str) -> 'Path | None':
    """The ready-made wheel to take instead of building mmcv, if any.

    Raises:
        SetupError: If it would be ignored, or is not there.
    """
    if not path:
        return None
    if mmcv != 'full':
        raise SetupError('MMCV_WHEEL is only used with MMCV=full')
    wheel = Path(path).resolve()
    if not wheel.is_file():
        raise SetupError(f'MMCV_WHEEL={path}: there is no such file')
    return wheel


def is_up_to_date(venv: Path, goal: 'dict[str, str]') -> bool:
    """Whether the stamp is the wanted one and the Python still works."""
    return read_stamp(venv) == goal and venv_python(venv) == goal['python']


def rebuild_reason(venv: Path, goal: 'dict[str, str]') -> 'str | None':
    """Why the environment cannot be installed into, None if it can."""
    stamp, current = read_stamp(venv), venv_python(venv)
    if not (venv / 'bin').exists():
        return 'there is none'
    if current is None:
        return 'it has no working Python with pip'
    if current != goal['python']:
        return f'it has Python {current}, not {goal["python"]}'
    if stamp is not None and 'root' not in stamp:
        return 'an earlier run was killed'
    if stamp and stamp['root'] != goal['root']:
        return f'it was made in {stamp["root"]}'
    return None


class Installer:
    """Runs the steps inside one environment.

    Args:
        root: The repository.
        lock: Descriptor that pip inherits: a pip that outlives us keeps the
            next run waiting.
    """

    def __init__(self, root: Path, lock: int) -> None:
        self.root = root
        self.venv = root / '.venv'
        self.requirements = root / 'requirements'
        self.lock = lock
        self.started = time.monotonic()

    def announce(self, step: str) -> None:
        """Prints the line of a step."""
        seconds = time.monotonic() - self.started
        say(f'==> [{seconds:4.0f} s] {step}')

    def python(self, step: str, *args: str, **variables: str) -> None:
        """Runs the environment's Python, its output streamed.

        Args:
            step: What the step does, for the log and the error message.
            args: Arguments of Python.
            variables: Added to the environment variables.

        Raises:
            SetupError: If the step fails.
        """
        self.announce(step)
        environ = {**os.environ, 'PIP_USER': '0', **variables}
        for name in ('PYTHONPATH', 'PYTHONHOME'):  # they hide what is missing
            environ.pop(name, None)
        # Builds look for ninja there.
        bin_folder = self.venv / 'bin'
        environ['PATH'] = f'{bin_folder}{os.pathsep}{environ["PATH"]}'
        status = subprocess.run(
            [str(bin_folder / 'python'), '-I', *args],
            check=False,
            cwd=self.root,
            env=environ,
            stdin=subprocess.DEVNULL,
            pass_fds=(self.lock,),
        ).returncode
        if status == 0:
            return
        if status > 0:  # it ended by itself, so pip has tidied up
            (self.venv / STAMP).unlink()
        raise SetupError(
            f"the step '{step}' failed (exit status {status}); the lines "
            'above say why. Run `make env` again once that is mended; if '
            'nothing helps, delete .venv first'
        )

    def pip(self, step: str, *args: str, **variables: str) -> None:
        """Runs pip in the environment."""
        options = ('--disable-pip-version-check', '--no-input')
        self.python(step, '-m', 'pip', *options, *args, **variables)

    def install(self, step: str, *names: str) -> None:
        """Installs requirements/<name>.txt for each name, constrained."""
        args = ['-c', str(self.requirements / 'constraints.txt')]
        for name in names:
            args += ['-r', str(self.requirements / f'{name}.txt')]
        self.pip(step, 'install', *args)

    def create(self, reason: str) -> None:
        """Makes the bare environment in an emptied folder.

        Args:
            reason: Why the folder as it is will not do, for the log.

        Raises:
            SetupError: If this Python cannot make environments with pip.
        """
        import venv

        step = 'Create .venv'
        self.announce(f'{step} anew, as {reason} (minutes, 6 GB in all)')
        for child in self.venv.iterdir():
            if child.name in (STAMP, LOCK):
                continue
            if child.is_dir() and not child.is_symlink():
                shutil.rmtree(child)
            else:
                child.unlink()
        try:
            venv.create(self.venv, symlinks=True, with_pip=True)
        except subprocess.CalledProcessError as error:
            raise SetupError(
                f"the step '{step}' failed: {sys.executable} cannot put pip "
                'into an environment (Debian and Ubuntu keep that in the '
                'package python3-venv, or python3.11-venv)'
            ) from error

    def build_mmcv(self) -> None:
        """Compiles mmcv with its ops, for the CPU unless FORCE_CUDA=1.

        With build isolation, or a wheel that pip cached from such a build,
        the ops would be missing without a word.
        """
        self.install('Install what builds mmcv', 'mmcv_build')
        cuda = os.environ.get('FORCE_CUDA', '0')
        variables = {
            'MMCV_WITH_OPS': '1',
            'FORCE_CUDA': cuda,
            'MAX_JOBS': os.environ.get('MAX_JOBS', '2'),
        }
        if cuda == '0':  # mmcv builds for any GPU that it sees
            variables['CUDA_VISIBLE_DEVICES'] = ''
        self.pip(
            'Build mmcv with its ops (6 to 35 minutes on two cores)',
            *('-v', 'install', '--no-cache-dir', '--no-build-isolation'),
            *('--no-deps', '-r', str(self.requirements / 'mmcv_full.txt')),
            **variables,
        )
        self.install('Put the pinned setuptools back', 'runtime')

    def install_mmcv(self, mmcv: str, wheel: 'Path | None') -> None:
        """Installs the mmcv of a mode; the other one makes room first."""
        (other,) = set(MMCV.values()) - {MMCV[mmcv]}
        if has_package(self.venv, other):  # what they share goes with it
            both = [n for n in MMCV.values() if has_package(self.venv, n)]
            self.pip(f'Remove {other}', 'uninstall', '-y', *both)
        if mmcv == 'lite':
            self.install('Install mmcv-lite', 'mmcv_lite')
        elif wheel:
            step = f'Install {wheel.name}'
            self.pip(step, 'install', '--no-deps', str(wheel))
        elif not has_package(self.venv, MMCV['full']):
            self.build_mmcv()

    def install_all(self, mmcv: str, wheel: 'Path | None') -> None:
        """Brings the environment to the pinned stack and checks it."""
        self.install(
            'Install the pinned packages', 'runtime', 'export', 'tests'
        )
        self.install_mmcv(mmcv, wheel)
        self.pip(
            'Install eavit_mm from this folder (editable)',
            *('install', '--no-build-isolation', '--no-deps'),
            *('-e', str(self.root)),
        )
        self.pip('Check that the packages fit together', 'check')
        self.python('Check that they can be imported', '-c', IMPORTS[mmcv])


@contextlib.contextmanager
def locked(venv: Path) -> 'Iterator[int]':
    """Keeps a second run out of the folder; yields the lock's descriptor."""
    import fcntl

    with (venv / LOCK).open('w') as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say('another run is still at work in .venv: waiting for it')
            fcntl.flock(file, fcntl.LOCK_EX)
        yield file.fileno()


def make_env(mmcv: 'str | None', keep: bool, wheel_path: str) -> None:
    """Makes ``.venv`` what it should be; does nothing if it already is.

    Args:
        mmcv: 'lite', 'full', or None for what ``.venv`` has, else lite.
        keep: Keep the Python of ``.venv`` rather than take our own.
        wheel_path: Wheel of the full mmcv, or ''.

    Raises:
        SetupError: If a step fails or an option does not fit.
    """
    venv = ROOT / '.venv'
    mmcv = wanted_mmcv(venv, mmcv)
    wheel = wanted_wheel(wheel_path, mmcv)
    python = wanted_python(venv_python(venv), keep)
    goal = make_stamp(ROOT, python, mmcv)
    if is_up_to_date(venv, goal):
        say(f'.venv is up to date (Python {python}, {MMCV[mmcv]})')
        return
    venv.mkdir(exist_ok=True)
    with locked(venv) as lock:
        if is_up_to_date(venv, goal):  # the run that we waited for made it
            return
        reason = rebuild_reason(venv, goal)
        if reason:  # by our own Python, whichever was to be kept
            goal['python'] = wanted_python(None, keep=False)
        write_stamp(venv, UNFINISHED)
        installer = Installer(ROOT, lock)
        say(f'making .venv (Python {goal["python"]}, {MMCV[mmcv]})')
        if reason:
            installer.create(reason)
        installer.install_all(mmcv, wheel)
        write_stamp(venv, json.dumps(goal, indent=2) + '\n')
        installer.announce('Done: .venv is up to date')


def main() -> int:
    """Reads the options; returns the exit status."""
    parser = argparse.ArgumentParser(description='Creates .venv (make env).')
    parser.add_argument(
        '--mmcv',
        choices=sorted(MMCV),
        help='mmcv-lite, or the full mmcv with its ops built from source; '
        'default: what .venv has, lite for a new one',
    )
    parser.add_argument(
        '--keep-python',
        action='store_true',
        help='keep the Python of an existing .venv instead of this one',
    )
    parser.add_argument(
        '--mmcv-wheel',
        default=os.environ.get('MMCV_WHEEL', ''),
        metavar='FILE',
        help='install this wheel of the full mmcv instead of building it; '
        'default: the environment variable MMCV_WHEEL',
    )
    args = parser.parse_args()
    try:
        make_env(args.mmcv, args.keep_python, args.mmcv_wheel)
    except (SetupError, OSError) as error:
        sys.stderr.write(f'make env: {error}\n')
        return 1
    except KeyboardInterrupt:
        sys.stderr.write('make env: interrupted; the next run starts anew\n')
        return 130
    return 0


if __name__ == '__main__':
    sys.exit(main())
