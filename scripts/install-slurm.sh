#!/usr/bin/env bash
# Unpacks the Slurm of the next Debian suite into the folder $1, without installing it: install-slurm.sh DIR. Start a
# cluster with slurm-up.sh CLUSTER DIR. The tests compare it with the Slurm of the machine's own packages.
# Needs the Debian package patchelf, and root only if apt's lists belong to root.
set -euo pipefail
suite=trixie # Slurm 24.11
mkdir -p "$1"
dir=$(cd "$1" && pwd)
[ ! -e "$dir/.ready" ] || exit 0
echo "Setting up the Slurm of Debian $suite in $dir"
find "$dir" -mindepth 1 -delete
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# The suite's libc, and the libraries that the daemons, the commands and the plugins for PMIx, munge and locality load.
packages=(slurmctld slurmd slurm-client slurm-wlm-basic-plugins)
libraries=(
    libc6 libdbus-1-3 libevent-core-2.1-7t64 libevent-pthreads-2.1-7t64 libhwloc15 libjson-c5 libjwt2 liblua5.1-0 liblz4-1
    libmunge2 libnuma1 libpam0g libpmix2t64 libreadline8t64 libyaml-0-2 zlib1g
)
"$(dirname "$0")/download-debian.sh" "$work" "${packages[@]/%//$suite}" "${libraries[@]/%//$suite}"
for package in "${packages[@]}"; do dpkg-deb -x "$work/${package}"_*.deb "$dir"; done
for package in "${libraries[@]}"; do dpkg-deb -x "$work/${package}"_*.deb "$work/unpacked"; done

triplet=$(basename "$(dirname "$(echo "$work"/unpacked/usr/lib/*/libc.so.6)")")
mkdir "$dir/lib"
cp -L "$work/unpacked/usr/lib/$triplet"/*.so* "$dir/lib/"
ln -s "../usr/lib/$triplet/slurm-wlm" "$dir/lib/plugins"
loader=$(echo "$dir"/lib/ld-linux-*.so.*)
for program in "$dir"/usr/bin/* "$dir"/usr/sbin/*; do
    [ ! -L "$program" ] || continue
    patchelf --set-interpreter "$loader" --force-rpath --set-rpath "$dir/lib:$dir/lib/plugins" "$program"
done
# Debian's scripts of installation would make these links.
for daemon in "$dir"/usr/sbin/*-wlm; do ln -s "$(basename "$daemon")" "${daemon%-wlm}"; done
"$dir/usr/sbin/slurmctld" -V
touch "$dir/.ready"
