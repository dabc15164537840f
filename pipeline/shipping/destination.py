"""Which publisher serves a destination. `pipeline.publish` does without TFX, so this does, too."""

from pipeline.errors import UserError
from pipeline.shipping.folder_publisher import FolderPublisher
from pipeline.shipping.publisher import Publisher


def publisher_for(destination: str) -> Publisher:
    """The publisher for a destination given by a user.

    Raises:
      UserError: a URL that nothing can publish to.
    """
    if destination.startswith("gs://"):
        from pipeline.shipping.bucket_publisher import BucketPublisher  # not every run has a bucket

        return BucketPublisher(destination)
    if "://" in destination:
        raise UserError(
            f"Expected a local folder, or gs://BUCKET/FOLDER, to push to. "
            f"Received: {destination!r}."
        )
    return FolderPublisher(destination)
