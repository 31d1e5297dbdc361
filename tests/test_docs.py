"""The pages: their links lead somewhere, their commands are ones.

Every line of a block of commands is run, or read by the parser of its tool,
or stands in :data:`ELSEWHERE`; below ``<!-- run -->`` it is run.
"""

import ast
import os
import re
import runpy
import shlex
import subprocess
import sys
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from mmengine.config import config as mmengine_config
from tool_runs import ROOT, forget_runs
from torch.distributed.run import get_args_parser

from eavit_mm.engine import cli
from eavit_mm.engine.adaptation import shorten

PAGES = [
    path
    for pattern in ('*.md', 'docs/*.md', 'docs/benchmark/*.md')
    for path in sorted(ROOT.glob(pattern))
] + sorted(ROOT.glob('configs/*/README.md'))
LINK = re.compile(r'\]\(([^)\s]+)\)')
BLOCK = re.compile(
    r'(<!-- run -->\n)?```(\w*)\n(.*?)```|((?:^ {4}[^\n]*\n)+)', re.S | re.M
)
SPAN = re.compile(r'(?<!`)`(?:python )?(tools/[a-z_]+\.py [^`]+)`(?!`)')
MAKE = re.compile(r'(?<!`)`(make [^`]+)`(?!`)')
# Pages that speak of options that are gone, too.
PAST = ('CHANGELOG.md', 'tried.md')
# What is run as it stands, and a part of what it says.
RUN = {
    'python -m eavit_mm': '  train         Trains the model of a config',
    'python -m eavit_mm prepare_data': 'flowers',
    'python -m eavit_mm doctor': 'nothing wrong\n',
}
# What is neither run nor read here, and why.
ELSEWHERE = {
    r'git clone <this repository> && cd eavit_mm': 'needs the network',
    r'\.ci/run': 'runs this test',
    r'pip install .*': (
        'needs the network; tests/test_packaging.py builds what is installed, '
        'tests/test_environment.py holds its ranges against the pins'
    ),
    r'mim (search|train|test) eavit_mm .*|mim search eavit_mm': (
        'openmim is not in .venv; tests/test_packaging.py reads the index and '
        'finds configs and tools where mim looks for them'
    ),
}


def anchors(page: Path) -> set[str]:
    """Those that GitHub and MyST make of the headings."""
    text = re.sub(r'```.*?```', '', page.read_text(), flags=re.S)
    found = re.findall(r'^#+ +(.*)$', text, re.M)
    cleaned = [re.sub(r'[^\w\- ]', '', k.lower()) for k in found]
    return {k.strip().replace(' ', '-') for k in cleaned}


def lines(page: Path, only_run: bool = False) -> list[str]:
    """Commands in a page's blocks, a line each, their variables replaced."""
    found, variables = [], {}
    for marked, kind, fenced, indented in BLOCK.findall(page.read_text()):
        if kind in ('python', 'json') or (only_run and not marked):
            continue
        text = (fenced or indented).replace('\\\n', ' ')
        for line in text.splitlines():
            line = line.partition(' #')[0].strip()
            if match := re.fullmatch(r'(\w+)=(\S+)', line):
                variables[f'${match[1]}'] = match[2]
                continue
            for name, value in variables.items():
                line = line.replace(name, value)
            found.append(line)
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


@cache
def make(line: str, folder: Path) -> None:
    """Has make say what it would run, in a folder with nothing to break."""
    folder.mkdir(exist_ok=True)
    if not (folder / 'Makefile').exists():
        (folder / '.venv').mkdir()
        (folder / '.venv/eavit_mm.json').touch()
        for name in ('Makefile', 'requirements'):
            (folder / name).symlink_to(ROOT / name)
    words, env = shlex.split(line), dict(os.environ)
    for name in ('MAKEFLAGS', 'MFLAGS', 'MAKELEVEL'):
        env.pop(name, None)  # of the make that runs the tests
    command = [words[0], '-n', *words[1:]]
    subprocess.run(command, cwd=folder, env=env, check=True)
    text = (ROOT / 'Makefile').read_text().partition('.DEFAULT_GOAL')[0]
    for word in words[1:]:
        name, is_set, value = word.partition('=')
        assert not is_set or f'{name}=' in text, line
        for file in re.findall(r'tests/[\w/]+\.py', value):
            assert (ROOT / file).is_file(), line


def check(line: str, folder: Path, monkeypatch: Any) -> None:
    """Raises if a line is no command, or nothing is known about it."""
    for extra in re.findall(r"\.\[([\w,]+)\]'", line):
        known = metadata.metadata('eavit_mm').get_all('Provides-Extra')
        assert set(extra.split(',')) <= set(known or ()), line
    for file in re.findall(r'(?:configs|requirements)/[\w/.-]+', line):
        assert (ROOT / file).is_file(), line
    assert '$' not in line, line
    if line.startswith('make '):
        make(line, folder)
    elif words := tool_words(line):
        try:
            if line.startswith('torchrun '):
                get_args_parser().parse_args(shlex.split(line)[1:])
            read(monkeypatch, words)
        except SystemExit as error:
            raise AssertionError(line) from error
    elif line not in RUN:
        assert any(re.fullmatch(k, line) for k in ELSEWHERE), line


@pytest.fixture(scope='module')
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp('pages') / 'make'


@pytest.mark.parametrize('page', PAGES, ids=lambda k: str(k.relative_to(ROOT)))
def test_links_and_commands(
    page: Path, folder: Path, monkeypatch: Any
) -> None:
    text = page.read_text()
    for link in LINK.findall(text):
        if not re.match('[a-z]+:', link):
            path, _, anchor = link.partition('#')
            target = page.parent / path if path else page
            assert target.exists(), link
            assert not anchor or anchor in anchors(target), link
    spans = SPAN.findall(text)
    whole = [line for line in spans if 'CONFIG' in line]
    for line in [*lines(page), *whole, *MAKE.findall(text)]:
        check(line, folder, monkeypatch)
    for line in () if page.name in PAST else spans:
        tool, *words = line.split()
        code = (ROOT / 'tools/arguments.py').read_text()
        code += (ROOT / tool).read_text()
        for option in (word for word in words if word.startswith('--')):
            assert f"'{option}'" in code, line


def test_nothing_is_listed_that_no_page_has() -> None:
    every = [line for page in PAGES for line in lines(page)]
    assert set(RUN) <= set(every)
    for pattern in ELSEWHERE:
        assert any(re.fullmatch(pattern, line) for line in every), pattern


@pytest.mark.parametrize('line', RUN)
def test_short_commands_run(line: str, tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, 'path', list(sys.path))
    monkeypatch.setattr(sys, 'argv', ['eavit_mm', *line.split()[3:]])
    try:
        runpy.run_module('eavit_mm', run_name='__main__')
    except SystemExit as error:
        if error.code:
            raise
    assert RUN[line] in capsys.readouterr().out


def test_marked_commands_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the order of the pages, in a training of four epochs."""

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
    # The others begin with what this page makes.
    pages = sorted(PAGES, key=lambda page: page.name != 'get_started.md')
    marked = [line for page in pages for line in lines(page, only_run=True)]
    assert len(marked) >= 9
    for line in marked:
        words = tool_words(line.replace('epoch_80', 'epoch_4'))
        monkeypatch.setattr(sys, 'argv', words)
        runpy.run_path(words[0], run_name='__main__')
        forget_runs()
    assert (tmp_path / 'work_dirs/small/model.onnx').is_file()


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
