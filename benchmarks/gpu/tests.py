"""The tests marked `gpu`, one row each."""

import faulthandler
import os

import pytest

from benchmarks.gpu.run import Run
from benchmarks.pages import ROOT

FOLDER = 'tests/test_gpu'
RUNNING, DIED = 'running', 'died'
# A test that takes longer hangs: its process ends.
PATIENCE = 100
# After it every call of CUDA in the process fails.
STICKY = ('CUDA error', 'device-side assert', 'an illegal memory access')


class Outcomes:
    """A plugin of pytest that notes how each test ends."""

    def __init__(self, run: Run) -> None:
        self.run = run

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        """Notes it before: it may end with the process."""
        self.run.add(test=nodeid, outcome=RUNNING)
        faulthandler.dump_traceback_later(PATIENCE, exit=True)

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
            lines = report.longreprtext.strip().splitlines()
            errors = [line for line in lines if line.startswith('E ')] or lines
            row['error'] = errors[0].removeprefix('E').strip()[:300]
        elif report.skipped:
            row['error'] = report.longrepr[2].removeprefix('Skipped: ')
        self.run.show(self.run.rows)
        if any(words in report.longreprtext for words in STICKY):
            os._exit(1)

    def pytest_runtest_logfinish(self) -> None:
        """The next test has its own time."""
        faulthandler.cancel_dump_traceback_later()


def run_tests(run: Run) -> None:
    """Runs those of which there is no row."""
    for row in run.rows:
        if row['outcome'] == RUNNING:
            row['outcome'] = DIED
    run.show(run.rows)
    args = ['-q', '-p', 'no:cacheprovider', '-m', 'gpu', str(ROOT / FOLDER)]
    args += [f'--deselect={row["test"]}' for row in run.rows]
    args += ['--device', run.device]
    code = pytest.main(args, plugins=[Outcomes(run)])
    if not run.rows or code not in (
        pytest.ExitCode.OK,
        pytest.ExitCode.TESTS_FAILED,
        pytest.ExitCode.NO_TESTS_COLLECTED,
    ):
        raise RuntimeError(f'pytest ended with {code!r}')
