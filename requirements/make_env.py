"""Creates ``.venv`` with the pinned stack and this project (``make env``).

``.venv`` is up to date when its stamp says what we would install now. The
stamp is set to "unfinished" before the first change and written last, so a
killed run leaves an environment that the next run builds anew. A step that
fails by itself (no network, say) removes the stamp and leaves what pip left;
the next run installs on top of it.

Only the standard library is used, and only syntax of Python 3.6: an old
Python shall say what is needed instead of a syntax error.
"""

import argparse
import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SUPPORTED = ('3.11', '3.12', '3.13')  # as python_requires in setup.py
OWN = '{}.{}'.format(*sys.version_info)
STAMP, LOCK, UNFINISHED = 'eavit_mm.json', 'eavit_mm.lock', 'unfinished'
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


def check_python(version: str, executable: str) -> None:
    """Accepts the Pythons of setup.py, given as '3.11'.

    Raises:
        SetupError: If the Python is too old or too new.
    """
    if version not in SUPPORTED:
        raise SetupError(
            f'found Python {version} ({executable}), but eavit_mm needs '
            f'Python {SUPPORTED[0]} to {SUPPORTED[-1]}: `make env '
            'PYTHON=python3.11`'
        )


def requirements_hash(root: Path) -> str:
    """SHA-256 of everything that says what to install."""
    digest = hashlib.sha256()
    files = set((root / 'requirements').glob('*.txt'))
    files.discard(root / 'requirements' / 'docs.txt')  # of .venv-docs
    for file in [*sorted(files), root / 'setup.py']:
        content = file.read_bytes()
        digest.update(f'{file.name} {len(content)}\n'.encode() + content)
    return digest.hexdigest()


def python_of(folder: Path) -> 'str | None':
    """Version ('3.11') of an environment; None without Python or pip."""
    code = 'import sys, pip; print("{}.{}".format(*sys.version_info))'
    command = [str(folder / 'bin' / 'python'), '-I', '-c', code]
    try:
        answer = subprocess.check_output(command, stderr=subprocess.DEVNULL)
    except (OSError, subprocess.CalledProcessError):
        return None
    return answer.decode().strip()


def has_package(folder: Path, distribution: str) -> bool:
    """Whether a distribution lies in the environment, sound or not."""
    name = distribution.replace('-', '_')
    pattern = f'lib/python3*/site-packages/{name}-*.dist-info'
    return any(folder.glob(pattern))


def wanted_stamp(
    root: Path, mmcv: 'str | None', keep_python: bool, wheel: str
) -> 'dict[str, str]':
    """What the stamp of the finished environment shall hold.

    The root is in it since a moved repository needs a new environment.
    ``mmcv`` is None for what is there, else lite; ``wheel`` is one of the
    full mmcv to take instead of a build, or ''.

    Raises:
        SetupError: If an option does not fit, or our own Python.
    """
    folder = root / '.venv'
    if not mmcv:
        mmcv = 'full' if has_package(folder, MMCV['full']) else 'lite'
    if wheel and mmcv != 'full':
        raise SetupError('MMCV_WHEEL is only used with MMCV=full')
    if wheel and not Path(wheel).is_file():
        raise SetupError(f'MMCV_WHEEL={wheel}: there is no such file')
    python = python_of(folder)
    if not (keep_python and python in SUPPORTED):
        python = OWN
        check_python(python, sys.executable)
    requirements = requirements_hash(root)
    return dict(
        root=str(root), python=python, mmcv=mmcv, requirements=requirements
    )


def rebuild_reason(
    folder: Path, stamp: 'str | None', goal: 'dict[str, str]'
) -> 'str | None':
    """Why the environment cannot be installed into, None if it can.

    No stamp says that a step failed by itself, or that somebody else made the
    environment: it is sound, but nothing is known about its contents.
    """
    current = python_of(folder)
    if current is None:
        return 'there is none with a working Python and pip'
    if current != goal['python']:
        return f'it has Python {current}, not {goal["python"]}'
    try:
        root = goal['root'] if stamp is None else json.loads(stamp)['root']
    except (ValueError, KeyError, TypeError):
        return 'an earlier run was killed'
    return None if root == goal['root'] else f'it was made in {root}'


class Installer:
    """Runs the steps inside one environment.

    Args:
        root: The repository.
        lock: Descriptor that pip inherits: a pip that outlives us keeps the
            next run waiting.
    """

    def __init__(self, root: Path, lock: int) -> None:
        self.root = root
        self.folder = root / '.venv'
        self.requirements = root / 'requirements'
        self.lock = lock
        self.started = time.monotonic()

    def announce(self, step: str) -> None:
        """Prints the line of a step and the time since the first."""
        say(f'==> [{time.monotonic() - self.started:4.0f} s] {step}')

    def python(self, step: str, *args: str, **variables: str) -> None:
        """Runs the environment's Python, its output streamed.

        Raises:
            SetupError: If the step fails; names it.
        """
        self.announce(step)
        environ = {**os.environ, 'PIP_USER': '0', **variables}
        for name in ('PYTHONPATH', 'PYTHONHOME'):  # they hide what is missing
            environ.pop(name, None)
        bin_folder = self.folder / 'bin'  # builds look for ninja there
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
            (self.folder / STAMP).unlink()
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

        Raises:
            SetupError: If this Python cannot make environments with pip.
        """
        self.announce(f'Create .venv anew, as {reason} (minutes, 6 GB)')
        for child in self.folder.iterdir():
            if child.is_dir() and not child.is_symlink():
                shutil.rmtree(child)
            elif child.name not in (STAMP, LOCK):
                child.unlink()
        try:
            venv.create(self.folder, symlinks=True, with_pip=True)
        except subprocess.CalledProcessError as error:
            raise SetupError(
                f'{sys.executable} cannot put pip into an environment (Debian '
                'and Ubuntu keep that in the package python3-venv, or '
                'python3.11-venv)'
            ) from error

    def build_mmcv(self) -> None:
        """Compiles mmcv with its ops, for the CPU unless FORCE_CUDA=1.

        With build isolation, or a wheel that pip cached from such a build,
        the ops would be missing without a word.
        """
        self.pip(  # not constrained: it needs another setuptools than we do
            'Install what builds mmcv',
            *('install', '-r', str(self.requirements / 'mmcv_build.txt')),
        )
        variables = {'MMCV_WITH_OPS': '1'}
        for name, value in (('FORCE_CUDA', '0'), ('MAX_JOBS', '2')):
            variables[name] = os.environ.get(name, value)
        if variables['FORCE_CUDA'] == '0':  # mmcv builds for any GPU it sees
            variables['CUDA_VISIBLE_DEVICES'] = ''
        self.pip(
            'Build mmcv with its ops (6 to 35 minutes on two cores)',
            *('-v', 'install', '--no-cache-dir', '--no-build-isolation'),
            *('--no-deps', '-r', str(self.requirements / 'mmcv_full.txt')),
            **variables,
        )
        self.install('Put the pinned setuptools back', 'runtime')

    def install_mmcv(self, mmcv: str, wheel: str) -> None:
        """Installs the mmcv of a mode; the other one makes room first."""
        (other,) = set(MMCV.values()) - {MMCV[mmcv]}
        if has_package(self.folder, other):  # what they share goes with it
            both = [n for n in MMCV.values() if has_package(self.folder, n)]
            self.pip(f'Remove {other}', 'uninstall', '-y', *both)
        if mmcv == 'lite':
            self.install('Install mmcv-lite', 'mmcv_lite')
        elif wheel:
            path = str(Path(wheel).resolve())
            self.pip(f'Install {wheel}', 'install', '--no-deps', path)
        elif not has_package(self.folder, MMCV['full']):
            self.build_mmcv()

    def install_all(self, mmcv: str, wheel: str) -> None:
        """Brings the environment to the pinned stack and checks it."""
        step = 'Install the pinned packages'
        self.install(step, 'runtime', 'export', 'tests')
        self.install_mmcv(mmcv, wheel)
        self.pip(
            'Install eavit_mm from this folder (editable)',
            *('install', '--no-build-isolation', '--no-deps'),
            *('-e', str(self.root)),
        )
        self.pip('Check that the packages fit together', 'check')
        self.python('Check that they can be imported', '-c', IMPORTS[mmcv])


def make_env(
    root: Path, mmcv: 'str | None', keep_python: bool, wheel: str
) -> None:
    """Makes ``.venv`` what it should be; see `wanted_stamp`.

    Raises:
        SetupError: If a step fails or an option does not fit.
    """
    folder = root / '.venv'
    path = folder / STAMP
    goal = wanted_stamp(root, mmcv, keep_python, wheel)
    folder.mkdir(exist_ok=True)
    with (folder / LOCK).open('w') as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say('another run is still at work in .venv: waiting for it')
            fcntl.flock(lock, fcntl.LOCK_EX)
        what = f'Python {goal["python"]}, {MMCV[goal["mmcv"]]}'
        stamp = path.read_text() if path.exists() else None
        reason = rebuild_reason(folder, stamp, goal)
        if stamp == json.dumps(goal) and not reason:
            say(f'.venv is up to date ({what})')
            return
        say(f'making .venv ({what})')
        installer = Installer(root, lock.fileno())
        path.write_text(UNFINISHED)
        if reason:  # by our own Python, whichever was to be kept
            check_python(OWN, sys.executable)
            goal['python'] = OWN
            installer.create(reason)
        installer.install_all(goal['mmcv'], wheel)
        new = folder / f'{STAMP}.new'
        new.write_text(json.dumps(goal))
        new.replace(path)
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
    args = parser.parse_args()
    wheel = os.environ.get('MMCV_WHEEL', '')
    try:
        make_env(ROOT, args.mmcv, args.keep_python, wheel)
    except (SetupError, OSError) as error:
        sys.stderr.write(f'make env: {error}\n')
        return 1
    except KeyboardInterrupt:
        sys.stderr.write('make env: interrupted; the next run starts anew\n')
        return 130
    return 0


if __name__ == '__main__':
    sys.exit(main())
