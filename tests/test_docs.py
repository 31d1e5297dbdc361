"""The pages: their links lead somewhere, their commands are ones.

A command is read by its tool's parser; below ``<!-- run -->`` it is run.
"""

import ast
import re
import runpy
import shlex
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from mmengine.config import config as mmengine_config
from tool_runs import ROOT, forget_runs

from eavit_mm.engine import cli
from eavit_mm.engine.adaptation import shorten

PAGES = [
    path
    for pattern in ('*.md', 'docs/*.md', 'docs/benchmark/*.md')
    for path in sorted(ROOT.glob(pattern))
] + sorted(ROOT.glob('configs/*/README.md'))
LINK = re.compile(r'\]\(([^)\s]+)\)')
BLOCK = re.compile(
    r'(<!-- run -->\n)?```\w*\n(.*?)```|((?:^ {4}[^\n]*\n)+)', re.S | re.M
)
SPAN = re.compile(r'(?<!`)`(?:python )?(tools/\w+\.py [^`]+)`(?!`)')
TARGET = re.compile(r'^([a-z-]+):', re.M)


def anchors(page: Path) -> set[str]:
    """Those that GitHub and MyST make of the headings."""
    text = re.sub(r'```.*?```', '', page.read_text(), flags=re.S)
    found = re.findall(r'^#+ +(.*)$', text, re.M)
    cleaned = [re.sub(r'[^\w\- ]', '', k.lower()) for k in found]
    return {k.strip().replace(' ', '-') for k in cleaned}


def lines(page: Path, only_run: bool = False) -> list[str]:
    """Commands in a page's blocks, a line each."""
    found = []
    for marked, fenced, indented in BLOCK.findall(page.read_text()):
        text = (fenced or indented).replace('\\\n', ' ')
        if marked or not only_run:
            found += [k.partition(' #')[0].strip() for k in text.splitlines()]
    return [line for line in found if line]


@cache
def parser(name: str) -> Any:
    """What reads the command line of a tool."""
    return runpy.run_path(str(ROOT / 'tools' / f'{name}.py'))['parse_args']


def read(monkeypatch: pytest.MonkeyPatch, words: list[str]) -> Any:
    """The arguments of a tool, which are of its parser."""
    tool = Path(words[0]).stem
    monkeypatch.setattr(sys, 'argv', [str(word) for word in words])
    return parser(tool)()


def tool_words(line: str) -> list[str]:
    """The words from the name of the tool on; none where it is no tool's.

    Of ``[--option A|B ...]`` there remains ``--option A``.
    """
    line = re.sub(r'^torchrun .* -m eavit_mm', 'python -m eavit_mm', line)
    line = re.sub(r'^python -m eavit_mm (\w+)', r'tools/\1.py', line)
    found = re.match(r'(?:python )?(tools/\w+\.py .*)', line)
    if not found:
        return []
    line = re.sub(r'\|\w+', '', found[1])
    return shlex.split(re.sub(r'[\[\]]| \.\.\.', '', line))


@pytest.mark.parametrize('page', PAGES, ids=lambda k: str(k.relative_to(ROOT)))
def test_links_and_commands(page: Path, monkeypatch: Any) -> None:
    for link in LINK.findall(page.read_text()):
        if not re.match('[a-z]+:', link):
            path, _, anchor = link.partition('#')
            target = page.parent / path if path else page
            assert target.exists(), link
            assert not anchor or anchor in anchors(target), link
    targets = TARGET.findall((ROOT / 'Makefile').read_text())
    for line in lines(page):
        words = line.split()
        if words[0] == 'make' and '=' not in line:
            assert words[1] in targets, line
        for file in re.findall(r'configs/[\w/.-]+\.py', line):
            assert (ROOT / file).is_file(), line
    spans = [k for k in SPAN.findall(page.read_text()) if 'CONFIG' in k]
    for line in [*lines(page), *spans]:
        if words := tool_words(line):
            try:
                read(monkeypatch, words)
            except SystemExit as error:
                raise AssertionError(line) from error


def test_marked_commands_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the order of the page, in a training of four epochs."""

    def short(path: Any) -> Any:
        cfg = read_config(path)
        shorten(cfg, 0.05)
        cfg.search_cfg.max_evaluations = 20
        return cfg

    read_config = cli.read_config
    monkeypatch.setattr(cli, 'read_config', short)
    monkeypatch.setattr(
        mmengine_config, 'FormatCode', lambda code, **options: (code, False)
    )
    monkeypatch.chdir(tmp_path)
    for name in ('configs', 'tools'):
        (tmp_path / name).symlink_to(ROOT / name)
    marked = [line for page in PAGES for line in lines(page, only_run=True)]
    assert len(marked) >= 4
    for line in marked:
        words = tool_words(line.replace('epoch_80', 'epoch_4'))
        monkeypatch.setattr(sys, 'argv', words)
        runpy.run_path(words[0], run_name='__main__')
        forget_runs()
    assert (tmp_path / 'work_dirs/small/model.pth').is_file()


def test_messages_of_the_troubleshooting_are_ours() -> None:
    """What is quoted with ``...`` stands in the code, in this order."""
    code = []
    for path in [*ROOT.glob('eavit_mm/**/*.py'), *ROOT.glob('*/make_env.py')]:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                code.append(node.value)
            if isinstance(node, ast.JoinedStr):
                parts = (getattr(k, 'value', '') for k in node.values)
                code.append(
                    '...'.join(k if isinstance(k, str) else '' for k in parts)
                )
    page = (ROOT / 'docs/troubleshooting.md').read_text()
    page, quoted = page.partition('## Weights')[2], 0
    for row in re.findall(r'^\| `(.+?)` \|', page, re.M):
        quoted += 1
        for part in row.split('...'):
            part = part.strip(' ;')
            assert any(part in text for text in code), part
    assert quoted > 20
