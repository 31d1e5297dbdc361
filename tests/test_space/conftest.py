"""The tests of a shared machine have no deadlines."""

from hypothesis import settings

settings.register_profile('no_deadline', deadline=None)
settings.load_profile('no_deadline')
