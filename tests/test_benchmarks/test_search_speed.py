"""The search's speed benchmark: a search that fails gives no number."""

from pathlib import Path

import pytest

from benchmarks import search_speed


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
