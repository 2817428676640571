#!/bin/bash
# Seven steps, as an administrator writes them down who has a copy of both.
set -euo pipefail
cd "$(dirname "$0")"
sql() { psql -X -q -v ON_ERROR_STOP=1 -d postgres "$@"; }

./ctl stop
sql -c "ALTER DATABASE @DATABASE@ CONNECTION LIMIT 0" \
    -c "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '@DATABASE@'" >/dev/null
sql -c "BEGIN; ALTER DATABASE @DATABASE@ RENAME TO @DATABASE@_aside; ALTER DATABASE @DATABASE@_standby RENAME TO @DATABASE@; COMMIT"
mv config config.aside
mv config.standby config
sql -c "ALTER DATABASE @DATABASE@ CONNECTION LIMIT -1"
./ctl start
for _ in $(seq 400); do
  if curl -fs http://127.0.0.1:@PORT@/ | grep -q 'release 1.0'; then exit 0; fi
  sleep 0.05
done
exit 1
