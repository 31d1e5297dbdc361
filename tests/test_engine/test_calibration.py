"""Images for calibration, of any size in the data."""

import torch
import torch.nn.functional as F
from toys import classifier, images

from eavit_mm.engine.calibration import normalised_images


def test_images_of_another_size_are_made_smaller_without_aliases():
    model = classifier()
    large, own = images(3, size=(24, 36)), images(2)
    found = normalised_images(model, [dict(inputs=large), dict(inputs=own)], 4)
    assert torch.equal(found[3], own[0])
    # Of a stripe in three each pixel sees its share.
    stripes = torch.zeros_like(large)
    stripes[..., ::3] = 3
    (found,) = normalised_images(model, [dict(inputs=stripes[:1])], 1)
    torch.testing.assert_close(
        found[..., 1:-1], torch.ones(3, 8, 10), rtol=0, atol=0.1
    )
    expected = F.interpolate(large, (8, 12), mode='bilinear', antialias=True)
    again = normalised_images(model, [dict(inputs=large)], 3)
    torch.testing.assert_close(again, expected)
