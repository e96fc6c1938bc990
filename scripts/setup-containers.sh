#!/usr/bin/env bash
# Sets up the tools with which the tests build and run images: podman, Apptainer, a base image and a folder of wheels. It
# builds no image; tests/containers does. Run it after setup-env.sh:
#
#     setup-containers.sh VENV
#
# Reads TORCH, like setup-env.sh. Everything except Debian packages is kept in
# ${XDG_CACHE_HOME:-~/.cache}/ranklog/containers, so the second run takes a second. If a part is unavailable, the script
# prints a message and continues. The tests of that part are skipped, and fail under CI=true.
set -euo pipefail
cd "$(dirname "$0")/.."
venv=$(cd "${1:?usage: setup-containers.sh VENV}" && pwd)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/ranklog/containers
mkdir -p "$cache"
# Several checkouts of one user may run this at the same time.
exec 9>"$cache/lock"
flock 9

packages=(podman buildah runc debootstrap squashfs-tools patchelf uidmap debian-archive-keyring)
missing=()
for package in "${packages[@]}"; do
    dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null | grep -qx installed || missing+=("$package")
done
if [ "${#missing[@]}" -gt 0 ]; then
    echo "Installing podman, buildah and what Apptainer and a base are made with"
    scripts/apt-install.sh "${missing[@]}" || true
fi

# The base takes the longest and needs processors and disk. The others wait for the network, so both run in parallel.
scripts/container-base.sh "$cache/base" &
base=$!
if command -v apptainer >/dev/null && ! [ "$(command -v apptainer)" -ef "$venv/bin/apptainer" ]; then
    rm -f "$venv/bin/apptainer" # the machine's own is the one to test with
else
    if scripts/install-apptainer.sh "$cache/apptainer"; then
        ln -sfn "$cache/apptainer/usr/bin/apptainer" "$venv/bin/apptainer"
    else
        echo "Apptainer could not be set up" >&2
    fi
fi
scripts/container-wheels.sh "$venv" "$cache/wheels" || echo "The wheels of the images could not be collected" >&2
wait "$base" || echo "The base of the images could not be made" >&2
touch "$venv/.containers"
