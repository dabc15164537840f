from pipeline.data.inputs import find_voc_inputs

PATTERNS = {"images": "images/*", "annotations": "annotations/xmls/*"}


def test_folders_inside_of_the_folders_are_named_as_such(tmp_path):
    (tmp_path / "images" / "cats").mkdir(parents=True)
    (tmp_path / "images" / "README").write_text("")
    (tmp_path / "annotations" / "xmls" / "cats").mkdir(parents=True)
    ignored = find_voc_inputs(str(tmp_path), PATTERNS, "name").ignored
    reasons = {item.file: item.reason for item in ignored}
    assert reasons["images/README"] == "not a picture"
    for folder in ("images/cats", "annotations/xmls/cats"):
        assert reasons[folder].startswith("a folder; ")
