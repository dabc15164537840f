"""Signs a statement: a DSSE envelope (https://github.com/secure-systems-lab/dsse), as in-toto asks.

docs/lineage.md shows how to check the signature with OpenSSL alone.
"""

import base64
import hashlib
import json
from pathlib import Path
from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
)

from pipeline.errors import UserError

PAYLOAD_TYPE = "application/vnd.in-toto+json"
_EXPECTED = "Expected a private key in PEM, without a password, of Ed25519 or ECDSA on P-256."


def sign(statement: dict[str, Any], key_file: str) -> dict[str, Any]:
    """The DSSE envelope of a statement.

    Args:
      statement: in-toto's.
      key_file: private key in PEM, of Ed25519 or ECDSA on P-256 (with SHA-256).

    Returns:
      {payloadType, payload, signatures: [{keyid, sig}]}; `keyid` is the hex sha256 of the public
      key's DER.

    Raises:
      UserError: the file is not such a key.
    """
    key = _load(key_file)
    payload = json.dumps(statement).encode()
    if isinstance(key, ed25519.Ed25519PrivateKey):
        signature = key.sign(signed_bytes(payload))
    else:
        signature = key.sign(signed_bytes(payload), ec.ECDSA(hashes.SHA256()))
    public = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return {
        "payloadType": PAYLOAD_TYPE,
        "payload": base64.b64encode(payload).decode(),
        "signatures": [
            {
                "keyid": hashlib.sha256(public).hexdigest(),
                "sig": base64.b64encode(signature).decode(),
            }
        ],
    }


def signed_bytes(payload: bytes) -> bytes:
    """What is signed: DSSE's pre-authentication encoding of a payload."""
    return b"DSSEv1 %d %s %d %s" % (
        len(PAYLOAD_TYPE), PAYLOAD_TYPE.encode(), len(payload), payload,
    )  # fmt: skip


def _load(key_file: str) -> ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey:
    try:
        key = load_pem_private_key(Path(key_file).read_bytes(), password=None)
    except OSError as error:
        raise UserError(f"{_EXPECTED} Received: {key_file} ({error.strerror}).") from error
    except TypeError as error:  # a password is needed
        raise UserError(
            f"{_EXPECTED} Received: {key_file}, which needs one. Decrypt it on the way: "
            f"--sign-with <(openssl pkey -in {key_file})"
        ) from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise UserError(f"{_EXPECTED} Received: {key_file}, something else.") from error
    is_p256 = isinstance(key, ec.EllipticCurvePrivateKey) and isinstance(key.curve, ec.SECP256R1)
    if not is_p256 and not isinstance(key, ed25519.Ed25519PrivateKey):
        raise UserError(f"{_EXPECTED} Received: {key_file}, a key of another kind.")
    return key
