"""What the tests of the search share: made once."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from .forked_tools import Done, ForkedTools, forked_tools
from .searches import TRAINING, search


@pytest.fixture(scope='session')
def tools() -> Iterator[ForkedTools]:
    with forked_tools() as found:
        yield found


@pytest.fixture(scope='session')
def trained(
    tools: ForkedTools, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Checkpoint of a supernet that tells some digits apart."""
    folder = tmp_path_factory.mktemp('trained')
    done = tools.run('train.py', *TRAINING, '--work-dir', folder)
    assert done.status == 0, done.text
    return folder / 'epoch_2.pth'


@pytest.fixture(scope='session')
def find(tools: ForkedTools, trained: Path) -> Callable[..., Done]:
    """Searches into a folder."""
    return partial(search, tools, trained)


@pytest.fixture(scope='session')
def searched(
    find: Callable[..., Done], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Folder of a search that nothing interrupted."""
    folder = tmp_path_factory.mktemp('searched')
    done = find(folder)
    assert done.status == 0, done.text
    return folder
