"""The worked example of docs/protocol.md.

    example.py          reads it from there, and checks every byte of it
    example.py write    writes it anew
"""

import json
import pathlib
import sys
import textwrap

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from pyhpke import KEMKeyPair

import native

PAGE = pathlib.Path(__file__).parents[2] / "docs/protocol.md"
BEGIN, END = "<!-- example -->\n", "<!-- end of the example -->\n"
REPORT = "…"
SECRETS = {"passphrase": b"correct horse battery staple", "tls.key": b"-----BEGIN PRIVATE KEY-----"}
P384, X25519 = native.SUITES


def private_key(byte):
    """48 bytes that are easy to tell: far below the order of P-384."""
    return bytes([byte]) * 48


def pair(suite, byte):
    """The key pair that RFC 9180 derives of these bytes."""
    return native.SUITES[suite].kem.derive_key_pair(private_key(byte))


def broker():
    return ec.derive_private_key(int.from_bytes(private_key(0x0B), "big"), ec.SECP384R1())


def point(key):
    encoding, form = serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint
    return key.public_key().public_bytes(encoding, form)


def sign(message):
    """RFC 6979: the same signature each time."""
    der = broker().sign(message, ec.ECDSA(hashes.SHA384(), deterministic_signing=True))
    return b"".join(number.to_bytes(48, "big") for number in decode_dss_signature(der))


def request(suite):
    session = bytes([0x13, 1]) + (1_795_910_400).to_bytes(4, "big") + b"twelve bytes" + b"the tag."
    challenge = native.text_of(session) + native.text_of(bytes(range(32)))
    guest = pair(suite, 0x06).public_key
    return {
        "challenge": challenge,
        "workload": "web",
        "secrets": list(SECRETS),
        "suite": suite,
        "public_key": native.text_of(guest.to_public_bytes()),
        "init_data": {"algorithm": "sha256", "digest": "d1" * 32},
        "broker_keys": [native.text_of(native.key_id(point(broker())))],
        "evidence": {"type": "snp", "report": REPORT, "certificates": []},
    }


def answer(asked):
    suite = native.SUITES[asked["suite"]]
    guest = suite.kem.deserialize_public_key(native.bytes_of(asked["public_key"]))
    ephemeral = pair(asked["suite"], 0x0E)
    encapsulated, context = suite.create_sender_context(
        guest, info=native.info(asked), eks=KEMKeyPair(ephemeral.private_key, ephemeral.public_key)
    )
    sealed = [(name, context.seal(secret, aad=name.encode())) for name, secret in SECRETS.items()]
    unsigned = {
        "decision": "6b0ad200-0000-7000-8000-000000000001",
        "broker_key": native.text_of(native.key_id(point(broker()))),
        "encapsulated": native.text_of(encapsulated),
        "secrets": [{"name": name, "ciphertext": native.text_of(ciphertext)} for name, ciphertext in sealed],
    }
    return {**unsigned, "signature": native.text_of(sign(native.signed(asked, unsigned)))}


def block(form, text):
    return f"```{form}\n{text}\n```\n"


def hexadecimal(data):
    return "\n".join(textwrap.wrap(data.hex(), 96)) if data else ""


def annotated(label, parts, names):
    """An encoding, part by part."""
    lines = []
    for part, name in zip([label.encode(), *parts], ["the label", *names], strict=True):
        lines.append(f"{native.count(len(part)).hex()}  # {name}: {len(part)} bytes")
        lines.append(hexadecimal(part))
    return "\n".join(lines)


def named(**values):
    return "\n".join(f"# {name.replace('_', ' ')}\n{hexadecimal(value)}" for name, value in values.items())


def body(value):
    return json.dumps(value, indent=2, ensure_ascii=False)


def private_bytes(key):
    # pyhpke puts zeros in front of a number on P-384.
    return key.to_private_bytes()[-48:]


def example():
    asked = request(P384)
    answered = answer(asked)
    secrets, keys = asked["secrets"], asked["broker_keys"]
    request_names = [
        "challenge", "workload", "suite", "public_key", "the algorithm", "the digest",
        "the number of secrets", *(f"secret {n}" for n, _ in enumerate(secrets)),
        "the number of broker keys", *(f"broker key {n}" for n, _ in enumerate(keys)),
    ]
    answer_names = ["REPORT_DATA", "the status", "decision", "broker_key", "encapsulated", "the number of secrets"]
    for number, _ in enumerate(secrets):
        answer_names += [f"name {number}", f"ciphertext {number}"]
    given = {"challenge": asked["challenge"], "expires_in": 300}
    broker_private = broker().private_numbers().private_value.to_bytes(48, "big")
    parts = [
        "The broker's key, and its id:\n",
        block("text", named(private_key=broker_private, point=point(broker()),
                            id=native.key_id(point(broker())))),
        "The answer to `POST /v1/challenge`:\n",
        block("json", body(given)),
        "The guest's key for this request:\n",
        block("text", named(private_key=private_bytes(pair(P384, 0x06).private_key),
                            public_key=native.bytes_of(asked["public_key"]))),
        "The body of `POST /v1/release`, without the report:\n",
        block("json", body(asked)),
        "The transcript, part by part:\n",
        block("text", annotated("keybroker/v1 release", native.transcript_parts(asked), request_names)),
        "Its SHA-512, which is REPORT_DATA:\n",
        block("text", hexadecimal(native.report_data(asked))),
        "`info` of HPKE:\n",
        block("text", annotated("keybroker/v1 secrets", [native.report_data(asked)], ["REPORT_DATA"])),
        "The secrets, as the guest opens them:\n",
        block("text", named(**{name.replace(".", "_"): secret for name, secret in SECRETS.items()})),
        "The ephemeral key with which they were sealed here. Its public half is `encapsulated`:\n",
        block("text", named(private_key=private_bytes(pair(P384, 0x0E).private_key))),
        "The signed bytes, part by part:\n",
        block("text", annotated("keybroker/v1 answer", native.signed_parts(asked, answered), answer_names)),
        "The answer. The signature is of RFC 6979, which the broker's is not, so another one verifies as well:\n",
        block("json", body(answered)),
    ]
    asked = request(X25519)
    parts += [
        "The same with `hpke-x25519-sha256-aes256gcm`: the guest's private key, the request and the answer.\n",
        block("text", named(private_key=private_bytes(pair(X25519, 0x06).private_key))),
        block("json", body(asked)),
        block("json", body(answer(asked))),
    ]
    return "\n".join(parts)


def check(text):
    """That the example is what this program makes, and that a guest takes it."""
    assert text.strip() == example().strip(), "example.py write makes another one"
    for suite in native.SUITES:
        asked = request(suite)
        answered = answer(asked)
        native.verify(asked, answered, [point(broker())])
        opened = native.open_all(asked, answered, pair(suite, 0x06).private_key)
        assert opened == list(SECRETS.values()), opened
        for name in ("decision", "encapsulated", "signature"):
            other = {**answered, name: answered[name][:-4] + "AAAA"}
            try:
                native.verify(asked, other, [point(broker())])
            except native.NotTheBrokers:
                continue
            raise AssertionError(f"{name} is not signed")


def main():
    page = PAGE.read_text(encoding="utf-8")
    before, rest = page.split(BEGIN)
    text, after = rest.split(END)
    if sys.argv[1:] == ["write"]:
        PAGE.write_text(f"{before}{BEGIN}\n{example()}\n{END}{after}", encoding="utf-8")
        return
    check(text)
    print("the example holds")


if __name__ == "__main__":
    main()
