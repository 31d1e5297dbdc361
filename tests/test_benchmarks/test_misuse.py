"""Every way in which a tool can end is told from the others."""

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmarks.misuse import __main__ as misuse
from benchmarks.misuse.workspace import TRACE, Case


def refuse() -> None:
    raise SystemExit('error: --out x: must be a folder')


def fall_over() -> None:
    raise TypeError('not said well')


def end(status: int) -> None:
    os._exit(status)


ENDS: dict[str, tuple[Callable[[], Any], str]] = {
    'works': (lambda: None, ''),
    'refused': (refuse, ''),
    'wrong': (lambda: None, 'other weights'),
    'traceback': (fall_over, ''),
    'wordless': (lambda: end(3), ''),
    'hangs': (lambda: time.sleep(60), ''),
    'ran code': (lambda: Path(TRACE).touch(), ''),
    'lost a file': (lambda: Path('kept').write_text(''), ''),
}


@pytest.mark.parametrize('outcome', [*misuse.GOOD, *misuse.BAD])
def test_the_ends_of_a_case(
    outcome: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(misuse, 'PATIENCE', 1)
    kept = tmp_path / 'kept'
    kept.write_text('finished')
    run, wrong = ENDS[outcome]
    case = Case('kind', 'text', run, lambda output: wrong, [kept])
    result = misuse.run_case(case, tmp_path)
    assert result['outcome'] == outcome
    text = misuse.page(
        dict(seed=0, commit='c', cases=[{'number': 7, **result}])
    )
    assert (f'- 7, {outcome}: text' in text) == (outcome in misuse.BAD)
