"""A reader of JWEs, and of attestation results, over jwcrypto or joserfc: see run."""

import json
import sys


class Jwcrypto:
    def __init__(self):
        from jwcrypto import jwe, jwk, jws

        self.jwe, self.jwk, self.jws = jwe, jwk, jws

    def generate(self, kind):
        rsa = {"kty": "RSA", "size": kind.get("size")}
        return self.jwk.JWK.generate(**(rsa if "size" in kind else {"kty": "EC", "crv": "P-256"}))

    def public(self, key):
        return key.export_public(as_dict=True)

    def open(self, key, text, algs):
        token = self.jwe.JWE(algs=algs)
        token.deserialize(text, key)
        return token.payload

    def verify(self, text, jwks, _):
        """Of a signature alone: this library looks at no time but its own."""
        signed = self.jws.JWS()
        signed.deserialize(text)
        key = self.jwk.JWKSet.from_json(json.dumps(jwks)).get_key(signed.jose_header["kid"])
        signed.verify(key, "ES256")
        return json.loads(signed.payload)


class Joserfc:
    def __init__(self):
        from joserfc import jwe, jwk, jwt

        self.jwe, self.jwk, self.jwt = jwe, jwk, jwt

    def generate(self, kind):
        return self.jwk.RSAKey.generate_key(kind["size"]) if "size" in kind else self.jwk.ECKey.generate_key("P-256")

    def public(self, key):
        return key.as_dict(private=False)

    def open(self, key, text, algs):
        return self.jwe.decrypt_json(json.loads(text), key, algorithms=algs).plaintext

    def verify(self, text, jwks, now):
        token = self.jwt.decode(text, self.jwk.KeySet.import_key_set(jwks), algorithms=["ES256"])
        self.jwt.JWTClaimsRegistry(now=now, leeway=0, exp={"essential": True}).validate(token.claims)
        return token.claims


def main(library):
    library = {"jwcrypto": Jwcrypto, "joserfc": Joserfc}[library]()
    kinds = [
        {"alg": "RSA1_5", "size": 2048},
        {"alg": "RSA-OAEP-256", "size": 2048},
        {"alg": "RSA-OAEP-256", "size": 4096},
        {"alg": "ECDH-ES+A256KW"},
        {"alg": "ECDH-ES+A256KW"},
    ]
    keys = [library.generate(kind) for kind in kinds]
    members = ("kty", "crv", "n", "e", "x", "y")
    public = [{name: value for name, value in library.public(key).items() if name in members} for key in keys]
    print(json.dumps([{"alg": kind["alg"], **key} for kind, key in zip(kinds, public)]), flush=True)
    for line in sys.stdin:
        asked = json.loads(line)
        try:
            if "jwt" in asked:
                answer = {"claims": library.verify(asked["jwt"], asked["jwks"], asked["now"])}
            else:
                answer = {"clear": library.open(keys[asked["key"]], asked["jwe"], asked["algs"]).hex()}
        except Exception as error:  # whatever the library raises is a refusal
            answer = {"refused": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), flush=True)


main(*sys.argv[1:])
