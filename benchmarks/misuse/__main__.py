"""Puts odd and wrong inputs into every tool, and counts what comes out.

Each case changes one thing that a user can put in (a folder of images, a
work directory, a file of weights, a budget, an option, a signal) at a place
that its seed chooses, and runs a tool in a process of its own.
"""

import argparse
import json
import os
import runpy
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from multiprocessing import get_context
from pathlib import Path
from random import Random
from typing import Any

import torch

from benchmarks.misuse import files, options
from benchmarks.misuse.images import image_folder
from benchmarks.misuse.workspace import TRACE, Case, Workspace, make_workspace
from benchmarks.pages import FOLDER, ROOT, commit, publish, table
from eavit_mm.files import write_json

RECORDS = FOLDER / 'misuse.json'
# Longest time of a case, in seconds; many times what the longest ones, which
# train anew, take on a machine that has nothing else to do.
PATIENCE = 1500
GOOD = ('works', 'refused')
BAD = ('wrong', 'traceback', 'wordless', 'hangs', 'ran code', 'lost a file')
CASES: dict[str, Callable[[Random, Workspace], Case]] = {
    'image folder': image_folder,
    'work directory': files.work_directory,
    'code': files.attack,
    'budget': options.budget,
    'front': files.front,
    'option': options.option,
    'export': options.export,
    'picture': options.picture,
    'weights': files.weights,
    'signal': options.stop,
}
INTRO = """# Misuse

Made by `python -m benchmarks.misuse`: each case puts one thing wrong, at a
place drawn from its seed, and runs a tool. It may *work*, if what it made is
right (the same weights, labels, outputs; a budget kept), or be *refused* in
one line that begins with "error:". All else is a fault: a *wrong* result
without a word, a *traceback*, an end that is *wordless*, a run that *hangs*,
one that *ran code* of a file, or *lost a file* that was there before."""


def run_case(case: Case, folder: Path) -> dict[str, Any]:
    """Runs a case in a process of its own; what came out of it."""
    kept = {path: path.read_bytes() for path in case.keeps}
    begin = time.monotonic()
    status = _run_forked(case.run, folder)
    output = (folder / 'output.txt').read_text(errors='replace')
    output = _without_places(output, folder)
    last = (output.strip().splitlines() or [''])[-1]
    result: dict[str, Any] = dict(
        kind=case.kind,
        text=_without_places(case.text, folder),
        seconds=round(time.monotonic() - begin, 1),
        said=last[:300],
    )
    lost = [
        p for p, b in kept.items() if not p.exists() or p.read_bytes() != b
    ]
    if (folder / TRACE).exists():
        return dict(result, outcome='ran code')
    if status is None:
        return dict(result, outcome='hangs')
    if lost:
        lost_file = _without_places(str(lost[0]), folder)
        return dict(result, outcome='lost a file', said=lost_file)
    if 'Traceback (most recent call last)' in output:
        return dict(result, outcome='traceback')
    if status:
        # A progress bar, or the parser's usage, may stand before it.
        spoken = 'error: ' in last or 'stopped' in last
        return dict(result, outcome='refused' if spoken else 'wordless')
    try:
        wrong = case.check(output)
    except Exception as error:  # what should be there is not
        wrong = repr(error)
    if wrong:
        said = _without_places(wrong, folder)
        return dict(result, outcome='wrong', said=said)
    return dict(result, outcome='works')


def _without_places(text: str, folder: Path) -> str:
    """A text that does not tell where it was made."""
    for place in (folder, ROOT):
        text = text.replace(f'{place}/', '')
    return text


def _run_forked(run: Callable[[], Any], folder: Path) -> int | None:
    """Its exit status, negative for a signal; None if it took too long."""
    pid = os.fork()
    if not pid:
        _be_child(run, folder)
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.02)
    os.killpg(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return None


def _be_child(run: Callable[[], Any], folder: Path) -> None:
    """Runs a function as a command, and never returns."""
    status = 1
    try:
        os.setsid()
        os.chdir(folder)
        out = os.open('output.txt', os.O_CREAT | os.O_WRONLY | os.O_APPEND)
        os.dup2(out, 1)
        os.dup2(out, 2)
        sys.stdout = os.fdopen(1, 'w')
        sys.stderr = os.fdopen(2, 'w')
        run()
        status = 0
    except SystemExit as error:
        if isinstance(error.code, str):
            print(error.code, file=sys.stderr)
        elif not error.code:
            status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def call(tool: str, *args: Any) -> None:
    """Runs a tool as its command line would, in this process."""
    path = str(ROOT / 'tools' / tool)
    sys.argv = [path, *map(str, args)]
    runpy.run_path(path, run_name='__main__')


def run_number(job: tuple[int, int, Path, str]) -> dict[str, Any]:
    """Makes, runs and clears away a case.

    Args:
        job: Seed, number, the folder in which everything works, and the kind
            of the case.
    """
    seed, number, whole, kind = job
    folder = Path(tempfile.mkdtemp(prefix=f'case{number}_', dir=whole.parent))
    space = Workspace(whole, folder, call)
    try:
        case = CASES[kind](Random(f'{seed} {number}'), space)
        result = run_case(case, folder)
    finally:
        space.close()
        shutil.rmtree(folder, ignore_errors=True)
    print(f'{number:4} {result["outcome"]:11} {kind}: {result["text"]}')
    return dict(number=number, **result)


def page(result: Mapping[str, Any]) -> str:
    """The counts of every kind, and each fault, in Markdown."""
    cases: Sequence[Mapping[str, Any]] = result['cases']
    counts: dict[str, Counter[str]] = {}
    for case in cases:
        counts.setdefault(case['kind'], Counter())[case['outcome']] += 1
    names = [*GOOD, *BAD]
    rows = [
        [kind, str(found.total()), *(str(found[name]) for name in names)]
        for kind, found in counts.items()
    ]
    total = sum(counts.values(), Counter())
    rows.append(
        ['all', str(total.total()), *(str(total[name]) for name in names)]
    )
    faults = [
        f'- {case["number"]}, {case["outcome"]}: {case["text"]}: '
        f'`{case["said"]}`'
        for case in cases
        if case['outcome'] in BAD
    ]
    last = f'Seed {result["seed"]}, commit {result["commit"]}.'
    parts = [INTRO, table(['what', 'cases', *names], rows), *faults, last]
    return '\n\n'.join(parts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--number', type=int, default=300, help='of cases')
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--jobs', type=int, default=os.cpu_count())
    parser.add_argument('--kinds', nargs='+', choices=CASES, default=CASES)
    parser.add_argument('--only', type=int, nargs='+', help='these numbers')
    parser.add_argument(
        '--whole', type=Path, default=Path('work_dirs/misuse/whole')
    )
    args = parser.parse_args()
    torch.set_num_threads(1)
    sys.path.append(str(ROOT / 'tools'))
    whole = args.whole.absolute()
    make_workspace(whole)
    kinds = list(args.kinds)
    numbers = args.only or range(args.number)
    jobs = [(args.seed, i, whole, kinds[i % len(kinds)]) for i in numbers]
    with get_context('fork').Pool(args.jobs) as pool:
        cases = pool.map(run_number, jobs, chunksize=1)
    result = dict(seed=args.seed, commit=commit(), cases=cases)
    if args.only or kinds != list(CASES):
        print(json.dumps(cases, indent=1))
        return
    write_json(result, RECORDS)
    publish(page(result), RECORDS.with_suffix('.md'))


if __name__ == '__main__':
    main()
