"""The whole adaptation for less: its stages cost what is said."""

from dataclasses import replace

import pytest

from benchmarks import less, real
from benchmarks.real_report import write_page

from .test_real_cls import cost_of

SHORT = replace(less.TASK, passes=100_000)


@pytest.mark.parametrize('method', less.TRAINED)
def test_stages_cost_what_is_said(method: str) -> None:
    configs = real.configs_of(SHORT, method, 'fashion40', 1)
    stages = less.TRAINED[method]
    for (stage, cfg), share in zip(
        configs.items(), stages.values(), strict=True
    ):
        expected = pytest.approx(share * SHORT.passes, rel=0.05)
        assert cost_of({stage: cfg}) == expected, stage
    first = next(iter(configs.values()))
    assert (first.search_cfg.get('race') is not None) == (method == less.LESS)


def made_up(method: str, value: float) -> dict[str, object]:
    answers = [(b, round(1e6 * b), value) for b in less.TASK.budgets]
    stages = list(less.TRAINED[method])
    return dict(
        method=method,
        regime='fashion40',
        seed=0,
        commit='0123456789',
        answers={stages[-1]: dict.fromkeys(('router', 'front'), answers)},
        forwards=dict(zip(stages, (0.2, 0.1), strict=True)),
    )


def test_the_page_says_where_the_cost_goes(tmp_path) -> None:
    records = [made_up(less.RECIPE, 80.0), made_up(less.LESS, 79.0)]
    text = write_page(
        less.PAGE, list(map(less.shown, records)), tmp_path
    ).read_text()
    # Shares of 1.65 and 1.2 fine-tunes.
    assert '| the recipe (1) | 1.00 | 0.33 | 0.65 | 0.17 | 2.15 |' in text
    assert '| for less (1) | 0.30 | 0.24 | 0.90 | 0.12 | 1.56 |' in text
    row = ['the recipe', *5 * ['-1.00'], '-1.00']
    assert f'| {" | ".join(row)} |' in text
    assert 'share of its training' not in text
