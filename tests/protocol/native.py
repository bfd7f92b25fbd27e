"""The broker's own protocol, from the text of docs/protocol.md alone: what a client computes.

HPKE is pyhpke's, everything else cryptography's, which stands on OpenSSL: the broker uses neither.
"""

import base64
import hashlib

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from pyhpke import AEADId, CipherSuite, KDFId, KEMId

SUITES = {
    "hpke-p384-sha384-aes256gcm": CipherSuite.new(
        KEMId.DHKEM_P384_HKDF_SHA384, KDFId.HKDF_SHA384, AEADId.AES256_GCM
    ),
    "hpke-x25519-sha256-aes256gcm": CipherSuite.new(
        KEMId.DHKEM_X25519_HKDF_SHA256, KDFId.HKDF_SHA256, AEADId.AES256_GCM
    ),
}


class NotTheBrokers(Exception):
    """The answer is not the broker's to this request."""


def text_of(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def bytes_of(text):
    data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    assert text_of(data) == text, f"{text} is not base64url without padding"
    return data


def count(number):
    return number.to_bytes(8, "big")


def encode(label, parts):
    """The label and every part, each after its length."""
    return b"".join(count(len(part)) + part for part in [label.encode(), *parts])


def init_data_digest(init_data):
    """The algorithm and the digest, of a digest that is sent as such."""
    return init_data["algorithm"], bytes.fromhex(init_data["digest"])


def transcript_parts(request):
    algorithm, digest = init_data_digest(request["init_data"])
    return [
        request["challenge"].encode(),
        request["workload"].encode(),
        request["suite"].encode(),
        bytes_of(request["public_key"]),
        algorithm.encode(),
        digest,
        count(len(request["secrets"])),
        *(name.encode() for name in request["secrets"]),
        count(len(request["broker_keys"])),
        *(bytes_of(key) for key in request["broker_keys"]),
    ]


def transcript(request):
    return encode("keybroker/v1 release", transcript_parts(request))


def report_data(request):
    return hashlib.sha512(transcript(request)).digest()


def info(request):
    return encode("keybroker/v1 secrets", [report_data(request)])


def signed_parts(request, answer):
    secrets = answer["secrets"]
    return [
        report_data(request),
        (200).to_bytes(2, "big"),
        answer["decision"].encode(),
        bytes_of(answer["broker_key"]),
        bytes_of(answer["encapsulated"]),
        count(len(secrets)),
        *(part for secret in secrets for part in (secret["name"].encode(), bytes_of(secret["ciphertext"]))),
    ]


def signed(request, answer):
    return encode("keybroker/v1 answer", signed_parts(request, answer))


def key_id(point):
    return hashlib.sha256(point).digest()


def verify(request, answer, points):
    """That one of the broker's keys, given as points, signed this answer to this request."""
    point = {key_id(point): point for point in points}.get(bytes_of(answer["broker_key"]))
    if point is None:
        raise NotTheBrokers("another key")
    key = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP384R1(), point)
    signature = bytes_of(answer["signature"])
    if len(signature) != 96:
        raise NotTheBrokers("a signature of another length")
    r, s = (int.from_bytes(half, "big") for half in (signature[:48], signature[48:]))
    try:
        key.verify(encode_dss_signature(r, s), signed(request, answer), ec.ECDSA(hashes.SHA384()))
    except InvalidSignature:
        raise NotTheBrokers("the signature") from None


def open_all(request, answer, private_key):
    """The secrets in an answer that is verified, in the order in which they were asked for."""
    if [secret["name"] for secret in answer["secrets"]] != request["secrets"]:
        raise NotTheBrokers("other secrets")
    suite = SUITES[request["suite"]]
    context = suite.create_recipient_context(bytes_of(answer["encapsulated"]), private_key, info=info(request))
    return [
        context.open(bytes_of(secret["ciphertext"]), aad=secret["name"].encode()) for secret in answer["secrets"]
    ]
