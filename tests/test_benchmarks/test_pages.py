"""What all pages share: the commit of a measurement, cells, tables."""

import subprocess
from pathlib import Path

import pytest

from benchmarks import pages


def git(folder: Path, *args: str) -> str:
    who = ['-c', 'user.name=a', '-c', 'user.email=a@b.c']
    return subprocess.check_output(
        ['git', *who, *args], cwd=folder, text=True
    ).strip()


def test_only_code_makes_a_commit_dirty(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pages, 'ROOT', tmp_path)
    assert pages.commit() == ''
    code, results = tmp_path / 'code.py', tmp_path / 'docs/benchmark/a.json'
    results.parent.mkdir(parents=True)
    for path in (code, results):
        path.write_text('1')
    git(tmp_path, 'init', '-q')
    git(tmp_path, 'add', '.')
    git(tmp_path, 'commit', '-qm', 'first')
    name = git(tmp_path, 'rev-parse', '--short=10', 'HEAD')
    assert pages.commit() == name
    results.write_text('2')
    (tmp_path / 'new.log').write_text('')
    assert pages.commit() == name
    code.write_text('2')
    assert pages.commit() == f'{name}-dirty'
