import json
import threading

import pytest

from pipeline.errors import UserError
from pipeline.shipping.bucket_publisher import BucketPublisher
from pipeline.shipping.destination import publisher_for

FOLDER = "gs://my-bucket/pushed/demo"


def files(content: bytes) -> dict[str, bytes]:
    return {"detect.tflite": content, "labels.txt": b"cat\n"}


def latest(cloud) -> dict:
    return json.loads(cloud.objects["my-bucket", "pushed/demo/latest"][0])


def test_versions_count_up_and_latest_follows(cloud):
    publisher = publisher_for(FOLDER)
    first = publisher.publish(files(b"one"), {"run_id": "1"})
    second = publisher.publish(files(b"two"), {"run_id": "2"})
    assert (first.version, second.version) == ("1", "2")
    assert latest(cloud) == {"version": "2", "path": f"{FOLDER}/2"}
    manifest = json.loads(cloud.objects["my-bucket", "pushed/demo/2/manifest.json"][0])
    assert manifest["run_id"] == "2"
    assert manifest["files"]["detect.tflite"]["sha256"] == second.files["detect.tflite"]["sha256"]


def test_the_same_files_make_no_second_version(cloud):
    first = BucketPublisher(FOLDER).publish(files(b"one"), {})
    assert BucketPublisher(FOLDER).publish(files(b"one"), {}) == first
    assert latest(cloud)["version"] == "1"


@pytest.mark.parametrize("name", ["detect.tflite", "labels.txt", "manifest.json"])
@pytest.mark.parametrize("content", [b"another", None])
def test_a_damaged_latest_version_is_published_again(cloud, name, content):
    BucketPublisher(FOLDER).publish(files(b"one"), {})
    damaged = ("my-bucket", f"pushed/demo/1/{name}")
    if content is None:
        del cloud.objects[damaged]
    else:
        cloud.objects[damaged] = (content, 2)
    assert BucketPublisher(FOLDER).publish(files(b"one"), {}).version == "2"
    assert latest(cloud)["version"] == "2"


def test_pushes_that_end_at_once_leave_the_greatest_version_as_latest(cloud):
    meeting = threading.Barrier(2, timeout=20)
    waited = set()

    def meet(name):
        # Both have read `latest`, and both write it: one of them has to notice.
        if name.endswith("latest") and threading.get_ident() not in waited and len(waited) < 2:
            waited.add(threading.get_ident())
            meeting.wait()

    cloud.storage.before_write = meet
    published = []
    threads = [
        threading.Thread(
            target=lambda content=content: published.append(
                BucketPublisher(FOLDER).publish(files(content), {})
            )
        )
        for content in (b"one", b"two")
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert {one.version for one in published} == {"1", "2"}
    assert latest(cloud)["version"] == "2"


def test_a_push_that_was_cut_off_is_not_served(cloud):
    BucketPublisher(FOLDER).publish(files(b"one"), {})
    cloud.objects["my-bucket", "pushed/demo/2/detect.tflite"] = (b"half", 1)
    assert latest(cloud)["version"] == "1"
    assert BucketPublisher(FOLDER).publish(files(b"three"), {}).version == "3"
    assert latest(cloud)["version"] == "3"


def test_a_missing_bucket_and_a_wrong_url_are_one_line(cloud):
    with pytest.raises(UserError, match=r"roles/storage\.objectAdmin"):
        BucketPublisher("gs://elsewhere/pushed").publish(files(b"one"), {})
    with pytest.raises(UserError, match="gs://BUCKET/FOLDER"):
        BucketPublisher("gs://my-bucket")
