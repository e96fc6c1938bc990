#!/usr/bin/env bash
# Unpacks Apptainer from Debian's packages into the folder $1, without installing it: install-apptainer.sh DIR. Run it with
# DIR/usr/bin/apptainer. Debian 12 has no package. The one in sid needs a newer libc, which is unpacked from Debian 13.
# Needs the Debian package patchelf, and root only if apt's lists belong to root.
set -euo pipefail
mkdir -p "$1"
dir=$(cd "$1" && pwd)
[ ! -e "$dir/.ready" ] || exit 0
echo "Setting up Apptainer in $dir"
find "$dir" -mindepth 1 -delete
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# Use the machine's mirror and keys, but a private apt state, so that sid never appears in the machine's own.
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

# It finds its settings and its session folder relative to its own location.
ln -s ../etc "$dir/usr/etc"
ln -s ../../etc "$dir/usr/lib/etc"
mkdir -p "$dir"/usr/{,lib/}var/lib/apptainer/mnt/session
# In a container without some capability, as often in CI, root cannot get all of them. A training needs none.
sed -i 's/^root default capabilities = .*/root default capabilities = no/' "$dir/etc/apptainer/apptainer.conf"
"$dir/usr/bin/apptainer" --version
touch "$dir/.ready"
