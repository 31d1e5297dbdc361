"""What embeddings are worth without the network's own head.

Letters: n images of the training data, E channels of an embedding.
"""

from collections.abc import Sequence
from typing import Any
from weakref import ref

import torch
import torch.nn.functional as F
from mmengine.evaluator import BaseMetric
from mmengine.model import BaseTTAModel
from mmengine.runner import Runner
from torch import Tensor, nn

from eavit_mm.engine.calibration import plain_training_data
from eavit_mm.engine.kept_data import KeptData
from eavit_mm.engine.unwrap import unwrap
from eavit_mm.options import check_count, check_number
from eavit_mm.registry import METRICS
from eavit_mm.snap.scores import embed

_BATCH = 256  # of the probe


@METRICS.register_module()
class EmbeddingMetric(BaseMetric):
    """Accuracy of nearest neighbours and of a linear probe, in per cent.

    Reports ``embedding/knn`` and ``embedding/linear``: classes are told by
    the embeddings of all training images, seen as the images of this
    evaluation are, of the same subnet. An embedding is the class token, or
    the mean over patches where the backbone gives no token. Runs under the
    tools of eavit_mm, in any evaluator of classes.

    Args:
        k: Neighbours, which vote, each as much as the others; 0: no kNN.
        epochs: Of the probe; 0: no probe.
        lr: Its learning rate (SGD, momentum 0.9, batches of 256, falling as
            a cosine).
        **kwargs: Those of mmengine's ``BaseMetric``.

    Example:
        >>> test_evaluator = [dict(type='Accuracy', topk=(1,)),
        ...                   dict(type='eavit_mm.EmbeddingMetric')]
    """

    default_prefix = 'embedding'

    def __init__(
        self, k: int = 20, epochs: int = 100, lr: float = 1e-3, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        check_count('k', k)
        check_count('epochs', epochs, least=0 if k else 1)
        check_number('lr', lr, positive=True)
        self.k, self.epochs, self.lr = k, epochs, lr
        # Copies of the evaluator share the model; none of them holds it.
        self.model: Any = lambda: None
        self.cfg: Any = None
        self.data: KeptData | None = None

    def attach(self, model: nn.Module, cfg: Any) -> None:
        """Tells which network is evaluated, and the config of the run.

        Raises:
            ValueError: If images are augmented.
        """
        if isinstance(model, BaseTTAModel):
            raise ValueError('--tta: an embedding is of one image')
        self.model, self.cfg = ref(unwrap(model)), cfg

    def process(self, data_batch: Any, data_samples: Sequence[Any]) -> None:
        """See the base class."""
        self.results.extend(self._embeddings(data_batch))

    def compute_metrics(self, results: list[Any]) -> dict[str, float]:
        """See the base class."""
        if self.data is None:
            model = self.model()
            loader = Runner.build_dataloader(
                plain_training_data(self.cfg, type(self).__name__), seed=0
            )
            self.data = KeptData(loader, model.data_preprocessor.cast_data)
        known = [
            pair for batch in self.data for pair in self._embeddings(batch)
        ]
        train, labels = _stack(known)
        test, truth = _stack(results)
        found = {}
        if self.k:
            found['knn'] = nearest(train, labels, test, self.k)
        if self.epochs:
            options = self.epochs, self.lr
            found['linear'] = probe(train, labels, test, *options)
        return {
            name: 100 * (classes == truth).double().mean().item()
            for name, classes in found.items()
        }

    @torch.no_grad()
    def _embeddings(self, batch: Any) -> list[tuple[Tensor, Tensor]]:
        """Embedding and class of each image, on the CPU."""
        model = self.model()
        if model is None:
            raise ValueError(
                'EmbeddingMetric: runs under tools/test.py, search.py and '
                'train.py of eavit_mm, which tell it the network'
            )
        data = model.data_preprocessor(batch, False)
        samples = data['data_samples']
        labels: Any = [getattr(s, 'gt_label', ()) for s in samples]
        if any(len(label) != 1 for label in labels):
            raise ValueError(
                'EmbeddingMetric: needs images of one class each '
                '(gt_label); the data set has others'
            )
        embeddings = embed(model.backbone, data['inputs']).float().cpu()
        return [*zip(embeddings, torch.cat(labels).cpu(), strict=True)]


def _stack(pairs: Sequence[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    embeddings, labels = zip(*pairs, strict=True)
    return torch.stack(embeddings), torch.stack(labels)


def nearest(train: Tensor, labels: Tensor, test: Tensor, k: int) -> Tensor:
    """The class that most of the k nearest have; of equals the first.

    Args:
        train: (n, E).
        labels: (n).
        test: (m, E); distances are those of embeddings of length 1.
        k: All n where there are fewer.
    """
    train, test = F.normalize(train), F.normalize(test)
    classes = int(labels.max()) + 1
    found = []
    for part in torch.split(test, 1024):
        near = (part @ train.T).topk(min(k, len(train))).indices
        votes = F.one_hot(labels[near], classes).sum(1)
        found.append(votes.argmax(1))
    return torch.cat(found)


@torch.enable_grad()
def probe(
    train: Tensor,
    labels: Tensor,
    test: Tensor,
    epochs: int = 100,
    lr: float = 1e-3,
) -> Tensor:
    """The classes that a linear map tells, trained on (n, E) and (n)."""
    rng = torch.Generator().manual_seed(0)
    linear = nn.Linear(train.shape[1], int(labels.max()) + 1)
    nn.init.normal_(linear.weight, std=0.01, generator=rng)
    nn.init.zeros_(linear.bias)
    optimizer = torch.optim.SGD(linear.parameters(), lr, momentum=0.9)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)
    for _ in range(epochs):
        order = torch.randperm(len(train), generator=rng)
        for part in torch.split(order, _BATCH):
            loss = F.cross_entropy(linear(train[part]), labels[part])
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
        schedule.step()
    return linear(test).argmax(1)
