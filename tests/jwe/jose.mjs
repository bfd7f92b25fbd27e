// A reader of JWEs, and of attestation results, over jose: see run.

import { webcrypto } from "node:crypto";
import { createInterface } from "node:readline";

// Node 18, which is Debian 12's, has it and does not name it.
globalThis.crypto ??= webcrypto;
const { createLocalJWKSet, exportJWK, flattenedDecrypt, generateKeyPair, jwtVerify } = await import(process.env.JOSE);

// Without RSA1_5, for which jose makes no key: that one is for OAEP as well.
const kinds = [
    { alg: "RSA1_5", made: "RSA-OAEP-256", modulusLength: 2048 },
    { alg: "RSA-OAEP-256", modulusLength: 2048 },
    { alg: "RSA-OAEP-256", modulusLength: 4096 },
    { alg: "ECDH-ES+A256KW" },
    { alg: "ECDH-ES+A256KW" },
];
const pairs = [];
for (const { alg, made, modulusLength } of kinds) {
    pairs.push(await generateKeyPair(made ?? alg, { modulusLength, crv: "P-256", extractable: true }));
}
const keys = [];
for (const [index, { publicKey }] of pairs.entries()) {
    keys.push({ ...(await exportJWK(publicKey)), alg: kinds[index].alg });
}
console.log(JSON.stringify(keys));

for await (const line of createInterface({ input: process.stdin })) {
    const { key, jwe, algs, jwt, jwks, now } = JSON.parse(line);
    const allowed = algs === null ? {} : { keyManagementAlgorithms: algs };
    try {
        if (jwt !== undefined) {
            const rules = { algorithms: ["ES256"], typ: "JWT", requiredClaims: ["exp"] };
            const keys = createLocalJWKSet(jwks);
            const { payload } = await jwtVerify(jwt, keys, { ...rules, currentDate: new Date(now * 1000) });
            console.log(JSON.stringify({ claims: payload }));
            continue;
        }
        const { plaintext } = await flattenedDecrypt(JSON.parse(jwe), pairs[key].privateKey, allowed);
        console.log(JSON.stringify({ clear: Buffer.from(plaintext).toString("hex") }));
    } catch (error) {
        console.log(JSON.stringify({ refused: `${error.name}: ${error.message}` }));
    }
}
