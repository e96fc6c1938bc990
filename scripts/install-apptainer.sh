#!/usr/bin/env bash
# Puts Apptainer into the folder $1, from Debian's packages, without installing any: install-apptainer.sh DIR. Then:
# DIR/usr/bin/apptainer. Debian 12 has none; sid has one, which wants a newer libc: it gets that of Debian 13 beside it.
# Needs root for a private state of apt only where apt's lists are root's, and Debian's package patchelf.
set -euo pipefail
mkdir -p "$1"
dir=$(cd "$1" && pwd)
[ ! -e "$dir/.ready" ] || exit 0
echo "Setting up Apptainer in $dir"
find "$dir" -mindepth 1 -delete
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# The mirror and the keys of this machine, whatever they are; a state of our own, so that the machine's never hears of sid.
mirror=$("$(dirname "$0")/container-mirror.sh")
[ -n "$mirror" ] || { echo "apt knows no Debian mirror" >&2; exit 1; }
for suite in trixie sid; do
    echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg check-valid-until=no] $mirror $suite main"
done >"$work/sources.list"
mkdir -p "$work"/{lists/partial,archives/partial,parts,packages}
touch "$work/status"
cat >"$work/apt.conf" <<CONF
Dir::State "$work";
Dir::State::status "$work/status";
Dir::Cache "$work";
Dir::Etc::sourcelist "$work/sources.list";
Dir::Etc::sourceparts "$work/parts";
Acquire::Languages "none";
APT::Sandbox::User "";
CONF
export APT_CONFIG=$work/apt.conf
apt-get update -qq
(cd "$work/packages" && apt-get download -qq apptainer/sid libc6/trixie libseccomp2/trixie libsqlite3-0/trixie zlib1g/trixie)

dpkg-deb -x "$work"/packages/apptainer_*.deb "$dir"
for package in "$work"/packages/{lib,zlib}*.deb; do dpkg-deb -x "$package" "$work/libraries"; done
triplet=$(basename "$(dirname "$(echo "$work"/libraries/usr/lib/*/libc.so.6)")")
mkdir "$dir/lib"
cp -a "$work/libraries/usr/lib/$triplet"/*.so* "$dir/lib/"
loader=$(echo "$dir"/lib/ld-linux-*.so.*)
for program in "$dir/usr/bin/apptainer" "$dir/usr/lib/$triplet/apptainer/bin/starter"; do
    patchelf --set-interpreter "$loader" --force-rpath --set-rpath "$dir/lib" "$program"
done

# It looks for its settings and its session folder from where it lies.
ln -s ../etc "$dir/usr/etc"
ln -s ../../etc "$dir/usr/lib/etc"
mkdir -p "$dir"/usr/{,lib/}var/lib/apptainer/mnt/session
# In a container that lacks a capability, as CI often is one, root cannot be given them all. A training needs none.
sed -i 's/^root default capabilities = .*/root default capabilities = no/' "$dir/etc/apptainer/apptainer.conf"
"$dir/usr/bin/apptainer" --version
touch "$dir/.ready"
