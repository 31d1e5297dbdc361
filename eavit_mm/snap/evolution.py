"""Coefficients that make scores of different layers comparable.

Local scores rank the units of a layer. How layers compare is told by one
factor for each FFN and each head, found by an evolution strategy on the
embeddings of cut networks, without labels (SnapViT, arXiv 2510.17700).

Letters: L layers, H heads, d = L + L H coefficients.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import contextmanager
from math import log, sqrt
from typing import Any

import numpy as np
import torch

from eavit_mm.models.elastic_vit import ElasticVisionTransformer
from eavit_mm.options import check_count, check_flag
from eavit_mm.rearrange import Permutation, permute_backbone, sort_units
from eavit_mm.rearrange.criteria import Scores
from eavit_mm.snap.cut import Cuts
from eavit_mm.snap.fidelity import Fidelity
from eavit_mm.space import SearchSpace
from eavit_mm.space.cells import FFN, HEADS

# The sparsities of neurons and heads at which coefficients are judged.
PAIRS = ((0.15, 0.0), (0.35, 0.2), (0.55, 0.4), (0.65, 0.5))
# Parts of the images that candidates see, until they are told apart.
_PARTS = (1 / 8, 1 / 4, 1 / 2, 1.0)
# Standard errors of a difference from which on it is one.
_APART = 3.0

# The loss of coefficients for each image of a part.
Measure = Callable[[np.ndarray, slice], np.ndarray]


def start_coefficients(space: SearchSpace) -> np.ndarray:
    """The paper's start: a little less for later layers."""
    depth = np.linspace(1.2, 0.8, space.num_layers)
    heads = [space.choices(HEADS, i)[-1] for i in range(space.num_layers)]
    return np.concatenate((depth, np.repeat(depth, heads)))


def weigh(scores: Scores, coefficients: np.ndarray) -> Scores:
    """Scores times the size of the coefficients, first those of the FFNs."""
    sizes = torch.from_numpy(np.abs(coefficients))
    layers = [layer for axis, layer in scores if axis == FFN]
    heads = [len(scores[HEADS, layer]) for layer in layers]
    of_ffns, *of_heads = torch.split(sizes, [len(layers), *heads])
    return {
        **{(FFN, i): scores[FFN, i] * of_ffns[i] for i in layers},
        **{(HEADS, i): scores[HEADS, i] * of_heads[i] for i in layers},
    }


def in_order(scores: Scores, order: Permutation) -> Scores:
    """Scores of units that have been put into an order, if in any."""
    return {**scores, **{k: scores[k][o] for k, o in order.items()}}


def reorder(vit: ElasticVisionTransformer, scores: Scores) -> Scores:
    """Puts units into the order of their scores, and gives these in it."""
    order = sort_units(scores)
    permute_backbone(vit, order)
    return in_order(scores, order)


class Judge:
    """Cuts a network by coefficients and compares its embeddings.

    Args:
        fidelity: Of the network, whose units stand in the order of scores.
        scores: Of its heads and neurons.
    """

    def __init__(self, fidelity: Fidelity, scores: Scores) -> None:
        self.fidelity, self.scores = fidelity, scores

    def __call__(self, coefficients: np.ndarray, part: slice) -> np.ndarray:
        """Mean loss over the sparsities, of each image of a part."""
        vit = self.fidelity.vit
        scores = weigh(self.scores, coefficients)
        with heads_in_order(vit, scores) as ordered:
            cuts = Cuts(vit.space, ordered, {})
            losses = [
                self.fidelity.losses(subnet, part)
                for subnet in cuts.at_sparsities(PAIRS)
            ]
        return torch.stack(losses).mean(0).cpu().numpy()


@contextmanager
def heads_in_order(vit: ElasticVisionTransformer, scores: Scores) -> Any:
    """Puts heads into the order of their scores while it lasts.

    Factors of single heads change the order within a layer; one factor of
    all its neurons does not.

    Yields:
        The scores in that order.
    """
    order = sort_units({k: v for k, v in scores.items() if k[0] == HEADS})
    permute_backbone(vit, order)
    try:
        yield in_order(scores, order)
    finally:
        permute_backbone(vit, {k: o.argsort() for k, o in order.items()})


class XNES:
    """The exponential natural evolution strategy (Glasmachers et al., 2010).

    A normal distribution that moves towards its better draws.

    Args:
        mean: Where it begins (d); the standard deviation is 1 on every axis.
    """

    def __init__(self, mean: np.ndarray) -> None:
        d = len(mean)
        self.mean, self.shape = mean, np.eye(d)
        self.number = 4 + int(3 * log(d))
        self.rate = 0.6 * (3 + log(d)) / (d * sqrt(d))
        ranks = np.arange(1, self.number + 1)
        weights = np.maximum(0, log(self.number / 2 + 1) - np.log(ranks))
        self.utilities = weights / weights.sum() - 1 / self.number

    def candidates(self, noise: np.ndarray) -> np.ndarray:
        """The draws of standard normal noise (number, d)."""
        return self.mean + noise @ self.shape.T

    def update(self, noise: np.ndarray, order: Sequence[int]) -> None:
        """Learns from the order of a generation, the best first."""
        best = noise[list(order)]
        self.mean = self.mean + self.shape @ (self.utilities @ best)
        second = (best.T * self.utilities) @ best  # these sum to 0
        values, vectors = np.linalg.eigh(self.rate / 2 * second)
        self.shape = self.shape @ (vectors * np.exp(values)) @ vectors.T


def race(
    measure: Measure, candidates: Sequence[np.ndarray], total: int
) -> tuple[list[int], list[np.ndarray]]:
    """Orders candidates, the best first, on as few images as tell them apart.

    All see the same images. Who is far behind the best does not go on; the
    best sees all.

    Returns:
        The order, and the losses of each on the images that it saw.
    """
    losses = [np.empty(0) for _ in candidates]
    running = list(range(len(candidates)))
    for share in _PARTS:
        end = max(int(share * total), 1)
        for i in running:
            part = slice(len(losses[i]), end)
            if part.start < end:
                more = measure(candidates[i], part)
                losses[i] = np.concatenate((losses[i], more))
        running.sort(key=lambda i: losses[i].mean())
        behind = [losses[i] - losses[running[0]] for i in running]
        running = [
            i
            for i, further in zip(running, behind, strict=True)
            if further.mean() <= _APART * further.std() / sqrt(end)
        ]
    order = sorted(
        range(len(candidates)),
        key=lambda i: (-len(losses[i]), losses[i].mean()),
    )
    return order, losses


def evolve(
    measure: Measure,
    total: int,
    start: np.ndarray,
    evaluations: int = 50,
    seed: int = 0,
    at_random: bool = False,
    known: Sequence[Mapping[str, Any]] = (),
    record: Callable[[dict[str, Any]], None] = lambda generation: None,
) -> tuple[np.ndarray, float]:
    """The best coefficients that were found, and their loss on all images.

    Args:
        measure: What is made least.
        total: How many images there are.
        start: The first candidate, and the mean of the first draws.
        evaluations: Candidates in all.
        seed: Of every draw.
        at_random: Learns nothing: the draws are all around the start.
        known: Generations that an earlier run recorded.
        record: Gets each new one, as plain values.

    Raises:
        ValueError: If a number is not valid.
    """
    check_count('evaluations', evaluations, least=1)
    check_count('seed', seed)
    check_flag('at_random', at_random)
    strategy = XNES(start)
    candidates, noise = start[None], np.zeros((1, len(start)))
    best, least, done, generation = start, np.inf, 0, 0
    while True:
        if generation < len(known):
            found = known[generation]
        else:
            order, losses = race(measure, list(candidates), total)
            found = dict(
                order=order,
                losses=[float(loss.mean()) for loss in losses],
                images=[len(loss) for loss in losses],
            )
            record(found)
        leader = found['order'][0]
        if found['losses'][leader] < least:
            best, least = candidates[leader], found['losses'][leader]
        done += len(candidates)
        if done >= evaluations:
            return best, float(least)
        if generation and not at_random:
            strategy.update(noise, found['order'])
        generation += 1
        rng = np.random.default_rng([seed, generation])
        noise = rng.standard_normal((strategy.number, len(start)))
        candidates = strategy.candidates(noise)[: evaluations - done]
