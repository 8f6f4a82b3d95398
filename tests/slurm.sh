#!/usr/bin/env bash
# A SLURM cluster of this machine alone, for the current user, from Debian's packages slurm-wlm and munge:
#   tests/slurm.sh start FOLDER   prints what to export; configuration, key, socket, state and logs lie in FOLDER
#   tests/slurm.sh stop FOLDER    ends its jobs, then the three daemons that were started
set -euo pipefail
PATH+=:/usr/sbin # where Debian keeps daemons

# One core, so that of two jobs one has to wait. No cgroups, which containers lack; no accounting, which needs a data base;
# ports beside the usual ones, where another SLURM may listen.
configure() {
    mkdir -p "$dir"/{bin,state,spool}
    (umask 077 && head -c 128 /dev/urandom > "$dir/munge.key")
    cat > "$SLURM_CONF" <<END
ClusterName=test
SlurmctldHost=$node(localhost)
NodeName=$node NodeAddr=localhost CPUs=1 RealMemory=4000
PartitionName=all Nodes=ALL Default=YES
SlurmctldPort=16817
SlurmdPort=16818
SlurmUser=$(id -un)
SlurmdUser=$(id -un)
AuthInfo=socket=$dir/munge.socket
StateSaveLocation=$dir/state
SlurmdSpoolDir=$dir/spool
SlurmctldPidFile=$dir/slurmctld.pid
SlurmdPidFile=$dir/slurmd.pid
SlurmctldLogFile=$dir/slurmctld.log
SlurmdLogFile=$dir/slurmd.log
JobCompType=jobcomp/filetxt
JobCompLoc=$dir/jobs.txt
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
END
    # Snakemake's plugin takes SLURM_CONF away from the srun that it calls inside a job; an ordinary cluster has its file in /etc.
    printf '#!/bin/sh\nSLURM_CONF=%q exec %q "$@"\n' "$SLURM_CONF" "$(command -v srun)" > "$dir/bin/srun"
    chmod +x "$dir/bin/srun"
}

start() {
    configure
    # forced, since munged wants a socket that every user can reach, and temporary folders are private
    munged --force --key-file="$dir/munge.key" --socket="$dir/munge.socket" --pid-file="$dir/munged.pid" \
        --seed-file="$dir/munge.seed" --log-file="$dir/munged.log" 2> /dev/null
    slurmctld
    slurmd
    for _ in {1..60}; do
        [ "$(sinfo --noheader --format=%T 2> /dev/null)" = idle ] && echo "export SLURM_CONF=$SLURM_CONF PATH=$dir/bin:\$PATH" && return
        sleep .5
    done
    echo "The node is not idle after 30 s: see the logs in $dir" >&2
    return 1
}

stop() {
    scancel --user="$(id -un)" || true
    for _ in {1..60}; do
        [ -z "$(squeue --noheader)" ] && break
        sleep .5
    done
    for daemon in slurmd slurmctld munged; do
        pid=$(cat "$dir/$daemon.pid") || continue
        kill "$pid" || continue
        while kill -0 "$pid" 2> /dev/null; do sleep .1; done
    done
}

node=$(hostname -s) dir=$(realpath -m "$2")
export SLURM_CONF=$dir/slurm.conf
"$1"
