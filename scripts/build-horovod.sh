#!/usr/bin/env bash
# Installs Horovod into the environment in $1, for its torch, on the CPU, over gloo. Horovod has no wheels. The first run
# builds one from its source package in a few minutes, and keeps it in ${XDG_CACHE_HOME:-~/.cache}/ranklog/wheels.
set -euo pipefail
venv=${1:?usage: build-horovod.sh VENV}
version=0.28.1
python=$venv/bin/python

fail() {
    echo "Horovod cannot be installed: $*" >&2
    exit 1
}
works() { (cd / && "$python" -c 'import horovod.torch') 2>&1; }
pip() { "$python" -m pip --disable-pip-version-check "$@"; }

[ -x "$python" ] || fail "$venv is no Python environment"
python=$(cd "$venv/bin" && pwd)/python
works >/dev/null && exit 0
key=$(cd / && "$python" - "$version" <<'PY'
import platform, sys, torch
print(f"horovod-{sys.argv[1]}-torch-{torch.__version__}-{sys.implementation.cache_tag}-{platform.machine()}")
PY
) || fail "torch must be installed in $venv first"
cache=${XDG_CACHE_HOME:-$HOME/.cache}/ranklog/wheels/$key

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

need() {
    # $1: the missing program; $2: its Debian package.
    echo "Installing $2 for Horovod"
    "$(dirname "$0")/apt-install.sh" "$2" || fail "$1 is missing; have it installed (Debian, Ubuntu: apt-get install $2)"
}

build() {
    command -v g++ >/dev/null || need "the C++ compiler g++" g++
    command -v make >/dev/null || need "make" make
    command -v cmake >/dev/null || need "cmake" cmake
    local headers jobs source=$work/horovod-$version
    headers=$("$python" -c 'import sysconfig; print(sysconfig.get_path("include"))')
    [ -f "$headers/Python.h" ] || need "Python.h, the headers of this Python," python3-dev
    echo "Building Horovod $version, a few minutes; the next time it is taken from $cache"
    # The source package needs setuptools without declaring it. A private copy leaves that of the environment unchanged.
    pip install -q --target "$work/tools" setuptools==80.10.2 wheel packaging >"$work/log" 2>&1 || return
    local -x PYTHONPATH=$work/tools
    pip download -q --no-deps --no-binary :all: --no-build-isolation --no-cache-dir -d "$work" "horovod==$version" \
        >>"$work/log" 2>&1 || return
    tar -xzf "$work/horovod-$version.tar.gz" -C "$work" || return
    # torch's headers need C++17, and Python 3.12 no longer has distutils.
    sed -i 's/set(CMAKE_CXX_STANDARD 14)/set(CMAKE_CXX_STANDARD 17)/' "$source"/{,horovod/torch/}CMakeLists.txt
    sed -i 's/from distutils.sysconfig import get_python_inc; print(get_python_inc())/import sysconfig; print(sysconfig.get_path(\\"include\\"))/' \
        "$source/horovod/torch/CMakeLists.txt"
    sed -i 's/from distutils.spawn import find_executable/from shutil import which as find_executable/' \
        "$source/horovod/runner/js_run.py"
    # If make runs this script, its MAKEFLAGS are meant for other targets.
    jobs=$(nproc)
    # CMake 4 refuses the minimum versions that gloo and flatbuffers declare, unless a later one is allowed explicitly.
    env CMAKE_POLICY_VERSION_MINIMUM=3.5 LDFLAGS=-Wl,--strip-debug "MAKEFLAGS=-j$((jobs < 8 ? jobs : 8))" \
        HOROVOD_WITH_PYTORCH=1 HOROVOD_WITHOUT_TENSORFLOW=1 HOROVOD_WITHOUT_MXNET=1 \
        HOROVOD_WITH_GLOO=1 HOROVOD_WITHOUT_MPI=1 HOROVOD_CPU_OPERATIONS=GLOO \
        "$python" -m pip --disable-pip-version-check wheel --no-deps --no-build-isolation --no-cache-dir \
        -w "$work/wheel" "$source" >>"$work/log" 2>&1 || return
    # Rename atomically within the cache, because several builds may run at the same time.
    local wheel=("$work"/wheel/horovod-*.whl)
    mkdir -p "$cache" && mv "${wheel[0]}" "$cache/partial.$$" && mv "$cache/partial.$$" "$cache/${wheel[0]##*/}"
}

# Requirements of Horovod, which its build imports.
pip install -q cloudpickle psutil pyyaml packaging 'cffi>=1.4.0' || fail "pip could not install what it requires"
if ! ls "$cache"/horovod-*.whl >/dev/null 2>&1; then
    build || { tail -n 40 "$work/log" >&2; fail "the build failed, see above"; }
fi
pip install -q --no-deps --force-reinstall "$cache"/horovod-*.whl || fail "pip could not install $cache"
problem=$(works) || fail "it is installed, but does not work: $(tail -n 3 <<<"$problem")"
echo "Horovod $version is installed in $venv"
