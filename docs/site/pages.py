"""The pages of the site: those of the repository, and those made from code.

python docs/site/pages.py OUT writes them for Sphinx, which `make docs` runs.
"""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from inspect import getdoc, isfunction
from pathlib import Path
from typing import Any

from zoo import models

import eavit_mm.apis
import eavit_mm.export
import eavit_mm.models.elastic_segmentor  # registered when asked for
import eavit_mm.rearrange
import eavit_mm.space
import eavit_mm.weights
from eavit_mm import registry

ROOT = Path(__file__).resolve().parents[2]
LINK = re.compile(r'(?<=\]\()(?![a-z]+:|#)[^)\s#]+')
START = ['get_started', 'your_data', 'concepts', 'install']
RESULTS = ['comparison', 'models']
REFERENCE = ['commands', 'parts', 'api']
PUBLIC = [
    eavit_mm.apis,
    eavit_mm.space,
    eavit_mm.models,
    eavit_mm.rearrange,
    eavit_mm.weights,
    eavit_mm.export,
]


def pages() -> list[Path]:
    """The pages of the repository that are in the site."""
    patterns = 'CHANGELOG.md', 'CONTRIBUTING.md', 'docs/*.md'
    patterns += 'docs/benchmark/*.md', 'configs/*/README.md'
    return [p for k in patterns for p in sorted(ROOT.glob(k))]


def copy(page: Path, out: Path, name: str = '', end: str = '') -> None:
    """Copies a page and the files that it shows or offers."""

    def follow(link: re.Match[str]) -> str:
        file = page.parent / link[0]
        if file.resolve() == ROOT / 'README.md':
            return str(Path(link[0]).with_name('index.md'))
        if file.is_dir():
            return f'{link[0].rstrip("/")}/README.md'
        if file.suffix != '.md':
            target = out / file.resolve().relative_to(ROOT)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(file, target)
        return link[0]

    target = out / (name or page.relative_to(ROOT))
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(LINK.sub(follow, page.read_text()) + end)


def commands() -> Iterator[str]:
    """What each tool says of itself."""
    yield '# Commands\n\nFrom their `--help`; what comes out is said in the '
    yield 'guides. `python -m eavit_mm NAME` runs one from any folder.\n'
    for tool in sorted(ROOT.glob('tools/*.py')):
        if tool.stem == 'arguments':
            continue
        yield f'\n## {tool.name}\n'
        yield (text := help_of(tool))
        for names in re.findall(r'^  \{([\w,]+)\}$', text, re.M):
            for name in names.split(','):
                yield f'\n### {tool.name} {name}\n{help_of(tool, name)}'
    yield '\n## Several processes\n'
    for script in sorted(ROOT.glob('tools/*.sh')):
        lines = script.read_text().splitlines()[1:3]
        yield '\n'.join(['```text', *(k[2:] for k in lines), '```', ''])


def help_of(tool: Path, *args: str) -> str:
    """The answer to --help, as a block."""
    command = [sys.executable, '-W', 'ignore', str(tool), *args, '--help']
    environment = {**os.environ, 'COLUMNS': '79'}
    text = subprocess.check_output(command, env=environment, text=True)
    return f'```text\n{text}```\n'


def described(kind: str, path: str, *options: str) -> str:
    """What autodoc makes of a class or a function."""
    lines = ['```{eval-rst}', f'.. auto{kind}:: {path}', *options, '```']
    return '\n'.join(lines) + '\n\n'


def parts() -> Iterator[str]:
    """All registered classes, by the registries that a config asks."""
    yield "# Parts of a config\n\n`type='eavit_mm.NAME'` with these options."
    yield ' How they work together: [supernet.md](../supernet.md).\n'
    for kind in registry._REGISTRIES:
        kind.import_from_location()
        found: dict[str, list[type]] = {}
        for cls in kind.module_dict.values():
            if cls.__module__.startswith('eavit_mm'):
                found.setdefault(cls.__module__, []).append(cls)
        yield f'\n## {kind.name.capitalize().replace("_", " ")}s\n'
        for module, classes in sorted(
            found.items(), key=lambda k: len(k[1]) > 1
        ):
            if len(classes) > 1:
                about = getdoc(sys.modules[module]) or module
                title = about.partition('\n')[0].rstrip('.')
                yield f'\n### {title}\n'
            for cls in classes:
                yield described('class', f'{module}.{cls.__name__}')


def api() -> Iterator[str]:
    """The functions and classes for Python."""
    yield '# Python\n\nClasses that a config names are under '
    yield '[parts](parts.md).\n'
    registered = {k for r in registry._REGISTRIES for k in r.module_dict}
    for module in PUBLIC:
        yield f'\n## {module.__name__}\n\n{getdoc(module)}\n\n'
        for name in module.__all__:
            value: Any = getattr(module, name)
            path = f'{module.__name__}.{name}'
            if name in registered:
                continue
            if isinstance(value, type):
                yield described('class', path, '   :members:')
            elif isfunction(value):
                yield described('function', path)


def index() -> str:
    """The contents, behind the README."""
    mine = {page.stem for page in ROOT.glob('docs/*.md')}
    guides = sorted(mine - {*START, *RESULTS, 'troubleshooting'})
    folders = (p.parent.name for p in ROOT.glob('configs/*/README.md'))
    measured = sorted(p.stem for p in ROOT.glob('docs/benchmark/*.md'))
    results = [f'docs/{name}' for name in RESULTS]
    results += [f'configs/{name}/README' for name in sorted(folders)]
    results += [f'docs/benchmark/{name}' for name in measured]
    chapters = {
        'Start': [f'docs/{name}' for name in START],
        'Guides': [f'docs/{name}' for name in guides],
        'Reference': [f'docs/reference/{name}' for name in REFERENCE],
        'Models and results': results,
        'Project': ['docs/troubleshooting', 'CONTRIBUTING', 'CHANGELOG'],
    }
    head = (
        '\n```{{toctree}}\n:hidden:\n:maxdepth: 1\n:caption: {}\n\n{}\n```\n'
    )
    return ''.join(head.format(k, '\n'.join(v)) for k, v in chapters.items())


def main(out: Path) -> None:
    """Writes all pages into a folder, anew."""
    shutil.rmtree(out, ignore_errors=True)
    for page in pages():
        copy(page, out)
    copy(ROOT / 'README.md', out, 'index.md', index())
    made = {'reference/commands': commands(), 'reference/parts': parts()}
    made |= {'reference/api': api(), 'models': models()}
    for name, lines in made.items():
        page = out / 'docs' / f'{name}.md'
        page.parent.mkdir(exist_ok=True)
        page.write_text(''.join(lines))


if __name__ == '__main__':
    main(Path(sys.argv[1]).resolve())
