"""What all formats share in making a labelled image."""

import pytest

from pipeline.data.labelled_image import Unusable
from pipeline.data.readers.labelling import class_of_filename


@pytest.mark.parametrize(
    ("image_id", "name"), [("pug_1", "pug"), ("great_pyrenees_12", "great_pyrenees")]
)
def test_the_class_is_everything_before_the_last_underscore(image_id, name):
    assert class_of_filename(image_id) == name


@pytest.mark.parametrize("image_id", ["pug", "_1", ""])
def test_a_file_name_without_a_class_is_unusable(image_id):
    with pytest.raises(Unusable) as caught:
        class_of_filename(image_id)
    assert caught.value.kind == "no_class"
