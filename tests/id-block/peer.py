"""Reads ID blocks by sev-snp-measure's structures, and verifies them with Python's cryptography.

Reads a JSON object: `id_block` and `id_auth` in base64, and `keys`, the files of public keys that may have signed. Prints
what holds: the block's fields, and by which of the files the block and the ID key were signed (null if by none).
"""

import base64
import hashlib
import json
import sys

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, utils
from sevsnpmeasure.id_block import ECPublicKey, IdAuth, IdBlock, SnpSignature


def number(field) -> int:
    return int.from_bytes(bytes(field), "little")


def public(path: str) -> ec.EllipticCurvePublicKey:
    with open(path, "rb") as file:
        return serialization.load_pem_public_key(file.read())


def signer(keys: dict, message: bytes, structure) -> str | None:
    signature = SnpSignature.from_buffer_copy(bytes(structure))
    der = utils.encode_dss_signature(number(signature.sig_r), number(signature.sig_s))
    for path, key in keys.items():
        try:
            key.verify(der, message, ec.ECDSA(hashes.SHA384()))
            return path
        except InvalidSignature:
            pass
    return None


def owner(keys: dict, structure) -> str | None:
    """Which of the files has the key of this structure."""
    key = ECPublicKey.from_buffer_copy(bytes(structure))
    point = (number(key.qx), number(key.qy))
    for path, known in keys.items():
        numbers = known.public_numbers()
        if key.curve == 2 and (numbers.x, numbers.y) == point:
            return path
    return None


def main() -> None:
    asked = json.load(sys.stdin)
    block, auth = base64.b64decode(asked["id_block"]), base64.b64decode(asked["id_auth"])
    keys = {path: public(path) for path in asked["keys"]}
    fields, parts = IdBlock.from_buffer_copy(block), IdAuth.from_buffer_copy(auth)
    id_key = bytes(parts.id_key)
    print(json.dumps({
        "measurement": bytes(fields.launch_digest).hex(),
        "ids": block[0x30:0x50].hex(),
        "version": fields.version,
        "guest_svn": int.from_bytes(block[0x54:0x58], "little"),
        "policy": fields.policy,
        "block_signed_by": signer(keys, block, parts.block_sig),
        "id_key": owner(keys, id_key),
        "id_key_signed_by": signer(keys, id_key, parts.id_key_sig),
        "author_key": owner(keys, parts.author_key),
        "id_key_digest": hashlib.sha384(id_key).hexdigest(),
    }))


if __name__ == "__main__":
    main()
