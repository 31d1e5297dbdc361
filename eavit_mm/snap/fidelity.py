"""How near the embeddings of a subnet stay to those of the whole network."""

import torch
import torch.nn.functional as F
from torch import Tensor

from eavit_mm.models.elastic_vit import ElasticVisionTransformer
from eavit_mm.snap.scores import embed
from eavit_mm.space import Subnet

# Of a space in which embeddings are compared; SnapViT's.
COMPONENTS = 192


class Fidelity:
    """Compares embeddings of the same images by the angle between them.

    In the space of their principal components, without the mean.

    Args:
        vit: The network, in evaluation mode.
        images: As it gets them (n, channels, h, w); no labels.
        batch_size: Of the forward passes.
    """

    def __init__(
        self,
        vit: ElasticVisionTransformer,
        images: Tensor,
        batch_size: int = 64,
    ) -> None:
        self.vit, self.images, self.batch_size = vit, images, batch_size
        whole = self._embed(None, slice(None))
        self.mean = whole.mean(0)
        # Of fewer images than that the components do not span the space.
        self.axes = torch.eye(whole.shape[1]).to(whole)
        if min(whole.shape) > COMPONENTS:
            centred = whole - self.mean
            _, _, axes = torch.linalg.svd(centred, full_matrices=False)
            self.axes = axes[:COMPONENTS].T
        self.target = self._project(whole)

    def __len__(self) -> int:
        return len(self.images)

    def losses(self, subnet: Subnet, part: slice = slice(None)) -> Tensor:
        """1 - cosine similarity to the whole network of each image.

        Args:
            subnet: Runs as a network of its own widths.
            part: Of the images.
        """
        cut = self._project(self._embed(subnet, part))
        return 1 - F.cosine_similarity(cut, self.target[part])

    @torch.no_grad()
    def _embed(self, subnet: Subnet | None, part: slice) -> Tensor:
        batches = torch.split(self.images[part], self.batch_size)
        with self.vit.frozen(subnet):
            found = [embed(self.vit, images).double() for images in batches]
        return torch.cat(found)

    def _project(self, embeddings: Tensor) -> Tensor:
        return (embeddings - self.mean) @ self.axes
