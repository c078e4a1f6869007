"""What several tests of exported models take."""

import pytest
from exports import NAMES


@pytest.fixture(params=NAMES)
def form(request):
    """The name of a form."""
    return request.param
