"""The short form of `make campaign`: every kind of step once."""

import pytest

from tests.campaign.campaign import Campaign


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_every_fault_is_survived_and_every_answer_is_right(tmp_path):
    said = []
    campaign = Campaign(tmp_path, seed=1, say=said.append)
    campaign.go(minutes=0)
    assert campaign.problems == [], "\n".join(said)
    assert campaign.counts["questions"] > 50
