"""What holds for all tests: property tests have no deadline, and in CI the same examples every time."""

import os

from hypothesis import settings

settings.register_profile("here", deadline=None, derandomize="CI" in os.environ)
settings.load_profile("here")
