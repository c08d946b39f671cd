#!/bin/sh
# Makes the secrets of compose.yml, once; as root, since each belongs to who has to read it.
#   sh etc/container/secrets.sh [DIRECTORY]
set -eu
umask 077
directory=${1:-$(dirname "$0")/secrets}
if [ -e "$directory" ]; then
    echo "$directory is there already" >&2
    exit 1
fi
mkdir -p "$directory"
cd "$directory"

postgres=$(openssl rand -hex 24)
redis=$(openssl rand -hex 24)
printf '%s\n' "$postgres" > postgres-password
printf '%s\n' "postgresql://imd:$postgres@postgres/imd" > store-url
printf '%s\n' "redis://imd:$redis@redis" > status-url
{
    echo "user default off"
    echo "user imd on >$redis resetchannels ~imd:* -@all +evalsha +eval +role +hget +hset +hdel" \
        "+hgetall +exists +get +set +pexpire"
} > redis-acl

# The key of this authority is thrown away: to renew, make everything anew.
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 825 \
    -subj "/CN=imd transfer authority" -keyout ca-key -out transfer-ca 2> /dev/null
for role in transfer connector; do
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 825 \
        -subj "/CN=imd $role" -addext "subjectAltName=DNS:$role.imd.internal" \
        -addext "basicConstraints=critical,CA:FALSE" -CA transfer-ca -CAkey ca-key \
        -keyout "$role-key" -out "$role-cert" 2> /dev/null
done
rm ca-key

# 10001 is imd in its image, 999 is redis in its own.
chown 10001:10001 store-url status-url transfer-* connector-*
chown 999:999 redis-acl
chmod 400 ./*
