"""Vertex AI Experiments: a context of ML Metadata with the runs' contexts under it.

The SDK can only add a run while it submits it, in a call that fails as a whole. The schema, its
version and the context's metadata are those of its `Experiment` (google-cloud-aiplatform 1.165).
"""

from google.api_core import exceptions
from google.cloud import aiplatform_v1 as gca

from pipeline.errors import UserError
from pipeline.vertex.connection import Connection
from pipeline.vertex.service_errors import explained, patient

_PATIENCE_SECONDS = 300.0
_SCHEMA = "system.Experiment"
_SCHEMA_VERSION = "0.0.1"
_METADATA = {"experiment_deleted": False}
_STORE = "default"


class Experiment:
    """The experiment that the settings name; it is created if it does not exist.

    Args:
      connection: see `pipeline.vertex.connection.connect`.

    Attributes:
      name: of the experiment.

    Raises:
      UserError: it can't be created, or something else has its name.
    """

    def __init__(self, connection: Connection):
        self._settings = connection.settings
        self._patient = patient(_PATIENCE_SECONDS)
        self._metadata = connection.client(gca.MetadataServiceClient)
        self.name = self._settings.experiment
        store = f"{connection.parent}/metadataStores/{_STORE}"
        with explained(self._settings, f"add runs to experiment {self.name}"):
            self._context = self._get_or_create(store)
        if self._context.schema_title != _SCHEMA:
            raise UserError(
                f"Expected vertex.experiment to name an experiment. Received: {self.name}, a "
                f"{self._context.schema_title}. Choose another name."
            )

    def _get_or_create(self, store: str) -> gca.Context:
        get = self._patient(self._metadata.get_context)
        name = f"{store}/contexts/{self.name}"
        try:
            return get(name=name)
        except exceptions.NotFound:
            self._ensure_store(store)
        context = gca.Context(
            display_name=self.name,
            schema_title=_SCHEMA,
            schema_version=_SCHEMA_VERSION,
            metadata=_METADATA,
        )
        try:
            return self._patient(self._metadata.create_context)(
                parent=store, context=context, context_id=self.name
            )
        except exceptions.Conflict:  # another run created it meanwhile
            return get(name=name)

    def _ensure_store(self, store: str) -> None:
        """A project gets its metadata store with its first use."""
        try:
            self._patient(self._metadata.get_metadata_store)(name=store)
        except exceptions.NotFound:
            made = gca.MetadataStore()
            if self._settings.encryption_key:
                made.encryption_spec = gca.EncryptionSpec(
                    kms_key_name=self._settings.encryption_key
                )
            self._patient(self._metadata.create_metadata_store)(
                parent=store.partition("/metadataStores/")[0],
                metadata_store=made,
                metadata_store_id=_STORE,
            ).result(timeout=_PATIENCE_SECONDS)

    def add(self, run: gca.PipelineJob) -> None:
        """Adds a run.

        Args:
          run: with the context that the service has made for it.

        Raises:
          UserError: it can't be added.
        """
        with explained(self._settings, "add the run to its experiment"):
            self._patient(self._metadata.add_context_children)(
                context=self._context.name,
                child_contexts=[run.job_detail.pipeline_run_context.name],
            )
