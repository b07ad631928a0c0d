#!/bin/sh
# Makes the database on an empty volume, then becomes the server. Anyone in the cluster may connect: it holds made-up goods.
set -eu
if [ ! -s "$PGDATA/PG_VERSION" ]; then
    rm -rf "$PGDATA"  # what an interrupted first start left
    rm -rf "$PGDATA.new"
    initdb --pgdata="$PGDATA.new" --auth=trust --username=postgres --encoding=UTF8 >/dev/null
    echo "host all all all trust" >> "$PGDATA.new/pg_hba.conf"
    pg_ctl --pgdata="$PGDATA.new" --wait --options="-c listen_addresses=''" start >/dev/null
    createdb --username=postgres shop
    psql --username=postgres --dbname=shop --quiet --set=ON_ERROR_STOP=1 --file=/opt/shop/schema.sql
    pg_ctl --pgdata="$PGDATA.new" --wait stop >/dev/null
    mv "$PGDATA.new" "$PGDATA"
fi
exec postgres -c listen_addresses='*' -c max_connections=60 -c shared_buffers=32MB -c log_lock_waits=on -c deadlock_timeout=500ms
