"""Whether an in-toto statement is one, by the project's official Python bindings and by the text.

The bindings know every field and its type, and refuse others; what only the specification says
(https://github.com/in-toto/attestation/tree/main/spec/v1, https://slsa.dev/spec/v1.0/provenance)
is checked here.
"""

import json
import re
from collections.abc import Iterator

from google.protobuf import json_format
from in_toto_attestation.predicates.provenance.v1.provenance_pb2 import Provenance
from in_toto_attestation.v1.statement import Statement
from in_toto_attestation.v1.statement_pb2 import Statement as StatementMessage

_URI = re.compile(r"[a-z][a-z0-9+.-]*:\S+")
_MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(Z|\+00:00)")


def check_statement(text: str) -> dict:
    """Fails where a statement is not what the specifications ask for; returns it."""
    statement = json.loads(text)
    message = json_format.ParseDict(statement, StatementMessage())
    Statement.copy_from_pb(message).validate()
    assert statement["predicateType"] == "https://slsa.dev/provenance/v1"
    predicate = statement["predicate"]
    json_format.ParseDict(predicate, Provenance())
    definition, details = predicate["buildDefinition"], predicate["runDetails"]
    assert _URI.fullmatch(definition["buildType"])
    assert definition["externalParameters"]
    assert _URI.fullmatch(details["builder"]["id"])
    assert all(isinstance(version, str) for version in details["builder"]["version"].values())
    for name in ("startedOn", "finishedOn"):
        assert _MOMENT.fullmatch(details["metadata"][name])
    assert details["metadata"]["startedOn"] <= details["metadata"]["finishedOn"]
    for subject in statement["subject"]:
        assert re.fullmatch("[0-9a-f]{64}", subject["digest"]["sha256"])
    for descriptor in descriptors(statement):
        assert descriptor.keys() & {"uri", "digest", "content"}, descriptor
        assert _URI.fullmatch(descriptor.get("uri", "none:set")), descriptor
        digests = descriptor.get("digest", {}).values()
        assert all(re.fullmatch("[0-9a-f]+", digest) for digest in digests), descriptor
    optional = (definition, definition["externalParameters"], definition["internalParameters"],
                details, details["metadata"], *descriptors(statement))  # fmt: skip
    assert not any(value is None for fields in optional for value in fields.values())
    return statement


def descriptors(statement: dict) -> Iterator[dict]:
    """All of its ResourceDescriptors."""
    yield from statement["subject"]
    yield from statement["predicate"]["buildDefinition"]["resolvedDependencies"]
    yield from statement["predicate"]["runDetails"]["byproducts"]
