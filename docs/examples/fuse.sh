#!/bin/sh
# Fuses a checkpoint with nothing but curl: FUSEBOX_URL=https://fuse.example.org ./fuse.sh best.pt best.fused.pt
# Options of the service go behind: ./fuse.sh best.pt best.fused.pt max_error=0.01 dtype=float32
# Standard output is the report as Markdown.
set -eu

url=${FUSEBOX_URL:?where the service is}
model=${1:?the checkpoint}
fused=${2:?where the fused file goes}
shift 2

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# The key goes into a file that only we can read: arguments are seen by everybody on the machine.
umask 077
printf 'silent\nshow-error\nfail-with-body\nconnect-timeout = 10\nretry = 5\nretry-connrefused\n' > "$work/curlrc"
[ -z "${FUSEBOX_KEY:-}" ] || printf 'header = "Authorization: Bearer %s"\n' "$FUSEBOX_KEY" >> "$work/curlrc"
umask 022

stop() {
  echo "fuse.sh: $1" >&2
  exit 1
}

# curl itself tries again when the service says "later"; here also when a connection breaks. What the service refuses
# (22) it refuses again, and a file that can't be read (26) stays so.
call() {
  tries=0
  until curl --config "$work/curlrc" "$@"; do
    code=$?
    tries=$((tries + 1))
    [ "$code" -ne 22 ] && [ "$code" -ne 26 ] && [ "$tries" -le 5 ] || return "$code"
    sleep "$tries"
  done
}

# Sent again, under this key it is the same job.
key=$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n')
for option; do
  set -- "$@" --form-string "$option"
  shift
done
[ -r "$model" ] || stop "$model can't be read"
# In the quotes that curl takes out of a form's field, quotes and backslashes of the name itself are escaped.
quoted=$(printf '%s' "$model" | sed 's/[\\"]/\\&/g')
call -H "Idempotency-Key: \"$key\"" "$@" -F "model=@\"$quoted\"" -o "$work/job" "$url/fuse" || stop "$(cat "$work/job")"
job=$url/v1/jobs/$(sed 's/^{"id":"\([0-9a-zA-Z_-]*\)".*/\1/' "$work/job")
echo "$job" >&2

# Each request is answered when the job has ended, or after a minute.
while
  call -o "$work/job" "$job?wait=60" || stop "$(cat "$work/job")"
  state=$(sed 's/^{"id":"[^"]*","state":"\([a-z]*\)".*/\1/' "$work/job")
  [ "$state" = queued ] || [ "$state" = running ]
do :; done
# Without a result the answer is the problem: title, detail and remedy in JSON.
[ "$state" = succeeded ] || stop "the job is $state: $(call "$job/model" 2> /dev/null || :)"

# What a break left is continued (-C -); the file gets its name once its digest is right.
sha256=$(sed -n 's/.*"output":{[^}]*"sha256":"\([0-9a-f]*\)".*/\1/p' "$work/job")
part=$fused.$sha256.part
call -C - -o "$part" "$job/model" || stop "the download fails"
if ! echo "$sha256  $part" | sha256sum --check --quiet >&2; then
  rm -f "$part"
  stop "the digest of the download is wrong"
fi
mv "$part" "$fused"

call -H 'Accept: text/markdown' "$job/report"
