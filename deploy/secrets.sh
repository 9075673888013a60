#!/bin/sh
# Makes what compose.yaml reads from deploy/secrets, once. Keep the master key elsewhere, too: without it the
# signing secrets in the database are lost.
set -eu
cd "$(dirname "$0")"
umask 077
mkdir secrets
cd secrets

# 32 bytes as base64url.
random() { head -c 32 /dev/urandom | base64 | tr '+/' '-_' | tr -d '=\n'; }

random > master-key
random > postgres-password
cat > hookseal.toml <<END
database_url = "postgres://hookseal:$(cat postgres-password)@postgres/hookseal"
platform_key = "$(random)"
END
# The containers' users read them as members of this group; a key that anybody may read is refused.
chmod 0440 master-key postgres-password hookseal.toml
echo "SECRETS_GROUP=$(id -g)" > ../.env
