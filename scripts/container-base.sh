#!/usr/bin/env bash
# Creates a root of Debian 12 with Python in the folder $1, for use without an image registry: container-base.sh DIR.
# Needs root and debootstrap. With podman: tar -C DIR -c . | podman import - NAME. With Apptainer: BOOTSTRAP=localimage.
set -euo pipefail
dir=${1:?usage: container-base.sh DIR}
[ ! -e "$dir.ready" ] || exit 0
echo "Making a base for images in $dir (a minute)"
rm -rf "$dir"
mirror=$("$(dirname "$0")/container-mirror.sh")
log=$(mktemp)
# Without a mirror in apt's settings, use debootstrap's default.
debootstrap --variant=minbase --include=python3,python3-venv,ca-certificates bookworm "$dir" ${mirror:+"$mirror"} \
    >"$log" 2>&1 || { tail -n 5 "$log" >&2; exit 1; }
# Not needed in an image. Apptainer creates its own /dev, and cannot copy this one inside a user namespace.
rm -rf "${dir:?}"/{var/cache/apt,var/lib/apt/lists,dev}/* "$log"
touch "$dir.ready"
