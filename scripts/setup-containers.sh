#!/usr/bin/env bash
# Sets up what the tests build and run images with: podman, Apptainer, a base to start from, a folder of wheels. It
# builds no image; tests/containers does. After setup-env.sh:
#
#     setup-containers.sh VENV
#
# Reads TORCH, as setup-env.sh does. All but Debian's packages goes below ${XDG_CACHE_HOME:-~/.cache}/ranklog/containers,
# so that the second time takes a second. Where a part cannot be had the script says so and goes on: the tests of that
# part are skipped, and fail under CI=true.
set -euo pipefail
cd "$(dirname "$0")/.."
venv=$(cd "${1:?usage: setup-containers.sh VENV}" && pwd)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/ranklog/containers
mkdir -p "$cache"
# Several checkouts of one user may be set up at the same time.
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

# The base takes the longest and waits for processors and disk, the others for the network: so beside them.
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
