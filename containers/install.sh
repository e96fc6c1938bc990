#!/bin/sh
# What Containerfile and ranklog.def both run, so that both make the same image. From a folder with pyproject.toml:
#
#     install.sh wheel SOURCE WHEELS   builds ranklog's wheel from the folder SOURCE into the folder WHEELS
#     install.sh packages              makes /opt/ranklog with everything but ranklog: what seldom changes
#     install.sh ranklog WHEELS        adds ranklog, and says no where the image is not what was asked for
#
# Reads EXTRAS, PACKAGES, VARIANT, TORCH_INDEX and VERSION; containers/README.md tells what they are. Where wheels
# lie in /mnt, which the builder has mounted, only they are used and no package index is asked.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
home=/opt/ranklog
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

# Every pip below takes the pinned versions, and no settings but these.
export PIP_CONSTRAINT="$here/constraints.txt" PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
if [ -n "$(find /mnt -maxdepth 1 -name '*.whl' | head -n 1)" ]; then
    export PIP_NO_INDEX=1 PIP_FIND_LINKS=/mnt
fi

case ${1:-} in
wheel)
    # Built with what is pinned, not with what pip would fetch into an environment of its own.
    python3 -m venv "$scratch/build"
    "$scratch/build/bin/pip" install -q hatchling
    "$scratch/build/bin/pip" wheel -q --no-deps --no-build-isolation --wheel-dir "$3" "$2"
    ;;
packages)
    # An environment of its own, because Debian's Python refuses installs beside its packages. It sees what the base has.
    python3 -m venv --system-site-packages "$home"
    "$home/bin/python" "$here/requirements.py" "$EXTRAS" >"$scratch/requirements"
    torch=$(grep '^torch==' "$here/constraints.txt")
    case $VARIANT in
    cpu) torch=$torch+cpu ;; # only these wheels bring nothing of CUDA
    cuda) ;;
    *) echo "VARIANT is cpu or cuda, not '$VARIANT'" >&2 && exit 1 ;;
    esac
    # Where torch is not asked for, the base's own is used.
    grep -q '^torch' "$scratch/requirements" || torch=
    # Word splitting is wanted: PACKAGES are several, TORCH_INDEX and torch may be nothing.
    # shellcheck disable=SC2086
    "$home/bin/pip" install -q ${TORCH_INDEX:+--extra-index-url "$TORCH_INDEX"} \
        -r "$scratch/requirements" $torch ${PACKAGES:-}
    ;;
ranklog)
    "$home/bin/pip" install -q --no-deps "$2"/ranklog-*.whl
    # Said, and no more: what the base has of its own may not fit together before we come.
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
