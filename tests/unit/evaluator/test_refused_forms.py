"""Which refusals are about the form of a verdict, and are no reason to give up."""

import pytest

from services.evaluator.jobs.reviewing import refuses_form
from shared.errors import InvalidRequest, UnsupportedParameter


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        (UnsupportedParameter("Not served.", param="response_format"), True),
        (UnsupportedParameter("json_schema is not served."), True),
        (UnsupportedParameter("Not served."), True),
        (InvalidRequest("Invalid schema for response_format 'verdict'."), True),
        (UnsupportedParameter("Use another one.", param="max_tokens"), False),
        (InvalidRequest("Only 1 is taken.", param="temperature"), False),
    ],
)
def test_a_refused_form_is_told_from_other_refusals(fault, expected):
    assert refuses_form(fault) is expected
