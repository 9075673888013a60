"""Verifies and decrypts a captured request as a Python receiver would, with jwcrypto.

Reads {secret, jwk, headers, body} as JSON from standard input; prints the plaintext.
"""

import hashlib
import hmac
import json
import re
import sys
import time

from jwcrypto import jwe, jwk

captured = json.load(sys.stdin)
body = captured["body"].encode()
header = captured["headers"]["x-kayle-signature"]
match = re.fullmatch(r"t=(\d+)((?:,v1=[0-9a-f]{64})+)", header)
if not match or abs(time.time() - int(match[1])) > 300:
    sys.exit("bad signature header")
signed = match[1].encode() + b"." + body
expected = hmac.new(captured["secret"].encode(), signed, hashlib.sha256).hexdigest()
# While the secret is rotated there are two; either will do.
signatures = match[2].split(",v1=")[1:]
if not any(hmac.compare_digest(expected, v1) for v1 in signatures):
    sys.exit("bad signature")

token = jwe.JWE(algs=["RSA-OAEP-256", "A256GCM"])
token.deserialize(captured["body"])
token.decrypt(jwk.JWK.from_json(json.dumps(captured["jwk"])))
print(json.dumps({"header": json.loads(token.objects["protected"]), "payload": json.loads(token.payload)}))
