"""Without deadlines on a shared machine; other cases in every run."""

from hypothesis import settings

settings.register_profile('no_deadline', deadline=None, max_examples=50)
settings.load_profile('no_deadline')
