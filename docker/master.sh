#!/bin/sh
# Begins a run, or goes on with it after a restart:  master.sh RUN HOST [the master's options for a new run]
# `exec`, so that signals reach the master.
set -eu
run=$1
host=$2
shift 2
if [ -e "$run/run.json" ]; then
    exec nasbohb master --resume "$run" --host "$host"
fi
exec nasbohb master --run-dir "$run" --host "$host" "$@"
