"""A guest that speaks the broker's own protocol. Its report comes from whoever started it.

    client.py URL SUITE WORKLOAD ALGORITHM DIGEST POINT SECRET...

Writes REPORT_DATA in hex, reads the report in hex, and writes one JSON object: the secrets by name, in hex, and the
decision; or the problem. POINT is the broker's key, an uncompressed point in hex.
"""

import json
import sys
import urllib.error
import urllib.request

import native


def post(url, body):
    data = json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=60) as response:
            assert response.headers["Content-Type"] == "application/json", response.headers
            return json.load(response)
    except urllib.error.HTTPError as error:
        assert error.headers["Content-Type"] == "application/problem+json", error.headers
        problem = json.load(error)
        assert problem["status"] == error.code and problem["type"] == "about:blank", problem
        print(json.dumps({"problem": problem}))
        sys.exit(3)


def main(url, name, workload, algorithm, digest, point, *secrets):
    point = bytes.fromhex(point)
    challenge = post(url + "/v1/challenge", {})
    assert set(challenge) == {"challenge", "expires_in"}, challenge
    pair = native.SUITES[name].kem.derive_key_pair(open("/dev/urandom", "rb").read(48))
    request = {
        "challenge": challenge["challenge"],
        "workload": workload,
        "secrets": list(secrets),
        "suite": name,
        "public_key": native.text_of(pair.public_key.to_public_bytes()),
        "init_data": {"algorithm": algorithm, "digest": digest},
        "broker_keys": [native.text_of(native.key_id(point))],
    }
    print(native.report_data(request).hex(), flush=True)
    report = bytes.fromhex(sys.stdin.readline())
    evidence = {"type": "snp", "report": native.text_of(report), "certificates": []}
    answer = post(url + "/v1/release", {**request, "evidence": evidence})
    native.verify(request, answer, [point])
    opened = native.open_all(request, answer, pair.private_key)
    released = {name: secret.hex() for name, secret in zip(secrets, opened, strict=True)}
    print(json.dumps({"decision": answer["decision"], "secrets": released}))


if __name__ == "__main__":
    main(*sys.argv[1:])
