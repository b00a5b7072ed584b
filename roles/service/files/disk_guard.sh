#!/bin/sh
# disk_guard.sh DIRECTORY KEEP_FREE_MIB COMMAND…
# Runs COMMAND only while the directory's disk has room: a store whose write fails can lose what it had accepted before
# (docs/full-disks.md). Exits with 1 where there is too little room; Docker's restart policy then tries again.
# Needs no more than busybox has, since it runs in images of others.
set -eu

check_seconds=2
directory=$1
keep_free_mib=$2
shift 2

# The KiB that are free for this user, and the disk's name.
look() { df -P -k "$directory" | sed -E -n '2s/^(.*[^ ]) +[0-9]+ +[0-9]+ +(-?[0-9]+) .*/\2 \1/p'; }

is_too_full() { [ "${1%% *}" -lt $((keep_free_mib * 1024)) ]; }

say() {
  printf 'disk_guard: %s is %s, since the disk of %s (%s) has %d MiB free and must keep %d; ' "$2" "$3" "$directory" \
    "${1#* }" $((${1%% *} / 1024)) "$keep_free_mib" >&2
  printf 'make the disk larger, or delete what else is on it, and %s starts by itself.\n' "$2" >&2
}

seen=$(look)
if [ -z "$seen" ]; then
  echo "disk_guard: $1 is not started, since the disk of $directory cannot be read; make $directory a readable directory." >&2
  exit 1
fi
if is_too_full "$seen"; then
  say "$seen" "$1" "not started"
  exit 1
fi

# A disk that cannot be read for once is no reason to stop.
watch() {
  while sleep $check_seconds && kill -0 $$ 2>/dev/null; do
    seen=$(look)
    if [ -n "$seen" ] && is_too_full "$seen"; then
      say "$seen" "$1" stopped
      # Again and again: the first process of a container gets no signal before it has asked for it.
      while kill $$ 2>/dev/null; do sleep $check_seconds; done
    fi
  done
}

# exec gives this process's number to COMMAND.
watch "$1" &
exec "$@"
