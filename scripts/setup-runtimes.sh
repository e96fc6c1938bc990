#!/usr/bin/env bash
# Adds the distributed runtimes to the environment in $1: MPI, Ray, DeepSpeed, Horovod. Run it after setup-env.sh.
set -euo pipefail
cd "$(dirname "$0")/.."
venv=${1:?usage: setup-runtimes.sh VENV}
pip() { "$venv/bin/python" -m pip --disable-pip-version-check "$@"; }
echo "Installing Open MPI, mpi4py, Ray and DeepSpeed"
pip install -q -e '.[runtimes]'
# DeepSpeed needs torch during its build. Its operators are compiled at first use.
"$venv/bin/python" -c 'import importlib.util, sys; sys.exit(importlib.util.find_spec("deepspeed") is None)' ||
    DS_BUILD_OPS=0 pip install -q --no-build-isolation 'deepspeed>=0.19.8'
echo "Compiling DeepSpeed's operator for communication on the CPU in the background (a minute or two the first time)"
# Location expected by the tests. A stale lock of an interrupted compilation would block forever.
rm -f "$venv"/torch_extensions/*/lock
PATH="$(cd "$venv/bin" && pwd):$PATH" TORCH_EXTENSIONS_DIR="$(cd "$venv" && pwd)/torch_extensions" DS_ACCELERATOR=cpu \
    "$venv/bin/python" -c 'from deepspeed.ops.op_builder.cpu import ShareMemCommBuilder as Op; Op().load(verbose=False)' >/dev/null &
compiling=$!
scripts/build-horovod.sh "$venv"
scripts/install-mpis.sh "$venv"
# itwinai's trainer runs with its own loggers and with ranklog's. It is installed in a separate folder, without its pinned
# older torch and NumPy.
[ -d "$venv/itwinai" ] || pip install -q --no-deps --target "$venv/itwinai" \
    'itwinai==0.4.2' 'torchmetrics>=1.9' 'lightning-utilities>=0.15.3' 'omegaconf>=2.4'
# Lightning's trainer has its own ending at SIGTERM. In a separate folder, because it changes how other libraries log.
[ -d "$venv/lightning" ] || pip install -q --no-deps --target "$venv/lightning" \
    'lightning>=2.6,<2.7' 'torchmetrics>=1.9' 'lightning-utilities>=0.15.3'
# Slurm for the cluster tests. If its packages cannot be installed, these tests are skipped with a message.
if ! command -v slurmctld >/dev/null || ! command -v munged >/dev/null || [ ! -e "/usr/lib/$(uname -m)-linux-gnu/pmix2/lib/libpmix.so" ]; then
    echo "Installing Slurm"
    scripts/apt-install.sh slurm-wlm munge libpmix-dev || true
fi
# A newer version, unpacked into the cache. Its tests are skipped if this fails, and fail under CI=true.
if ! command -v patchelf >/dev/null || [ ! -e /usr/share/keyrings/debian-archive-keyring.gpg ]; then
    scripts/apt-install.sh patchelf debian-archive-keyring || true
fi
cache=${XDG_CACHE_HOME:-$HOME/.cache}/ranklog
mkdir -p "$cache"
flock "$cache/slurm.lock" scripts/install-slurm.sh "$cache/slurm" || echo "The newer Slurm could not be set up" >&2
# File systems that nodes share. If a package cannot be installed, their tests are skipped, and fail under CI=true.
for program in sshfs sshd mkfs.btrfs; do
    [ -n "$(PATH="$PATH:/usr/sbin" command -v "$program")" ] || {
        scripts/apt-install.sh sshfs openssh-server btrfs-progs || true
        break
    }
done
# Draws provenance graphs.
command -v dot >/dev/null || scripts/apt-install.sh graphviz || true
wait "$compiling"
touch "$venv/.runtimes"
