import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from test_models.conftest import run_seed as run_seed

# Its tests are laws here too.
sys.path.append(str(Path(__file__).parents[1] / 'test_models'))
# Read when cuBLAS begins; only this makes its sums the same each time.
os.environ.setdefault('CUBLAS_WORKSPACE_CONFIG', ':4096:8')


@pytest.fixture
def device(request: pytest.FixtureRequest) -> str:
    return request.config.getoption('device')


@pytest.fixture(autouse=True)
def flags() -> Iterator[None]:
    """float32 is float32; what a test sets ends with it."""
    backends = torch.backends
    before = backends.cudnn.allow_tf32, backends.cuda.matmul.allow_tf32
    backends.cudnn.allow_tf32 = backends.cuda.matmul.allow_tf32 = False
    yield
    backends.cudnn.allow_tf32, backends.cuda.matmul.allow_tf32 = before
    torch.use_deterministic_algorithms(False)
    backends.cudnn.deterministic = False
