"""What a tool knows before anything heavy is imported."""

import argparse

import arguments
import pytest
from tool_runs import TOOLS, run

from eavit_mm.space.budget import SOURCES
from eavit_mm.space.cost import COUNTS

HELP = """
import runpy, sys

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split('.')[0] in (
            'torch', 'mmengine', 'mmcv', 'mmpretrain', 'numpy', 'eavit_mm'
        ):
            raise ImportError(f'{name} is imported before the help')

sys.meta_path.insert(0, Refuse())
tool = sys.argv[1]
sys.argv = [tool, '--help']
sys.path[0] = tool.rpartition('/')[0]
runpy.run_path(tool, run_name='__main__')
"""


@pytest.mark.parametrize(
    'tool',
    sorted(p.name for p in TOOLS.glob('*.py') if p.name != 'arguments.py'),
)
def test_every_tool_answers_for_help_at_once(tool, tmp_path):
    text = run('-c', HELP, TOOLS / tool, cwd=tmp_path)
    assert text.startswith(f'usage: {tool} ')
    if tool in ('train.py', 'test.py', 'search.py', 'rearrange.py'):
        for option in ('--work-dir', '--cfg-options', '--launcher'):
            assert option in text


def test_choices_of_the_tools_are_those_of_the_package():
    parser = argparse.ArgumentParser()
    arguments.add_budget_arguments(parser)
    choices = {a.dest: a.choices for a in parser._actions if a.choices}
    # A model names its own.
    parts = ['backbone', 'neck', 'head', 'decode_head', 'total']
    assert choices == dict(by=list(SOURCES), count=list(COUNTS), part=parts)
