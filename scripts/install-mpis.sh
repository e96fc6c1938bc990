#!/usr/bin/env bash
# Installs MPICH and Intel MPI into $1/mpi/mpich and $1/mpi/intel, next to Open MPI in $1. mpi4py's wheel runs on each.
# setup-runtimes.sh calls it. The download takes about 145 MB, 130 MB of them for Intel MPI.
set -euo pipefail
venv=${1:?usage: install-mpis.sh VENV}

install() {
    local root=$venv/mpi/$1 package=$2
    [ ! -x "$root/bin/mpiexec" ] || return 0
    rm -rf "$root" "$root.part"
    # Without dependencies: Intel MPI asks for a libfabric that only transport between nodes needs.
    "$venv/bin/python" -m pip --disable-pip-version-check install -q --no-deps --prefix "$root.part" "$package"
    mv "$root.part" "$root"
}

echo "Installing MPICH and Intel MPI"
install mpich 'mpich>=5.0.2'
install intel 'impi-rt>=2021.19.0'
