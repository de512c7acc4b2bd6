#!/bin/sh
# Begins every part. Secrets stay in files: libpq reads Postgres's password from one that nobody else can read.
set -eu
umask 077
if [ -r /run/secrets/postgres_password ]; then
    export PGPASSFILE="$HOME/.pgpass"
    # a colon or backslash of the password would end its field
    password=$(sed 's/\\/\\\\/g; s/:/\\:/g' /run/secrets/postgres_password)
    printf '%s:*:*:*:%s\n' "$VPP_POSTGRES_HOST" "$password" > "$PGPASSFILE"
fi
# addresses and keys for alerts and models, NAME=VALUE a line: only the parts that are given the file have them
if [ -r /run/secrets/owner.env ]; then
    set -a
    . /run/secrets/owner.env
    set +a
fi
exec "$@"
