"""The supernet of a config, without a runner."""

from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmpretrain.registry import MODELS

from eavit_mm.engine.unwrap import elastic_model
from eavit_mm.models import ElasticModelMixin


def build_supernet(cfg: Config, asked_by: str) -> ElasticModelMixin:
    """The supernet as a runner would build it, in evaluation mode.

    Args:
        cfg: Whose model gets the config's preprocessor and loses its
            ``init_cfg``: its weights come from a checkpoint, or do not
            matter.
        asked_by: Name of the part that needs it, for the message.

    Raises:
        ValueError: If the config has no model, or none that is elastic.
    """
    init_default_scope(cfg.get('default_scope', 'mmpretrain'))
    model = cfg.get('model')
    if not isinstance(model, dict):
        raise ValueError(f'{cfg.filename}: model={model!r}; must be a dict')
    if 'backbone' in model:
        model['backbone']['init_cfg'] = None
    model.setdefault('data_preprocessor', cfg.get('data_preprocessor'))
    supernet = elastic_model(MODELS.build(model), asked_by)
    supernet.eval()
    return supernet
