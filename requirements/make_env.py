"""Makes ``.venv``: this project and the pinned stack (``make env``).

All installing is pip's, with constraints.txt. Not uv's: it reads neither the
files nor the variables that tell pip where packages are to be had, and its
lock file names that place.

The stamp says what was installed. It is empty from the first change on and
written last: after a killed run everything is made anew. A step that fails by
itself removes it, and what pip left is installed into, as is what others made.

Only syntax of Python 3.6: an old one shall be told what is needed.
"""

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / '.venv'
STAMP = FOLDER / 'eavit_mm.json'
SUPPORTED = ('3.11', '3.12', '3.13')  # as python_requires in setup.py
OWN = '{}.{}'.format(*sys.version_info)


def say(line: str) -> None:
    """Prints a line at once, in order with the output of pip."""
    print(f'==> {line}', flush=True)  # noqa: T201


def python_of_folder() -> 'str | None':
    """Version ('3.11') of its Python; None if that or pip does not work."""
    code = 'import sys, pip; print("{}.{}".format(*sys.version_info))'
    command = [str(FOLDER / 'bin' / 'python'), '-I', '-c', code]
    try:
        answer = subprocess.check_output(command, stderr=subprocess.DEVNULL)
    except (OSError, subprocess.CalledProcessError):
        return None
    return answer.decode().strip()


def has(name: str) -> bool:
    """Whether a distribution lies in the environment, sound or not."""
    return any(FOLDER.glob(f'lib/python3*/site-packages/{name}-*.dist-info'))


def run(*args: str) -> None:
    """Runs the Python of the environment; a failure ends everything."""
    say(f'.venv/bin/python {" ".join(args)}')
    # What builds mmcv: with its ops, for the CPU unless FORCE_CUDA=1.
    environ = {'FORCE_CUDA': '0', 'MAX_JOBS': '2', **os.environ}
    environ.update(MMCV_WITH_OPS='1', PIP_USER='0')
    environ['PATH'] = f'{FOLDER}/bin{os.pathsep}{environ["PATH"]}'  # ninja
    if environ['FORCE_CUDA'] == '0':  # mmcv builds for any GPU it sees
        environ['CUDA_VISIBLE_DEVICES'] = ''
    command = [str(FOLDER / 'bin' / 'python'), '-I', *args]
    status = subprocess.call(command, cwd=ROOT, env=environ)
    if status > 0:  # it ended by itself, so pip has tidied up
        STAMP.unlink()
    if status:
        sys.exit(
            f'make env: the last step failed (exit status {status}); the '
            'lines above say why. Run `make env` again once that is mended; '
            'if nothing helps, delete .venv first'
        )


def install(mmcv: str, wheel: str) -> None:
    """Installs everything and checks it; the two mmcv share their files."""
    pip = ('-m', 'pip')
    extras = 'lite,export,tests' if mmcv == 'lite' else 'export,tests'
    pinned = ('-c', 'requirements/constraints.txt', '-e', f'.[{extras}]')
    if has('mmcv' if mmcv == 'lite' else 'mmcv_lite'):
        run(*pip, 'uninstall', '-y', 'mmcv', 'mmcv-lite')
    run(*pip, 'install', *pinned)
    if wheel:
        run(*pip, 'install', '--no-deps', str(Path(wheel).resolve()))
    elif mmcv == 'full' and not has('mmcv'):
        say('Building mmcv takes 6 to 35 minutes on two cores')
        run(*pip, 'install', '-r', 'requirements/mmcv_build.txt')
        # With build isolation, or a wheel that pip cached from such a build,
        # the ops would be missing without a word.
        alone = ('--no-cache-dir', '--no-build-isolation', '--no-deps')
        run(*pip, '-v', 'install', *alone, '-r', 'requirements/mmcv_full.txt')
        run(*pip, 'install', *pinned)  # puts the pinned setuptools back
    run(*pip, 'check')
    # Without the ops `import mmcv.ops` fails before eavit_mm is there.
    first = 'import mmcv.ops; ' if mmcv == 'full' else ''
    run('-c', f'{first}import eavit_mm, mmpretrain.models, mmseg.models')


def make_env(mmcv: str, wheel: str, keep_python: bool) -> None:
    """Makes it what it should be; `mmcv` may be '': what it has, or lite."""
    try:
        stamp = json.loads(STAMP.read_text())
    except FileNotFoundError:
        stamp = dict(root=str(ROOT))
    except ValueError:  # an earlier run was killed
        stamp = {}
    python = python_of_folder()
    keep = python in SUPPORTED and (keep_python or python == OWN)
    keep = keep and stamp.get('root') == str(ROOT)  # else it was moved here
    python = python if keep else OWN
    if python not in SUPPORTED:
        sys.exit(
            f'make env: found Python {python} ({sys.executable}), but '
            f'eavit_mm needs Python {SUPPORTED[0]} to {SUPPORTED[-1]}: '
            '`make env PYTHON=python3.11`'
        )
    mmcv = mmcv or ('full' if has('mmcv') else 'lite')
    if wheel and mmcv != 'full':
        sys.exit('make env: MMCV_WHEEL is only used with MMCV=full')
    files = [*sorted(ROOT.glob('requirements/*.txt')), ROOT / 'setup.py']
    wanted = b'\n'.join(file.read_bytes() for file in files)
    goal = dict(root=str(ROOT), python=python, mmcv=mmcv)
    goal['requirements'] = hashlib.sha256(wanted).hexdigest()
    what = f'.venv (Python {python}, mmcv {mmcv})'
    if keep and stamp == goal:
        say(f'{what} is up to date')
        return
    if keep:
        say(f'{what} is brought up to date')
    else:
        say(f'{what} is made anew: minutes, 6 GB')
        place = FOLDER.resolve()  # it may be a link
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(parents=True)
    STAMP.write_text('')
    if not keep:
        venv.create(FOLDER, symlinks=True, with_pip=True)
    install(mmcv, wheel)
    STAMP.write_text(json.dumps(goal))
    say(f'{what} is ready')


if __name__ == '__main__':
    options = [os.environ.get(k, '') for k in ('MMCV', 'MMCV_WHEEL')]
    if options[0] not in ('', 'lite', 'full'):
        sys.exit(f'make env: MMCV={options[0]} is neither lite nor full')
    if options[1] and not Path(options[1]).is_file():
        sys.exit(f'make env: MMCV_WHEEL={options[1]}: there is no such file')
    try:
        with Path(__file__).open('a') as lock:  # one run at a time
            fcntl.flock(lock, fcntl.LOCK_EX)
            make_env(*options, keep_python=not os.environ.get('PYTHON'))
    except (OSError, subprocess.SubprocessError) as error:
        sys.exit(f'make env: {error}')
    except KeyboardInterrupt:
        sys.exit('make env: interrupted')
