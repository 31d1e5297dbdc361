"""The tools, from any folder: ``python -m eavit_mm train CONFIG ...``.

They are those of the checkout, or those that lie in an installed package.
"""

import ast
import runpy
import sys
from pathlib import Path

from eavit_mm.files import project_folder


def summary(tool: Path) -> str:
    """The first line of what a tool says of itself, without running it."""
    text = ast.get_docstring(ast.parse(tool.read_text())) or ''
    return text.partition('\n')[0]


def located(argument: str, home: Path) -> str:
    """A config of ours, unless the working folder has one of that path."""
    path = home / argument
    is_config = argument.startswith('configs/') and path.suffix == '.py'
    if not is_config or Path(argument).exists() or not path.is_file():
        return argument
    print(f'{argument}: none here, taking {path}', file=sys.stderr)
    return str(path)


def main() -> None:
    """Lists the tools, or runs one in place of this program.

    Raises:
        SystemExit: If there is no such tool, or none at all.
    """
    home = project_folder()
    if home is None:
        raise SystemExit(
            'error: eavit_mm is installed without its tools; install it anew: '
            '`pip install .` in its folder'
        )
    tools = {path.stem: path for path in sorted(home.glob('tools/*.py'))}
    tools.pop('arguments', None)  # what they share
    name, *args = sys.argv[1:] or ['--help']
    if name in ('-h', '--help'):
        print('usage: python -m eavit_mm TOOL ...; TOOL --help says more\n')
        for stem, path in tools.items():
            print(f'  {stem:14}{summary(path)}')
        print(f'\nCONFIG may be one of {home / "configs"}, as configs/...')
        return
    if name not in tools:
        raise SystemExit(
            f'error: TOOL={name!r}; must be one of {", ".join(tools)}'
        )
    tool = str(tools[name])
    sys.argv = [tool, *(located(argument, home) for argument in args)]
    sys.path.insert(0, str(home / 'tools'))
    runpy.run_path(tool, run_name='__main__')


if __name__ == '__main__':
    main()
