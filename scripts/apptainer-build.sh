#!/usr/bin/env bash
# `apptainer build` also where root lacks a capability, as in a container, for tests: apptainer-build.sh APPTAINER WORDS…
# There Apptainer cannot enter %post, because it asks for every capability. In a user namespace in which each id is
# itself, root has them all, as far as the namespace goes, and that is far enough.
set -euo pipefail
full=$(printf '%x' $(((1 << ($(cat /proc/sys/kernel/cap_last_cap) + 1)) - 1)))
have=$(sed -n 's/^CapPrm:[[:space:]]*0*//p' /proc/self/status)
apptainer=${1:?usage: apptainer-build.sh APPTAINER WORDS…}
shift
if [ "$(id -u)" != 0 ] || [ "$have" = "$full" ]; then
    exec "$apptainer" build "$@"
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkfifo "$work/entered" "$work/mapped"
# The ids can be mapped from outside only, and once the namespace is there.
# shellcheck disable=SC2016
unshare --user sh -c 'echo >"$1/entered"; read -r _ <"$1/mapped"; shift; exec "$@"' sh "$work" "$apptainer" build "$@" &
read -r _ <"$work/entered"
for map in uid_map gid_map; do echo "0 0 65536" >"/proc/$!/$map"; done
echo >"$work/mapped"
wait $!
