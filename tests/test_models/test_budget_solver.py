"""Answers to budgets keep them, use them, and hardly get worse."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from routed import (
    FINE,
    cost,
    evaluated,
    fitted,
    front_file,
    model_with,
    untrained,
)
from toys import batch_of, classifier

from eavit_mm.models import BudgetSolver
from eavit_mm.models.budget_solver import front_for
from eavit_mm.space import Budget
from eavit_mm.space.cells import AXES
from eavit_mm.space.cost_table import CostTable
from eavit_mm.space.latency import LatencyTable
from eavit_mm.space.pareto import Member, standard_error

KINDS = ['macs', 'params']


def table_of(space: Any) -> LatencyTable:
    """Times that rise with every width, not in proportion to MACs."""
    embeds, heads, channels = (space.choices(axis) for axis in AXES)
    return LatencyTable(
        'any',
        'float32',
        1,
        1,
        17,
        4,
        {e: 0.1 + 0.01 * e for e in embeds},
        {e: {h: 0.2 + 0.01 * e + 0.1 * h for h in heads} for e in embeds},
        {e: {f: 0.1 + 0.002 * e * f for f in channels} for e in embeds},
    )


@pytest.mark.parametrize('kinds', [['macs'], ['params'], KINDS])
def test_untrained_routers_keep_random_budgets(kinds: list[str]) -> None:
    model = untrained(budgets=kinds)
    solver = BudgetSolver(model)
    rng = np.random.default_rng(0)
    many = rng.uniform(size=(20, len(kinds))).tolist()
    each = [model.router.subnet(budgets) for budgets in many]
    assert model.router.subnets(many) == each
    space = model.backbone.space
    tables = {kind: CostTable(space, solver.cost(kind)) for kind in KINDS}
    for _ in range(20):
        kind = str(rng.choice(KINDS))
        low, high = tables[kind].lowest, cost(model, None, kind)
        limit = int(rng.uniform(low, high))
        subnet = solver([Budget.parse(f'{limit}{kind}')], 'router')
        assert cost(model, subnet, kind) <= limit
        if limit > max(3 * low, 0.2 * high):
            assert cost(model, subnet, kind) >= 0.95 * limit


def test_budgets_are_kept(tmp_path: Path) -> None:
    for model in (fitted(tmp_path), model_with()):
        solver = BudgetSolver(model)
        there = (None, 'router', 'front', 'uniform')
        whole = model.macs()['total']
        low = CostTable(solver.space, solver.cost('macs')).lowest / whole
        for by in there if model.router else (None, 'uniform'):
            for share in np.linspace(low + 1e-6, 1, 5):
                subnet = solver([Budget.parse(float(share))], by)
                assert cost(model, subnet, 'macs') <= share * whole, by
        assert solver([Budget.parse(1)], 'uniform') == solver.space.largest


def test_the_router_is_used_where_it_fits(tmp_path: Path) -> None:
    """A reference is what the router gives for its own cost."""
    model = fitted(tmp_path, hidden=4, fit_steps=250)
    solver = BudgetSolver(model)
    same = 0
    references = model.router.front.references
    for reference in references:
        budget = Budget.parse(f'{reference.macs}macs')
        same += solver([budget], 'router') == reference.subnet
    assert same >= len(references) - 3


@pytest.mark.parametrize('samples', [None, 50, 5000])
def test_quality_hardly_falls_as_the_budget_rises(
    tmp_path: Path, samples: int | None
) -> None:
    """By no more than a standard error; not at all where it is not known."""
    model = fitted(tmp_path)
    metric = model.router.front.metric
    rng = np.random.default_rng(0)
    members = evaluated(model, rng.uniform(80, 90, 8), samples)
    values = {member.subnet: member.metrics[metric] for member in members}
    solver = BudgetSolver(model)
    best = 0.0
    for member in members:
        found = solver([Budget.parse(f'{member.macs}macs')], 'front')
        best = max(best, values[member.subnet])
        error = standard_error(metric, best, samples)
        assert values[found] >= best - error
        # Nothing larger that fits is as good.
        assert all(
            values[m.subnet] < best - error
            for m in members
            if solver.cost('macs')(found) < m.macs <= member.macs
        )
    # They travel in the checkpoint.
    other = model_with({})
    other.load_state_dict(model.state_dict())
    assert other.router.evaluated == model.router.evaluated
    assert other.router.samples == samples
    budget = [Budget.parse(0.6)]
    assert BudgetSolver(other)(budget, 'front') == solver(budget, 'front')


def test_a_front_keeps_its_limits_with_the_routers_answers(
    tmp_path: Path,
) -> None:
    """Which know nothing of them, and are better here."""
    model = fitted(tmp_path)
    router, found = model.router, evaluated(model, range(80, 88))
    timed = replace(found[3], latency=3.0)
    router.evaluated = dict(
        front=(found[0], found[2]), router=(found[1], timed, *found[4:])
    )
    for limits, largest in (
        (None, found[7]),
        (dict(params=(None, found[5].params)), found[5]),
        (dict(params=(None, found[5].params - 1)), found[4]),
        (dict(macs=(found[6].macs + 1, None)), found[7]),
        (dict(macs=(found[7].macs + 1, None)), found[2]),
        (dict(latency=(None, 3)), timed),  # of others it is not known
        (dict(latency=(None, 2), macs=(None, None)), found[2]),
    ):
        router.front = replace(router.front, limits=limits)
        other = model_with({})
        other.load_state_dict(model.state_dict())
        solver = BudgetSolver(other)
        assert solver([Budget.parse('100%')], 'front') == largest.subnet


def test_who_answers(tmp_path: Path) -> None:
    """A trained router, else a front, else the uniform networks."""
    trained = fitted(tmp_path)
    path = str(tmp_path / 'pareto.json')
    budget = [Budget.parse(0.5)]
    solver = BudgetSolver(trained)
    assert solver(budget) == solver(budget, 'router')
    model = model_with(dict(front=path))
    model.load_state_dict(model_with().state_dict())  # of stage 1
    assert not model.router.is_ready
    solver = BudgetSolver(model)
    front = model.router.front
    known = {m.subnet for m in (*front.members, *front.references)}
    for share in (0.2, 0.5, 0.9):
        budget = [Budget.parse(share)]
        assert solver(budget) == solver(budget, 'front')
        assert model.subnet_for(share) in known
    model = model_with(dict())
    assert model.subnet_for(0.5) == model.subnet_for(0.5, by='uniform')
    # What was fitted says so in checkpoints.
    model = model_with(dict(front=path))
    model.load_state_dict(trained.state_dict())
    assert model.router.is_ready


def test_a_front_answers_where_there_is_no_router(tmp_path: Path) -> None:
    """And before the router where it is given; who is not there, never."""
    trained, path = fitted(tmp_path), tmp_path / 'pareto.json'
    budget = [Budget.parse('50%')]
    for by in ('front', 'router'):
        for model in (model_with(), model_with(dict())):
            with pytest.raises(ValueError, match=f"by='{by}'; must be one of"):
                model.subnet_for(0.5, by=by)
    front = trained.router.front
    member = front.members[5]
    for model in (model_with(), trained):
        solver = BudgetSolver(model, front=front_for(model, path))
        assert solver.answer(budget) == (*solver.answer(budget, 'front'),)
        subnet, by = solver.answer([Budget.parse(f'{member.macs}macs')])
        assert (subnet, by) == (member.subnet, 'front')
        assert solver.metrics_of(subnet) == member.metrics
        for where in (path, str(path)):
            assert model.subnet_for(0.5, front=where) == solver(budget)
    assert solver.answer(budget, 'uniform')[1] == 'uniform'
    assert solver.answer(budget, 'router')[1] == 'router'
    # Nothing of a front of the largest alone fits: the next answers.
    largest = replace(front, members=front.members[-1:], references=())
    solver = BudgetSolver(model_with(), front=largest)
    assert solver.answer(budget, 'front')[1] == 'uniform'
    # What stage 2 measured again counts, for the same front.
    found = evaluated(trained, np.array([70.0]))
    assert BudgetSolver(trained, front=front).front.members == tuple(found)
    assert BudgetSolver(trained, front=largest).front == largest
    other = classifier(backbone=dict(space=FINE, img_size=(8, 8)))
    with pytest.raises(ValueError, match='was searched for another network'):
        other.subnet_for(0.5, front=path)
    with pytest.raises(ValueError, match='front=3; must be a path'):
        other.subnet_for(0.5, front=3)


def test_a_better_measured_answer_is_given_for_a_larger_budget(
    tmp_path: Path,
) -> None:
    """Where the choice's neighbours are worse by more than the error."""
    model = untrained(front=str(front_file(tmp_path)))
    router, solver = model.router, BudgetSolver(model)
    shares = np.linspace(0.3, 1, 8)
    limits = [solver.limits([Budget.parse(float(s))]) for s in shares]
    choices = [solver.route(limit) for limit in limits]
    macs = [cost(model, choice, 'macs') for choice in choices]
    metric, replaced = router.front.metric, dict.fromkeys((None, 100, 9999), 0)
    assert len({*macs}) == len(macs)
    for seed in range(30):
        rng = np.random.default_rng(seed)
        quality = rng.uniform(50, 80, len(macs))
        # Of every second choice it is not known how good it is.
        known = [
            Member(choices[i], {metric: float(quality[i])}, macs[i], 1)
            for i in range(0, len(macs), 2)
        ]
        samples = (None, 100, 9999)[seed % 3]
        sign = int(rng.choice([1, -1]))
        rule = 'greater' if sign == 1 else 'less'
        router.front = replace(router.front, rule=rule)
        router.evaluated, router.samples = dict(router=tuple(known)), samples
        for i, share in enumerate(shares):
            low, high = known[i // 2], known[min((i + 1) // 2, len(known) - 1)]
            part = (macs[i] - low.macs) / max(high.macs - low.macs, 1)
            ends = low.metrics[metric], high.metrics[metric]
            expected = ends[0] + min(part, 1) * (ends[1] - ends[0])
            fits = known[: i // 2 + 1]
            best = max(fits, key=lambda m: sign * m.metrics[metric])
            value = best.metrics[metric]
            error = standard_error(metric, value, samples)
            is_better = 0 < error < sign * (value - expected)
            replaced[samples] += is_better
            answer = best.subnet if is_better else choices[i]
            assert solver([Budget.parse(float(share))], 'router') == answer, (
                seed,
                i,
            )
    assert replaced[None] == 0 < replaced[100] < replaced[9999]


def test_what_few_images_tell_apart_leaves_no_budget_unused(
    tmp_path: Path,
) -> None:
    """One image of 150 is no difference, twenty are."""
    model = fitted(tmp_path)
    share = 100 / 150
    right = np.array([120, 150, 149, 149])
    members = evaluated(model, right * share, samples=150)
    solver = BudgetSolver(model)
    assert solver([Budget.parse(1)], 'front') == members[3].subnet
    budget = [Budget.parse(f'{members[2].macs}macs')]
    assert solver(budget, 'front') == members[2].subnet
    members = evaluated(model, np.array([120, 150, 149, 130]) * share, 150)
    assert solver([Budget.parse(1)], 'front') == members[2].subnet
    # Without a number of images only equals are equal.
    for accuracies, best in (([80, 90, 89], 1), ([80, 80, 80], 2)):
        members = evaluated(model, accuracies)
        assert solver([Budget.parse(1)], 'front') == members[best].subnet


def test_less_can_be_better(tmp_path: Path) -> None:
    model = fitted(tmp_path)
    front = model.router.front
    cheap, dear = front.members[0], front.members[-1]
    values = {**front.to_dict(), 'rule': 'less'}
    values['members'] = [
        {**m.to_dict(), 'metrics': {front.metric: v}}
        for m, v in ((cheap, 2.0), (dear, 1.0))
    ]
    model.router.set_front(type(front).from_dict(values, front.space))
    solver = BudgetSolver(model)
    assert solver([Budget.parse(1)], 'front') == dear.subnet


def test_several_budgets_and_kinds_the_router_does_not_know(
    tmp_path: Path,
) -> None:
    model = fitted(tmp_path)
    space = model.backbone.space
    table = table_of(space)
    solver = BudgetSolver(model, table=table)
    whole = table(space.largest)
    for share in (0.5, 0.7, 0.9):
        limit = share * whole
        subnet = solver([Budget.parse(f'{limit}ms')], 'router')
        assert 0.95 * limit <= table(subnet) <= limit
        subnet = solver(
            [Budget.parse(f'{limit}ms'), Budget.parse(0.4)], 'router'
        )
        assert table(subnet) <= limit
        assert cost(model, subnet, 'macs') <= 0.4 * model.macs()['total']


def jagged_table(space: Any, seed: int) -> LatencyTable:
    """Random times: many widths take longer than wider ones."""
    rng = np.random.default_rng(seed)

    def times(axis: str) -> dict[int, float]:
        return {w: float(rng.uniform(0.1, 1)) for w in space.choices(axis)}

    stem, *branches = AXES
    parts = {
        axis: {e: times(axis) for e in space.embed_dims} for axis in branches
    }
    return replace(table_of(space), stem=times(stem), **parts)


@pytest.mark.parametrize('by', ['router', 'uniform'])
@pytest.mark.parametrize('seed', range(2))
def test_times_need_not_rise_with_the_widths(by: str, seed: int) -> None:
    model = untrained(seed)
    space = model.backbone.space
    table = jagged_table(space, seed)
    solver = BudgetSolver(model, table=table)
    least = CostTable(space, table).lowest
    for limit in np.linspace(least + 1e-6, table(space.largest), 6):
        budget = Budget('latency', float(limit), f'{limit}ms')
        subnet = solver([budget], by)
        assert space.contains(subnet)
        assert table(subnet) <= limit
    words = rf'this space reaches {least:.6g} to \S+ ms \('
    with pytest.raises(ValueError, match=words):
        solver([Budget.parse(f'{least - 1e-6:.9f}ms')], by)
    solver = BudgetSolver(model, part='backbone', table=table)
    with pytest.raises(ValueError, match='1e-09 ms of the total cannot be'):
        solver([Budget.parse('0.000000001ms')], by)
    # A member's own time is enough for an answer, to the last bit.
    rng = np.random.default_rng(seed)
    for _ in range(8):
        time = table(space.sample(rng))
        subnet = solver([Budget('latency', time, f'{time}ms')], by)
        assert table(subnet) <= time


@pytest.mark.parametrize('count', ['exact', 'paper'])
def test_what_is_used_is_that_of_the_closed_form(count: str) -> None:
    model = model_with()
    space = model.backbone.space
    table = jagged_table(space, 0)
    solver = BudgetSolver(model, count, table=table)
    rng = np.random.default_rng(0)
    for _ in range(50):
        subnet = space.sample(rng)
        for kind in (*KINDS, 'latency'):
            # As integers, not nearly: the limits of shares build on it.
            assert solver.use_of(subnet, {kind: 1}) == solver.cost(kind)(
                subnet
            )


@pytest.mark.parametrize('by', ['router', 'uniform'])
def test_budgets_that_cannot_be_reached(by: str) -> None:
    model = untrained()
    solver = BudgetSolver(model)
    with pytest.raises(ValueError, match='cannot be reached; this space'):
        solver([Budget.parse('10macs')], by)
    with pytest.raises(ValueError, match="by='fast'; must be one of"):
        solver([Budget.parse(0.5)], 'fast')
    with pytest.raises(ValueError, match='needs a latency table'):
        solver([Budget.parse('5ms')], by)
    low = model.params(model.backbone.space.smallest)['total']
    with pytest.raises(
        ValueError,
        match='within all budgets at once: .* MACs .* and .* parameters',
    ):
        # Each alone can be reached, by different subnets.
        _Tight(model)([Budget.parse(0.5), Budget.parse(f'{low}params')], by)


class _Tight(BudgetSolver):
    """A second cost that falls where the first rises."""

    def cost(self, kind: str) -> Any:
        first = super().cost('macs')
        if kind == 'macs':
            return first
        whole = super().cost('macs')(self.space.largest)
        return lambda subnet: 2 * whole - first(subnet)

    def _check_reachable(self, *args: Any) -> None:
        pass


def test_a_budget_is_set_until_further_notice(tmp_path: Path) -> None:
    model = fitted(tmp_path)
    x = batch_of(0)['inputs']
    whole = model(x)
    for budget in (0.3, '30%'):
        subnet = model.set_budget(budget)
        with pytest.raises(ValueError, match="budget='60%%'"):
            model.set_budget('60%%')
        assert model.backbone.subnet == subnet
        assert cost(model, subnet, 'macs') <= 0.3 * model.macs()['total']
        assert not torch.allclose(model(x), whole)
    assert model.set_budget() == model.backbone.space.largest
    assert torch.equal(model(x), whole)
    small = model.set_budget('20kparams', by='uniform')
    solver = BudgetSolver(model)
    assert small == solver([Budget.parse('20kparams')], 'uniform')
    with model.backbone.use(model.backbone.space.largest):
        assert torch.equal(model(x), whole)
    assert model.backbone.subnet == small


@pytest.mark.parametrize('part', ['total', 'backbone'])
def test_a_share_that_is_a_cost_fits_it(part: str) -> None:
    """Whatever the quotient was rounded to."""
    model = untrained()
    solver = BudgetSolver(model, part=part)
    spent = solver.cost('macs')
    space = model.backbone.space
    whole = spent(space.largest)
    rng = np.random.default_rng(0)
    subnets = [
        CostTable(space, spent).cheapest,
        *(space.sample(rng) for _ in range(100)),
    ]
    for subnet in subnets:
        share = spent(subnet) / whole
        limits = solver.limits([Budget.parse(share)])
        assert spent(subnet) <= limits['macs'] < spent(subnet) + 1
    cheapest = solver([Budget.parse(spent(subnets[0]) / whole)], 'router')
    assert spent(cheapest) == spent(subnets[0])


def test_a_part_without_macs_has_no_budget() -> None:
    solver = BudgetSolver(model_with(), count='paper', part='head')
    with pytest.raises(ValueError, match="count='paper' leaves out the head"):
        solver([Budget.parse(0.5)], 'uniform')
