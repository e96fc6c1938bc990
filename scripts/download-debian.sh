#!/usr/bin/env bash
# Downloads packages of other Debian suites into the folder $1 without installing them:
#
#     download-debian.sh DIR PACKAGE/SUITE…
#
# Uses the machine's mirror and keys, but a private apt state, so these suites never appear in the machine's own.
set -euo pipefail
mkdir -p "$1"
dir=$(cd "$1" && pwd)
shift
mirror=$("$(dirname "$0")/container-mirror.sh")
[ -n "$mirror" ] || { echo "apt knows no Debian mirror" >&2; exit 1; }
state=$(mktemp -d)
trap 'rm -rf "$state"' EXIT
printf '%s\n' "${@##*/}" | sort -u | while read -r suite; do
    echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg check-valid-until=no] $mirror $suite main"
done >"$state/sources.list"
mkdir -p "$state"/{lists/partial,archives/partial,parts}
touch "$state/status"
cat >"$state/apt.conf" <<CONF
Dir::State "$state";
Dir::State::status "$state/status";
Dir::Cache "$state";
Dir::Etc::sourcelist "$state/sources.list";
Dir::Etc::sourceparts "$state/parts";
Acquire::Languages "none";
APT::Sandbox::User "";
CONF
export APT_CONFIG=$state/apt.conf
apt-get update -qq
cd "$dir"
apt-get download -qq "$@"
