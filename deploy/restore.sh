#!/bin/sh
# The opposite of backup.sh, into a volume that has no database: `./restore.sh < fusebox.tar`, then start the service.
set -eu
cd "$(dirname "$0")"
${COMPOSE:-docker compose} run --rm -T --no-deps --entrypoint sh fusebox -c '
  if [ -e /data/fusebox.sqlite ]; then echo "restore.sh: /data holds a database already" >&2; exit 1; fi
  tar -C /data -xf - && mv /data/restored.sqlite /data/fusebox.sqlite'
