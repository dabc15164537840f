"""Takes withdrawn models out of the comparison on Vertex AI.

Vertex AI's resolver looks for the last ModelBlessing that is LIVE and says `blessed`. A state is
what clients make of it: a blessing that is PENDING keeps all that it says, and is no longer found,
also when a later run takes it from the cache.
"""

from google.cloud.aiplatform_v1.types import Artifact

from pipeline.lineage.vertex_service import VertexService

_LIVE = Artifact.State.LIVE


def withdraw_blessings(service: VertexService, file_sha256: str) -> int:
    """Withdraws the blessings of a file.

    Args:
      service: the store.
      file_sha256: hex digest of the .tflite.

    Returns:
      How many blessings there are of it; repeating it changes nothing.

    Raises:
      UserError: the store cannot be read or written.
    """
    models = {
        _id(model.name)
        for model in service.find("artifacts", 'schema_title = "tfx.Model"')
        if model.metadata and model.metadata.get("sha256") == file_sha256
    }
    found = [
        blessing
        for blessing in service.find("artifacts", 'schema_title = "tfx.ModelBlessing"')
        if blessing.metadata and _id(blessing.metadata.get("current_model_id", "")) in models
    ]
    for blessing in found:
        if blessing.state == _LIVE:
            service.set_state(blessing.name, Artifact.State.PENDING)
    return len(found)


def _id(name: str) -> str:
    """The last part of a resource name."""
    return name.rpartition("/")[2]
