#!/usr/bin/env bash
# Prints the address of the Debian mirror in this machine's apt settings, or nothing if there is none.
set -euo pipefail
# The dollar signs belong to apt.
# shellcheck disable=SC2016
apt-get indextargets --format '$(ORIGIN) $(REPO_URI)' 'Created-By: Packages' 2>/dev/null |
    sed -n '/security/d; s/^Debian //p' | sed -n 1p
