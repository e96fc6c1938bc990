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

"$(dirname "$0")/download-debian.sh" "$work/packages" apptainer/sid {libc6,libseccomp2,libsqlite3-0,zlib1g}/trixie
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
