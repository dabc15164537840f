"""Transactions that MariaDB ends, from 11.6 on, and that ML Metadata, up to 1.21, does not restart.

Such a server ends a transaction before it reads what another has changed since it began: error
1020, "try restarting transaction". ML Metadata restarts what a deadlock has ended, but not this.
TFX opens stores itself and offers no place to step in, so this replaces a private method of ML
Metadata's own class.
"""

import functools

from ml_metadata import errors
from ml_metadata.metadata_store import metadata_store

_CHANGED = "Record has changed since last read"


@functools.cache
def restart_transactions() -> None:
    """From now on, every store that this process opens restarts what such a server has ended."""
    original = metadata_store.MetadataStore._pywrap_cc_call

    @functools.wraps(original)
    def call(self, method, request, response):
        try:
            return original(self, method, request, response)
        except errors.InternalError as error:
            if _CHANGED in str(error):
                raise errors.AbortedError(str(error)) from error  # which ML Metadata tries again
            raise

    metadata_store.MetadataStore._pywrap_cc_call = call
