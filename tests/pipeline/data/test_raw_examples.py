import pytest

from pipeline.data.raw_examples import encoded_pictures
from tests.pipeline.tiny_detector import picture


@pytest.mark.parametrize("count", [1, 3, 100])
def test_the_first_pictures_as_they_were_found(examples_artifact, write_examples, count):
    pictures = [picture(seed) for seed in range(5)]
    write_examples(
        examples_artifact, [(str(seed), encoded, [], []) for seed, encoded in enumerate(pictures)]
    )
    expected = pictures[::-1]  # the fixture writes back to front
    assert encoded_pictures(examples_artifact, "eval", count) == expected[:count]
