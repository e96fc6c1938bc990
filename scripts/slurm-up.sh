#!/usr/bin/env bash
# Starts a real Slurm with two virtual nodes on this machine, for tests: slurm-up.sh DIR [UNPACKED]. Everything runs on
# loopback. Needs root and the Debian packages slurm-wlm and munge, and libpmix-dev for --mpi=pmix. UNPACKED is a Slurm that
# install-slurm.sh made, to use instead of the machine's; put UNPACKED/usr/bin into PATH then. Use the cluster with
# export SLURM_CONF=DIR/slurm.conf; srun -N2 -n2 hostname. Stop it with DIR/down.sh.
set -euo pipefail
dir=$(mkdir -p "$1" && cd "$1" && pwd)
unpacked=${2:+$(cd "$2" && pwd)}
host=$(hostname -s)
mkdir -p "$dir"/{ctld,d1,d2,log} /run/munge
chown munge: /run/munge
if [ ! -s /etc/munge/munge.key ]; then
    dd if=/dev/urandom bs=1 count=1024 of=/etc/munge/munge.key status=none
    chown munge: /etc/munge/munge.key
    chmod 400 /etc/munge/munge.key
fi
munge -n >/dev/null 2>&1 || runuser -u munge -- munged
# Three consecutive free ports, so several clusters can run at the same time.
base=17000
while (for port in "$base" $((base + 1)) $((base + 2)); do ! (: <"/dev/tcp/127.0.0.1/$port") 2>/dev/null || exit 0; done; exit 1); do
    base=$((base + 10))
done
cat >"$dir/slurm.conf" <<CONF
ClusterName=ranklog
# The job scripts derive ports from the job number.
FirstJobId=$(((base - 17000) * 10 + 1))
SlurmctldHost=$host(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
StateSaveLocation=$dir/ctld
SlurmdSpoolDir=$dir/d%n
SlurmctldPidFile=$dir/ctld.pid
SlurmdPidFile=$dir/d%n.pid
SlurmctldLogFile=$dir/log/ctld.log
SlurmdLogFile=$dir/log/d%n.log
SlurmctldPort=$base
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
ReturnToService=2
# Look for jobs whose start time has come once per second. The default is once per minute. The backfill scheduler, which
# alone starts heterogeneous jobs, looks once per 30 s by default.
SchedulerParameters=sched_interval=1,bf_interval=1
SlurmdParameters=config_overrides
MpiDefault=none
KillWait=5
NodeName=n[1-2] NodeHostname=$host NodeAddr=127.0.0.1 Port=[$((base + 1))-$((base + 2))] CPUs=4 RealMemory=2000 State=UNKNOWN
PartitionName=all Nodes=n[1-2] Default=YES MaxTime=INFINITE State=UP
CONF
# An unpacked Slurm looks for its plugins and for slurmstepd where a package would install them.
stepd=()
if [ -n "$unpacked" ]; then
    export PATH=$unpacked/usr/bin:$unpacked/usr/sbin:$PATH
    echo "PluginDir=$unpacked/lib/plugins" >>"$dir/slurm.conf"
    stepd=(-d "$unpacked/usr/sbin/slurmstepd")
fi
cat >"$dir/down.sh" <<DOWN
#!/usr/bin/env bash
for file in "$dir"/ctld.pid "$dir"/d*.pid; do [ -s "\$file" ] && kill "\$(cat "\$file")"; done
exit 0
DOWN
chmod +x "$dir/down.sh"
# The second node needs a separate folder for PMIx, which both nodes would share on this machine otherwise.
mkdir -p "$dir/conf2" "$dir/pmix2"
cp "$dir/slurm.conf" "$dir/conf2/"
echo "PMIxCliTmpDirBase=$dir/pmix2" >"$dir/conf2/mpi.conf"
export SLURM_CONF=$dir/slurm.conf PMIX_MCA_ptl_tcp_if_include=lo
slurmctld
slurmd -N n1 "${stepd[@]}"
SLURM_CONF=$dir/conf2/slurm.conf slurmd -N n2 "${stepd[@]}" -f "$dir/conf2/slurm.conf"
for _ in $(seq 60); do
    [ "$(sinfo -h -o %T 2>/dev/null | sort -u)" = idle ] && exit 0
    sleep 0.5
done
sinfo >&2
exit 1
