"""The search's speed benchmark: its page, and that its parts run."""

from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks import search_speed
from eavit_mm.space import SearchSpace, Subnet


def test_the_page() -> None:
    rows = [
        dict(search=9.0, bare=10.0, two=18.0),
        dict(search=9.5, bare=10.0, two=17.1),
        dict(search=8.0, bare=10.0, two=14.0),
    ]
    result = dict(
        device='toy, 2 cores', torch='9', commit='abc', evaluations=8
    )
    text = search_speed.page(dict(result, rows=rows))
    assert 'toy, 2 cores, torch 9, 3 rounds of 8 evaluations' in text
    assert (
        '| search over bare forward passes | 0.900 | 0.850 to 0.925 | '
        '9.00 over 10.00 |'
    ) in text
    assert (
        '| two processes over one | 1.800 | 1.775 to 1.900 | 17.10 over 9.00 |'
    ) in text


class Watched(torch.nn.Module):
    """A model that notes under which subnet it runs."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = self
        self.active: Any = None
        self.seen: list[Any] = []

    def frozen(self, subnet: Subnet) -> Any:
        self.active = subnet
        return torch.no_grad()

    def forward(self, batch: torch.Tensor, mode: str) -> None:
        assert mode == 'tensor'
        assert not torch.is_grad_enabled()
        self.seen.append((self.active, len(batch)))


def test_bare_passes_are_of_the_subnet_and_all_images() -> None:
    model = Watched()
    space = SearchSpace([8, 16], [1, 2], [4, 8], 2, 8)
    images = [torch.zeros(3, 1), torch.zeros(2, 1)]
    search_speed.forward(model, images, space.largest)
    assert model.seen == [(space.largest, 3), (space.largest, 2)]


def test_a_search_that_fails_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / 'tools').mkdir()
    script = tmp_path / 'tools/search.py'
    script.write_text('import sys; sys.exit(f"no file {sys.argv[2]}")')
    monkeypatch.setattr(search_speed, 'ROOT', tmp_path)
    with pytest.raises(RuntimeError, match='no file .*none.pth'):
        search_speed.search_rate(
            tmp_path / 'none.pth', tmp_path / 'out', 1, {}
        )
