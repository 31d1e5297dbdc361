"""The router that learns from a prediction of the loss."""

import copy
from typing import Any

import pytest
import torch.nn.functional as F
from steps import GradientRecorder, assert_gradients, gradients, labels_of
from toys import SPACE, batch_of, classifier

from eavit_mm.models.gates import subnet_of
from eavit_mm.models.router_groups import mask_of

pytestmark = pytest.mark.usefixtures('run_seed')


def model_of(**changes: Any) -> Any:
    router = dict(type='eavit_mm.SurrogateRouter', surrogate=7, **changes)
    return classifier(backbone=dict(space=SPACE), router=router)


def test_a_step_is_the_slow_twins() -> None:
    """Sliced networks, drawn with noise; each loss has gradients of its own.

    The network learns from its task, the surrogate from its error, the router
    from what is predicted and from its budget.
    """
    model = model_of(passes=2, budget_weight=3.0)
    twin, data = copy.deepcopy(model), batch_of(0, size=4)
    recorder = GradientRecorder(model)
    logs = model.train_step(data, recorder)
    router, drawn = twin.router, []
    errors = 0.0
    for route in router.draw(twin._stream(0), 0):
        assert route.gates is None
        assert route.subnet == subnet_of(router.space, route.decisions)
        drawn.append(route.subnet)
        with twin.backbone.use(route.subnet):
            logits = twin.head(twin.backbone(data['inputs']))
        task = F.cross_entropy(logits, labels_of(data))
        task.backward()
        mask = mask_of(router.space, route.decisions)
        first, _, last = router.surrogate
        weights = [w.detach() for w in (first.weight, first.bias)]
        hidden = F.linear(mask, *weights).relu()
        predicted = hidden @ last.weight[0].detach() + last.bias.detach()
        (cost,) = router.costs.values()
        excess = cost(route.decisions) - route.budgets[0]
        (predicted.squeeze() + 3.0 * excess.square()).backward()
        error = router.surrogate(mask.detach()) - task.detach()
        error.square().backward()
        errors += error.square().item()
    assert len(set(drawn)) == 2
    assert_gradients(recorder.steps[0], gradients(twin))
    assert logs['loss_surrogate'].item() == pytest.approx(errors)
    assert gradients(twin)['router.surrogate.2.bias'].abs() > 0


def test_a_count_that_is_none() -> None:
    with pytest.raises(ValueError, match='router.surrogate=0; must be an int'):
        classifier(router=dict(type='eavit_mm.SurrogateRouter', surrogate=0))
