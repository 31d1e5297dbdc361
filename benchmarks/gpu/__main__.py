"""Measures on a GPU all that is worth a number, in minutes, unattended."""

import argparse
import ctypes
import hashlib
import os
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from importlib import import_module
from pathlib import Path

import torch

from benchmarks.gpu.page import page
from benchmarks.gpu.parts import PARTS, Part
from benchmarks.gpu.record import DONE, FAILED, LATE, RUNNING, Record
from benchmarks.gpu.run import NO_COMPILER, Run, has_c_compiler
from benchmarks.pages import FOLDER, ROOT, commit, measurements, publish
from eavit_mm.analysis.latency import device_name
from eavit_mm.files import write_atomically, write_json

# Less is not worth a start.
_LEAST_SECONDS = 20
# A CPU, where the bench is only tried, may be shared: so many times as long.
_CPU_PATIENCE = 3
# A driver can hold a process back for ever, even from SIGKILL.
_DRIVER_SECONDS = 10
_PR_SET_PDEATHSIG = 1
_prctl = ctypes.CDLL(None).prctl


def run_parts(
    parts: Sequence[Part],
    record: Record,
    limit: float,
    device: str,
    quick: bool,
    again: bool = False,
) -> bool:
    """Runs the parts that are not done, while there is time.

    Returns:
        Whether all are done.
    """
    end = time.monotonic() + limit
    for part in parts:
        left = end - time.monotonic()
        if record.part(part.name).get('state') == DONE and not again:
            print(f'{part.name}: done earlier')
        elif left < min(_LEAST_SECONDS, limit / 2):
            print(f'{part.name}: no time is left')
        else:
            most = part.seconds * (_CPU_PATIENCE if device == 'cpu' else 1)
            run_part(part, record, min(most, left), device, quick, again)
            text = page([record.read()])
            write_atomically(text.encode(), record.path.with_suffix('.md'))
    found = [record.part(part.name).get('state') for part in parts]
    return set(found) == {DONE}


def run_part(
    part: Part,
    record: Record,
    limit: float,
    device: str,
    quick: bool,
    again: bool,
) -> None:
    """Runs a part in a process of its own, anew if it dies and can go on."""
    start = time.monotonic()
    # Those of a part that does not resume stay until there are new ones.
    rows = [] if again else record.part(part.name).get('rows', [])
    code = record.read().get('commit')
    record.update(part.name, state=RUNNING, rows=rows, error='', commit=code)
    while True:
        left = max(limit - (time.monotonic() - start), 0)
        ended = _process(part, record, left, device, quick)
        found = record.part(part.name)
        if found['state'] != RUNNING:
            break
        if not ended:
            words = f'stopped after {limit:.0f} s'
            record.update(part.name, state=LATE, error=words)
            break
        if not part.resumes or len(found['rows']) == len(rows):
            record.update(part.name, state=FAILED, error=ended)
            break
        rows = found['rows']
    spent = round(time.monotonic() - start, 1)
    record.update(part.name, seconds=spent)
    found = record.part(part.name)
    print(f'{part.name}: {found["state"]}, {spent} s {found["error"]}')


def _process(
    part: Part, record: Record, limit: float, device: str, quick: bool
) -> str:
    """Runs a part's process; how it ended, empty if it had to be stopped."""
    command = [sys.executable, '-W', 'ignore', '-m', 'benchmarks.gpu']
    command += ['--part', part.name, part.run, '--device', device]
    command += ['--out', str(record.path.parent), *['--quick'] * quick]
    command += ['--resume'] * part.resumes
    env = {**os.environ, 'PYTHONUNBUFFERED': '1'}
    if device == 'cpu':  # also for what chooses a device for itself
        env.update(CUDA_VISIBLE_DEVICES='', OMP_NUM_THREADS='1')
    with record.path.with_suffix('.log').open('ab') as log:
        log.write(f'\n### {part.name}\n'.encode())
        log.flush()
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            preexec_fn=partial(_end_with, os.getpid()),
        )
        try:
            status = process.wait(limit)
        except subprocess.TimeoutExpired:
            return ''
        finally:  # with all that it has started
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            with suppress(subprocess.TimeoutExpired):
                process.wait(_DRIVER_SECONDS)
    return f'its process ended with {status}'


def _end_with(parent: int) -> None:
    """Ends this process with its parent, from before its program begins."""
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it has ended already
        os._exit(1)


def be_part(name: str, target: str, args: argparse.Namespace) -> None:
    """The process of a part."""
    record = Record(args.out)
    try:
        module, _, function = target.partition(':')
        part = getattr(import_module(module), function)
        describe(record, args.device)
        run = Run(
            args.device,
            args.quick,
            record.part(name)['rows'] if args.resume else [],
            lambda rows: record.update(name, rows=rows),
        )
        part(run)
    except Exception as error:
        traceback.print_exc()
        lines = traceback.format_exception_only(error)[-1].splitlines()
        record.update(name, state=FAILED, error=lines[0][:300])
    else:
        record.update(name, state=DONE)
    # The end of an interpreter can hang in a driver.
    sys.stdout.flush(), sys.stderr.flush()
    os._exit(0)


def describe(record: Record, device: str) -> None:
    """Notes what a part runs on."""
    record.note(
        name=device_name(torch.device(device)),
        torch=torch.__version__,
        cores=len(os.sched_getaffinity(0)),
    )


def contents() -> str:
    """What names the code where git is not: a hash of its files."""
    folders = (ROOT / 'eavit_mm', ROOT / 'benchmarks', ROOT / 'tests')
    paths = sorted(path for f in folders for path in f.rglob('*.py'))
    found = hashlib.sha256(b''.join(path.read_bytes() for path in paths))
    return f'unknown, files {found.hexdigest()[:10]}'


def check_same_run(record: Record, args: argparse.Namespace) -> None:
    """Raises if the folder holds another run than the one asked for."""
    head = dict(
        commit=args.commit or commit() or contents(),
        device=args.device,
        quick=args.quick,
        name=device_name(torch.device(args.device)),
    )
    found = record.read()
    for key, value in head.items():
        if not args.again and found.get(key, value) != value:
            raise SystemExit(
                f'error: --out {args.out}: was measured with {key} '
                f'{found[key]!r}, not {value!r}; use another folder, or '
                '--again'
            )
    write_json({**found, **head}, record.path)


def publish_run(folder: Path) -> None:
    """Makes the page of docs/benchmark of what was measured.

    Raises:
        SystemExit: If it was not measured on a GPU.
    """
    result = Record(folder).read()
    if result.get('device') != 'cuda' or result['quick']:
        raise SystemExit(f'error: --publish {folder}: not measured on a GPU')
    name = ''.join(c if c.isalnum() else '_' for c in result['name'])
    write_json(result, FOLDER / f'gpu_{name}.json')
    publish(page(measurements(FOLDER, 'gpu')), FOLDER / 'gpu.md')


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    names = [part.name for part in PARTS]
    parser.add_argument('--out', type=Path, help='folder of the results')
    parser.add_argument('--device', choices=('cuda', 'cpu'), default='cuda')
    parser.add_argument(
        '--quick', action='store_true', help='small, to try the bench itself'
    )
    parser.add_argument('--only', nargs='+', choices=names, default=names)
    parser.add_argument(
        '--limit', type=float, default=480, help='seconds (default: 480)'
    )
    parser.add_argument(
        '--again', action='store_true', help='also what is done'
    )
    parser.add_argument('--commit', help='of this code, where git is not')
    parser.add_argument(
        '--publish',
        type=Path,
        metavar='DIR',
        help='make the page of the documentation of a folder of results',
    )
    parser.add_argument('--part', nargs=2, help=argparse.SUPPRESS)
    parser.add_argument(
        '--resume', action='store_true', help=argparse.SUPPRESS
    )
    args = parser.parse_args()
    if not (args.out or args.publish):
        parser.error('--out or --publish is needed')
    return args


def main() -> None:
    args = parse_args()
    if args.part:
        be_part(*args.part, args)
        return
    if args.publish:
        publish_run(args.publish)
        return
    if args.device == 'cuda' and not torch.cuda.is_available():
        raise SystemExit(
            'error: --device cuda: there is no GPU here; --device cpu '
            '--quick tries the bench without one'
        )
    # So that the part that runs is ended with the bench.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    record = Record(args.out.resolve())
    check_same_run(record, args)
    parts = [part for part in PARTS if part.name in args.only]
    if 'compiled' in args.only and not (args.quick or has_c_compiler()):
        print(f'compiled: will fail, {NO_COMPILER}')
    options = (args.limit, args.device, args.quick, args.again)
    is_done = run_parts(parts, record, *options)
    print(record.path.with_suffix('.md'))
    raise SystemExit(not is_done)


if __name__ == '__main__':
    main()
