"""The tests marked `gpu`, one row each."""

import faulthandler
import os

import pytest

from benchmarks.gpu.run import Run, counts
from benchmarks.pages import ROOT

FOLDER = 'tests/test_gpu'
RUNNING, DIED, NOT_COLLECTED = 'running', 'died', 'not collected'
WELL = {'passed', 'skipped'}
# A test that takes longer hangs: its process ends.
PATIENCE = 60
# Run last: where processes wait for each other, the others' time may go.
LAST = 'test_processes'
# After it every call of CUDA in the process fails.
STICKY = ('CUDA error', 'device-side assert', 'an illegal memory access')


class Outcomes:
    """A plugin of pytest that notes how each test ends."""

    def __init__(self, run: Run) -> None:
        self.run = run

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Notes a file that cannot be read; the others go on."""
        if report.failed:
            self.run.add(
                test=report.nodeid,
                outcome=NOT_COLLECTED,
                error=_error(report.longreprtext),
            )

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Puts those last that may hang."""
        items.sort(key=lambda item: LAST in item.nodeid)

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        """Notes it before: it may end with the process."""
        self.run.add(test=nodeid, outcome=RUNNING)
        patience = PATIENCE * (3 if self.run.device == 'cpu' else 1)
        faulthandler.dump_traceback_later(patience, exit=True)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Notes the outcome, what the test measured, the error's last line."""
        if report.when != 'call' and report.passed:
            return
        row = self.run.rows[-1]
        row.update(
            outcome=report.outcome,
            seconds=round(report.duration, 2),
            measured=dict(report.user_properties),
        )
        if report.failed:
            row['error'] = _error(report.longreprtext)
        elif report.skipped:
            row['error'] = report.longrepr[2].removeprefix('Skipped: ')
        self.run.show(self.run.rows)
        if any(words in report.longreprtext for words in STICKY):
            os._exit(1)

    def pytest_runtest_logfinish(self) -> None:
        """The next test has its own time."""
        faulthandler.cancel_dump_traceback_later()


def _error(text: str) -> str:
    """The line of pytest's report that says what went wrong."""
    lines = text.strip().splitlines()
    errors = [line for line in lines if line.startswith('E ')] or lines
    return errors[0].removeprefix('E').strip()[:300]


def run_tests(run: Run) -> None:
    """Runs those of which there is no row.

    Raises:
        RuntimeError: In the end, if not all that ran have passed.
    """
    run.rows = [row for row in run.rows if row['outcome'] != NOT_COLLECTED]
    for row in run.rows:
        if row['outcome'] == RUNNING:
            row['outcome'] = DIED
    run.show(run.rows)
    args = ['-q', '-p', 'no:cacheprovider', '-m', 'gpu', str(ROOT / FOLDER)]
    args += [f'--deselect={row["test"]}' for row in run.rows]
    args += ['--device', run.device, '--continue-on-collection-errors']
    code = pytest.main(args, plugins=[Outcomes(run)])
    if not run.rows or code not in (
        pytest.ExitCode.OK,
        pytest.ExitCode.TESTS_FAILED,
        pytest.ExitCode.NO_TESTS_COLLECTED,
    ):
        raise RuntimeError(f'pytest ended with {code!r}')
    if any(row['outcome'] not in WELL for row in run.rows):
        raise RuntimeError(counts(run.rows))
