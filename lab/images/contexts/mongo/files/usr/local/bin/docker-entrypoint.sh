#!/bin/bash
# As in the official image: flags alone mean mongod, root steps down to mongodb, and an empty volume is set up.
set -euo pipefail

if [[ $# -eq 0 || $1 == -* ]]; then set -- mongod "$@"; fi

if [[ $1 == mongod ]]; then
  if [[ $(id -u) -eq 0 ]]; then
    find /data/db ! -user mongodb -exec chown mongodb:mongodb {} +
    # Whoever has no home of his own cannot look there for settings.
    export HOME=/data/db
    exec setpriv --reuid=mongodb --regid=mongodb --clear-groups "${BASH_SOURCE[0]}" "$@"
  fi
  case " $* " in
    *" --version "* | *" --help "* | *" -h "*) ;;
    *)
      python -P -m mongo_compat.initdb "${@:2}"
      # A root user was asked for, so nobody may come in without a name.
      if [[ -n ${MONGO_INITDB_ROOT_USERNAME-}${MONGO_INITDB_ROOT_USERNAME_FILE-} ]]; then set -- "$@" --auth; fi
      ;;
  esac
  unset "${!MONGO_INITDB_@}"
fi

exec "$@"
