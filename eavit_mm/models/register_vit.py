"""mmpretrain's Vision Transformer with register tokens (arXiv 2309.16588)."""

from typing import Any

import torch
from mmpretrain.models import VisionTransformer
from torch import nn

from eavit_mm.options import check_count


class RegisterVisionTransformer(VisionTransformer):
    """Vision Transformer with learned tokens beside the class token.

    They stand between class token and patches, in one parameter with the
    class token, ``cls_token`` (1, 1 + R, C), and have rows of ``pos_embed``
    as it has: so the stock forward serves, and feature maps and means leave
    them out. Without a class token ``cls_token`` holds the registers alone,
    and without registers it is the stock network.

    Args:
        *args: Those of ``VisionTransformer``.
        num_register_tokens: R.
        **kwargs: Those of ``VisionTransformer``.

    Raises:
        ValueError: If R is no integer from 0 on.
    """

    pos_embed: nn.Parameter

    def __init__(
        self, *args: Any, num_register_tokens: int = 0, **kwargs: Any
    ) -> None:
        check_count('num_register_tokens', num_register_tokens)
        super().__init__(*args, **kwargs)
        if num_register_tokens:
            _, N, C = self.pos_embed.shape
            # Of frozen stages the constructor has taken the gradients.
            learns = self.pos_embed.requires_grad
            self.num_extra_tokens += num_register_tokens
            tokens = torch.zeros(1, self.num_extra_tokens, C)
            rows = torch.zeros(1, N + num_register_tokens, C)
            self.cls_token = nn.Parameter(tokens, learns)
            self.pos_embed = nn.Parameter(rows, learns)
