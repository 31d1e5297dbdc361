"""Every data set of mmengine collects garbage when it is built."""

import gc

import pytest


@pytest.fixture(scope='package', autouse=True)
def _less_garbage():
    # What the imports left need not be looked through each time.
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()
