// Verifies and decrypts a captured request as a Node receiver would, with `jose`.
// Reads {secret, jwk, headers, body} as JSON from standard input; prints the plaintext.
import { createHmac, timingSafeEqual } from "node:crypto";
import { readFileSync } from "node:fs";
import { compactDecrypt, importJWK } from "jose";

const { secret, jwk, headers, body } = JSON.parse(readFileSync(0, "utf8"));

const header = headers["x-kayle-signature"];
const [, t] = /^t=(\d+)(?:,v1=[0-9a-f]{64})+$/.exec(header) ?? [];
if (!t || Math.abs(Date.now() / 1000 - Number(t)) > 300) throw new Error("bad signature header");
const expected = createHmac("sha256", secret).update(`${t}.`).update(body).digest();
// While the secret is rotated there are two; either will do.
const signatures = [...header.matchAll(/v1=([0-9a-f]{64})/g)].map(([, v1]) => Buffer.from(v1, "hex"));
if (!signatures.some((v1) => timingSafeEqual(expected, v1))) throw new Error("bad signature");

const key = await importJWK(jwk, "RSA-OAEP-256");
const { plaintext, protectedHeader } = await compactDecrypt(body, key, {
  keyManagementAlgorithms: ["RSA-OAEP-256"],
  contentEncryptionAlgorithms: ["A256GCM"],
});
process.stdout.write(JSON.stringify({ header: protectedHeader, payload: JSON.parse(new TextDecoder().decode(plaintext)) }));
