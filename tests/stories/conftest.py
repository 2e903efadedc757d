"""For the stories: failures of shared checks show both sides."""

import pytest

pytest.register_assert_rewrite("tests.stories.acme")
