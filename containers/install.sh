#!/bin/sh
# Common steps of Containerfile and ranklog.def, so both create the same image. Run in a folder with pyproject.toml:
#
#     install.sh wheel SOURCE WHEELS   build ranklog's wheel from the folder SOURCE into the folder WHEELS
#     install.sh packages              create /opt/ranklog with everything except ranklog
#     install.sh ranklog WHEELS        add ranklog, and fail if the image differs from the arguments
#
# Reads EXTRAS, PACKAGES, VARIANT, TORCH_INDEX and VERSION, described in containers/README.md. If the mounted folder /mnt
# contains wheels, only these are used, without a package index.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
home=/opt/ranklog
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

# Every pip call below uses the pinned versions, and no other settings.
export PIP_CONSTRAINT="$here/constraints.txt" PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
if [ -n "$(find /mnt -maxdepth 1 -name '*.whl' | head -n 1)" ]; then
    export PIP_NO_INDEX=1 PIP_FIND_LINKS=/mnt
fi

case ${1:-} in
wheel)
    # Build with the pinned versions, not with those that pip would fetch into an isolated environment.
    python3 -m venv "$scratch/build"
    "$scratch/build/bin/pip" install -q hatchling
    "$scratch/build/bin/pip" wheel -q --no-deps --no-build-isolation --wheel-dir "$3" "$2"
    ;;
packages)
    # A separate environment, because Debian's Python refuses additional packages. It can see the packages of the base.
    python3 -m venv --system-site-packages "$home"
    "$home/bin/python" "$here/requirements.py" "$EXTRAS" >"$scratch/requirements"
    torch=$(grep '^torch==' "$here/constraints.txt")
    case $VARIANT in
    cpu) torch=$torch+cpu ;; # only these wheels contain nothing of CUDA
    cuda) ;;
    *) echo "VARIANT is cpu or cuda, not '$VARIANT'" >&2 && exit 1 ;;
    esac
    # Without the torch extra, the torch of the base is used.
    grep -q '^torch' "$scratch/requirements" || torch=
    # Word splitting is intended: PACKAGES may be several, TORCH_INDEX and torch may be empty.
    # shellcheck disable=SC2086
    "$home/bin/pip" install -q ${TORCH_INDEX:+--extra-index-url "$TORCH_INDEX"} \
        -r "$scratch/requirements" $torch ${PACKAGES:-}
    ;;
ranklog)
    "$home/bin/pip" install -q --no-deps "$2"/ranklog-*.whl
    # Only a message: the packages of the base may already be inconsistent.
    "$home/bin/pip" check || true
    "$home/bin/python" - "$VERSION" "$EXTRAS" "$VARIANT" <<'PY'
import sys
from importlib.metadata import version
asked, extras, variant = sys.argv[1:]
if version("ranklog") != asked:
    sys.exit(f"VERSION, which the labels tell, is {asked}, but this is ranklog {version('ranklog')}")
if {"torch", "all"} & set(extras.replace(",", " ").split()):
    from torch.version import cuda
    if (cuda is not None) != (variant == "cuda"):
        sys.exit(f"VARIANT is {variant}, but the torch that was found has {'CUDA ' + cuda if cuda else 'no CUDA'}")
PY
    ;;
*)
    sed -n '2,6s/^# \{0,1\}//p' "$0" >&2
    exit 2
    ;;
esac
