#!/bin/sh
# The opposite of backup.sh, into a volume that has no database: `./restore.sh < fusebox.tar`, then start the service.
set -eu
cd "$(dirname "$0")"
${COMPOSE:-docker compose} run --rm -T --no-deps --entrypoint sh fusebox -c '
  refuse() { rm -rf /data/restoring; echo "restore.sh: $1; nothing was restored" >&2; exit 1; }
  for name in fusebox.sqlite blobs; do
    test ! -e /data/$name || refuse "/data holds $name already"
  done
  mkdir -p /data/restoring
  tar -C /data/restoring --no-same-owner -xf - || refuse "the archive is damaged, or there was no room"
  cd /data/restoring
  test -f restored.sqlite && test -d blobs || refuse "this is no archive of backup.sh"
  python -c "import sqlite3 as s; assert s.connect(\"restored.sqlite\").execute(\"PRAGMA quick_check\").fetchall() == [(\"ok\",)]" \
    || refuse "its database is damaged"
  mv blobs /data/ && mv restored.sqlite /data/fusebox.sqlite && cd / && rm -rf /data/restoring'
