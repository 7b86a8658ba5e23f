#!/bin/sh
# A back-up of the one-box service while it runs, on standard output: `./backup.sh > fusebox.tar`.
# COMPOSE says how it is called: COMPOSE='docker compose -f compose.yaml -f compose.cpu.yaml'.
set -eu
cd "$(dirname "$0")"
inside="${COMPOSE:-docker compose} exec -T fusebox"
# The database first: a job whose files are gone is told so, and files whose job is not known are removed.
$inside python -c '
import sqlite3
source, target = sqlite3.connect("/data/fusebox.sqlite"), sqlite3.connect("/data/restored.sqlite")
source.backup(target)'
# 1: a file grew while it was read, which is an upload that has no job yet.
$inside sh -c '
  status=0
  tar -C /data -cf - restored.sqlite blobs || status=$?
  rm /data/restored.sqlite
  test $status -le 1'
