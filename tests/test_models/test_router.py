"""The router: its gates, its losses, and what trains it."""

import copy
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fronts import front_of
from toys import (
    SCALA,
    SPACE,
    batch_of,
    classifier,
    sgd,
    snapshot,
)

from eavit_mm.models import RouterHead, elastic_step
from eavit_mm.models.elastic_step import Pass
from eavit_mm.models.gates import (
    by_decision,
    decision_gates_of,
    group_name,
)


def routed(folder: Path | None = None, **changes: Any) -> Any:
    """A classifier with a router, fitted to a front where a folder is."""
    space = changes.pop('space', SPACE)
    distillation = changes.pop('distillation', None)
    changes.setdefault('fit_steps', 30)
    router = dict(type='eavit_mm.RouterHead', **changes)
    if folder is not None:
        path = folder / 'pareto.json'
        front = front_of(classifier(backbone=dict(space=space)))
        path.write_text(json.dumps(front.to_dict()))
        router['front'] = str(path)
    model = classifier(
        backbone=dict(space=space), router=router, distillation=distillation
    )
    if folder is not None:
        model.router.init_weights()
    return model


# Groups


def test_groups_follow_the_space() -> None:
    sizes = {
        name: mlp[-1].out_features
        for name, mlp in routed().router.groups.items()
    }
    layers = range(3)
    assert sizes == {
        'embed_dims': 3,
        **{f'num_heads_{i}': 3 for i in layers},
        **{f'feedforward_channels_{i}': 3 for i in layers},
        'switches': 6,
    }
    tied = routed(
        space=dict(SPACE, ties=[['num_heads', 'embed_dims']], max_off=0)
    )
    assert 'switches' not in tied.router.groups
    assert group_name(tied.backbone.space.cells[0]) == 'embed_dims+num_heads'
    fixed = routed(space=dict(SPACE, embed_dims=[24]))
    assert 'embed_dims' not in fixed.router.groups
    subnet = fixed.router.subnet([0.5])
    fixed.backbone.space.check(subnet)


def test_draws_are_a_function_of_the_seed() -> None:
    model = routed(passes=4)
    state = torch.get_rng_state()
    first, second = (model.router.draw([1, 2], 0) for _ in range(2))
    assert torch.equal(torch.get_rng_state(), state)
    other = model.router.draw([1, 3], 0)
    for a, b, c in zip(first, second, other, strict=True):
        assert torch.equal(a.budgets, b.budgets)
        assert a.gates.subnet == b.gates.subnet
        assert not torch.equal(a.budgets, c.budgets)


@pytest.mark.parametrize('skew', [0.5, 2.0])
def test_low_budgets_come_as_often_as_skew_says(skew: float) -> None:
    router = routed(passes=250, skew=skew).router
    lowest = router.tables['macs'].lowest_share
    shares = np.array([r.budgets.item() for r in router.draw([5], 0)])
    assert lowest < shares.min()
    # Those above 1 are clamped: the largest network trains too.
    assert shares.max() == 1
    for share in (0.3, 0.6, 0.9, 0.999):
        # P(budget < share) of a uniform number to that power.
        place = (share - lowest) / (1.1 - lowest)
        assert (shares < share).mean() == pytest.approx(
            place ** (1 / skew), abs=0.08
        )


def test_noise_is_that_of_a_gumbel_sigmoid() -> None:
    """P(open) is the sigmoid of the logit; the temperature softens it."""
    groups = routed().router.groups
    for mlp in groups.values():
        torch.nn.init.uniform_(mlp[-1].bias, -3, 3)
    budgets = torch.full((4000, 1), 0.4, dtype=torch.float64)
    exact = torch.cat([mlp(budgets[0]) for mlp in groups.values()]).sigmoid()
    noisy = []
    for groups.temperature in (0.5, 2.0):
        rng = torch.Generator().manual_seed(0)
        soft = groups(budgets, rng)
        assert ((soft > 0.5).double().mean(dim=0) - exact).abs().max() < 0.04
        noisy.append(soft.logit() * groups.temperature)
    torch.testing.assert_close(*noisy, rtol=1e-5, atol=1e-5)


# Gradients


@pytest.mark.parametrize('seed', range(3))
def test_every_logit_has_a_gradient_from_the_task_alone(seed: int) -> None:
    model = routed()
    router, space = model.router, model.backbone.space
    (route,) = router.draw([seed], 0)
    with model.backbone.gated(route.gates):
        losses = model(**batch_of(seed, 8), mode='loss')
    losses['loss'].backward()
    off = {f'{axis}_{i}' for axis, i in space.decisions(route.subnet).off}
    for name, mlp in router.groups.items():
        gradient = mlp[-1].bias.grad  # that of the logits
        if name in off:
            assert not gradient.any(), name
        else:
            assert gradient.all(), (name, gradient)


@pytest.mark.parametrize('kinds', [['macs'], ['macs', 'params']])
def test_losses_by_hand(tmp_path: Path, kinds: list[str]) -> None:
    """The worst of the budgets counts, and the nearest reference."""
    weights = dict(budget_weight=3.0, pareto_weight=5.0)
    model = routed(tmp_path, budgets=kinds, **weights)
    router, space = model.router, model.backbone.space

    def shares(subnet: Any) -> np.ndarray:
        costs = [getattr(model, kind) for kind in kinds]
        return np.array([c(subnet)['total'] / c()['total'] for c in costs])

    def mask(subnet: Any) -> np.ndarray:
        prefixes, switches = decision_gates_of(space, subnet)
        return np.concatenate((prefixes.flatten(), switches))

    for seed in range(4):
        (route,) = router.draw([seed], 0)
        subnet, budgets = route.gates.subnet, route.budgets.numpy()
        losses = router.losses(route)
        excess = (shares(subnet) - budgets).max()
        found = losses['loss_budget'].item()
        assert found == pytest.approx(3 * excess**2, abs=1e-6)
        nearest = min(
            (m.subnet for m in router.front.references),
            key=lambda s: ((shares(s) - budgets) ** 2).sum(),
        )
        expected = 5 * ((mask(subnet) - mask(nearest)) ** 2).mean()
        found = losses['loss_pareto'].item()
        assert found == pytest.approx(expected, abs=1e-6)
    # The weight falls between two iterations.
    router.fade = (10, 30)
    for iteration, share in ((0, 1.0), (10, 1.0), (25, 0.25), (30, 0.0)):
        (later,) = router.draw([seed], iteration)
        found = router.losses(later).get('loss_pareto', torch.zeros(()))
        assert found.item() == pytest.approx(expected * share, abs=1e-6)


# The front


def test_fit_reproduces_the_references(tmp_path: Path) -> None:
    model = routed(tmp_path, hidden=4, fit_steps=350)
    router, whole = model.router, model.macs()['total']
    references = router.front.references
    found = [router.subnet([m.macs / whole]) for m in references]
    same = sum(s == m.subnet for s, m in zip(found, references, strict=True))
    assert same >= len(references) - 2
    costs = [model.macs(s)['total'] for s in found]
    assert costs == sorted(costs)
    # Surest of branches, so that noise seldom turns one off.
    masks = router.reference_masks.bool()
    soft = [router.groups(c) for c in router.reference_costs.double()]
    gates = torch.stack(soft)
    right = torch.where(masks, gates, 1 - gates).mean(dim=0)
    assert 0.8 < right[:-6].mean() < 0.92
    assert 0.95 < right[-6:].mean() < 0.995


def test_the_front_travels_in_the_checkpoint(tmp_path: Path) -> None:
    model = routed(tmp_path)
    torch.save(model.state_dict(), tmp_path / 'model.pth')
    state = torch.load(tmp_path / 'model.pth', weights_only=True)
    assert all(isinstance(value, torch.Tensor) for value in state.values())
    other = routed()
    other.load_state_dict(state)
    assert other.router.front == model.router.front
    for budget in np.linspace(0.05, 1, 20):
        assert other.router.subnet([budget]) == model.router.subnet([budget])
    copied = copy.deepcopy(other)
    assert copied.router.front == model.router.front


def test_supernets_of_both_stages_load_each_other(tmp_path: Path) -> None:
    one, two = classifier(), routed(tmp_path)
    before = snapshot(two.router)
    two.load_state_dict(one.state_dict())
    after = two.router.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    torch.testing.assert_close(two.backbone.pos_embed, one.backbone.pos_embed)
    state = two.state_dict()
    one.load_state_dict(state)
    part = {
        k: v for k, v in state.items() if k != 'router.groups.switches.0.bias'
    }
    with pytest.raises(ValueError, match='missing'):
        routed().load_state_dict(part)


@pytest.mark.parametrize(
    'text', ['', '3', '{}', '{"front": 3, "evaluated": {}}', '{"front": null}']
)
def test_broken_fronts_of_a_checkpoint(text: str) -> None:
    state = torch.tensor(list(text.encode()), dtype=torch.uint8)
    with pytest.raises(ValueError, match='the front beside the router is'):
        routed().router.set_extra_state(state)


def test_fronts_that_are_not_there_or_foreign(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="router.front='.*no.json'.*search"):
        routed(front=str(tmp_path / 'no.json')).router.init_weights()
    path = tmp_path / 'pareto.json'
    narrow = dict(SPACE, embed_dims=[8, 24])
    front = front_of(classifier(backbone=dict(space=narrow)))
    path.write_text(json.dumps(front.to_dict()))
    with pytest.raises(ValueError, match='of another space'):
        routed(front=str(path)).router.init_weights()
    for wrong, words in (
        (3, 'router=3; must be a dict'),
        ({}, "router={}; must be a dict with a 'type': a RouterHead, one of"),
        (dict(type='LinearClsHead'), r"valid are \['eavit_mm.RouterHead', "),
        (dict(type='eavit_mm.RouterHead', skwe=1), "router.skwe=1 .*'skew'"),
    ):
        with pytest.raises(ValueError, match=words):
            classifier(router=wrong)


# Steps


@pytest.mark.parametrize('gated_every', [1, 3])
def test_steps_train_backbone_and_router(
    tmp_path: Path, gated_every: int
) -> None:
    model = routed(tmp_path, gated_every=gated_every, passes=2)
    wrapper = sgd(model)
    for number in range(6):
        before = snapshot(model)
        log = elastic_step(model, model, batch_of(number), wrapper)
        assert {'loss', 'loss_budget', 'loss_pareto'} <= log.keys()
        after = model.state_dict()
        changed = {k for k in after if not torch.equal(after[k], before[k])}
        assert any(k.startswith('router.groups') for k in changed)
        assert 'backbone.pos_embed' in changed
    assert isinstance(model.router, RouterHead)


def test_losses_of_a_route_are_not_rounded_by_autocast(tmp_path: Path) -> None:
    router = routed(tmp_path).float().router
    (route,) = router.draw([1], 0)
    with torch.autocast('cpu', torch.bfloat16):
        found = router.losses(route)
    assert found == router.losses(route)


@pytest.mark.parametrize('seed', range(3))
def test_a_gated_step_trains_the_backbone_as_a_sliced_one(
    tmp_path: Path, seed: int
) -> None:
    model = routed(tmp_path)
    twin = copy.deepcopy(model)
    (gated,) = model.draw_passes(seed)
    assert gated.route.gates is not None
    draw = twin.draw_passes
    twin.draw_passes = lambda iteration: [
        Pass(each.subnet, each.route._replace(gates=None))
        for each in draw(iteration)
    ]
    for network in (model, twin):
        wrapper = sgd(network)
        wrapper._inner_count = seed
        elastic_step(network, network, batch_of(seed), wrapper)
    for (name, a), (_, b) in zip(
        model.backbone.named_parameters(),
        twin.backbone.named_parameters(),
        strict=True,
    ):
        torch.testing.assert_close(
            a, b, rtol=0, atol=1e-9, msg=lambda m, n=name: n + m
        )


def test_sliced_steps_train_what_the_router_answers_with(
    tmp_path: Path,
) -> None:
    model = routed(tmp_path, gated_every=3, passes=8)
    router, (table,) = model.router, model.router.tables.values()
    shut = 0
    for iteration in range(6):
        passes = model.draw_passes(iteration)
        is_gated = iteration % 3 == 0
        assert all(bool(each.route.gates) == is_gated for each in passes)
        budgets = [each.route.budgets.item() for each in passes]
        choices = [router.subnet([budget]) for budget in budgets]
        if is_gated:  # noise explores around the choices
            assert [each.subnet for each in passes] != choices
            continue
        for each, choice, budget in zip(passes, choices, budgets, strict=True):
            if table.share(choice) > budget:
                shut += 1
                below = [s for s in router.nested([budget]) if s != choice]
                assert each.subnet in below
                assert (
                    table.share(each.subnet) <= budget
                    or each.subnet == below[0]
                )
            else:
                assert (
                    table.share(choice) <= table.share(each.subnet) <= budget
                )
    assert shut


def test_a_teacher_has_no_part_in_the_routers_losses(tmp_path: Path) -> None:
    """Whatever the weight of the task beside the distillation."""
    logs = []
    for task_weight in (1.0, 0.0):
        teacher = dict(
            type='eavit_mm.InPlaceDistillation',
            hidden_weight=0.1,
            task_weight=task_weight,
        )
        model = routed(tmp_path, distillation=teacher)
        logs.append(elastic_step(model, model, batch_of(0), sgd(model)))
    for name in ('loss_budget', 'loss_pareto', 'hidden_loss', 'distill_loss'):
        assert logs[0][name] == logs[1][name] > 0, name


@pytest.mark.parametrize('seed', range(3))
def test_nested_subnets_surround_the_choice(seed: int) -> None:
    torch.manual_seed(seed)
    router = routed().router
    for mlp in router.groups.values():
        torch.nn.init.normal_(mlp[-1].bias, std=2.0)
    share = float(np.random.default_rng(seed).uniform(0.2, 1))
    nested = router.nested([share])
    space = router.space
    assert len(set(nested)) == len(nested)
    off = space.decisions(nested[0]).off
    # The width of a branch that is off is no fact of a subnet.
    cells = [
        (i, cell)
        for i, cell in enumerate(space.cells)
        if not cell.branches or set(cell.branches) - set(off)
    ]
    soft = by_decision(space, router.groups(router._inputs([share])))
    groups = [
        (i, sorted(soft.prefixes[i].tolist(), reverse=True)) for i, _ in cells
    ]
    for number, subnet in enumerate(nested):
        space.check(subnet)
        assert space.decisions(subnet).off == off
        indices = space.decisions(subnet).indices
        opened = [p for i, group in groups for p in group[: indices[i]]]
        shut = [p for i, group in groups for p in group[indices[i] :]]
        # The likeliest first.
        assert min(opened, default=1) > max(shut, default=0)
        assert len(opened) >= number
    assert not any(space.decisions(nested[0]).indices)
    assert router.subnet([share]) in nested
    full = space.decisions(nested[-1]).indices
    assert all(full[i] == cell.num_choices - 1 for i, cell in cells)


def test_a_router_of_other_budgets_is_refused() -> None:
    for own, given in (
        (['macs'], ['params']),
        (['macs', 'params'], ['params', 'macs']),
    ):
        state = routed(budgets=given).state_dict()
        words = f'router.budgets={own}; the router of the checkpoint has'
        with pytest.raises(ValueError, match=re.escape(words)):
            routed(budgets=own).load_state_dict(state)
    state = routed(part='backbone').state_dict()
    words = "router.part='total'; the router of the checkpoint has 'backbone'"
    with pytest.raises(ValueError, match=re.escape(words)):
        routed().load_state_dict(state)


def test_one_member_leaves_nothing_to_choose() -> None:
    with pytest.raises(ValueError, match='the space has one member'):
        routed(space=None)


def test_narrow_heads_and_suffixes_are_refused() -> None:
    for space in (SCALA, dict(SPACE, suffix_smallest=True)):
        with pytest.raises(ValueError, match="side='suffix'.*or no router"):
            routed(space=space)
