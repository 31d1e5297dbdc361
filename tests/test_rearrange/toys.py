"""Random small classifiers, and what scores their units."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from toys import HEADS, batch_of, classifier, parts_for, random_backbone

from eavit_mm.rearrange import (
    ActivationCriterion,
    MagnitudeCriterion,
    NoCriterion,
    RandomCriterion,
    TaylorCriterion,
)
from eavit_mm.rearrange.criteria import Scores

CRITERIA = dict(
    activation=ActivationCriterion,
    taylor=TaylorCriterion,
    magnitude=MagnitudeCriterion,
    random=RandomCriterion,
    none=NoCriterion,
)


def build(seed: int = 0, head: str = 'linear', **backbone: Any) -> Any:
    """A classifier in float64 whose parameters are all random."""
    parts = parts_for(backbone.get('out_type', 'cls_token'), head)
    backbone = dict(backbone, space=None)
    return classifier(backbone=backbone, seed=seed, **parts).eval()


def draw(seed: int) -> Any:
    """A random classifier."""
    rng = np.random.default_rng(seed)
    cfg = random_backbone(rng)
    return build(seed, str(rng.choice(list(HEADS))), **cfg)


def batches(number: int = 2, model: Any = None) -> Iterator[dict[str, Any]]:
    """A stream, as a data loader gives it: it can be read once."""
    yield from (batch_of(i, model=model) for i in range(number))


def assert_same_scores(
    actual: Scores, expected: Scores, rtol: float = 1e-4
) -> None:
    """Equal up to float32, in which scores are kept."""
    assert actual.keys() == expected.keys()
    for name, vector in expected.items():
        torch.testing.assert_close(
            actual[name].double(),
            vector.double(),
            rtol=rtol,
            atol=1e-7 + rtol * float(vector.abs().mean()),
            msg=lambda text, name=name: f'{name}: {text}',
        )
