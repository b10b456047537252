# shellcheck shell=sh
# Sourced by scripts/start and scripts/test; not a command of its own.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)

# stage NAME COMMAND...: runs it and says how long it took; `stages` has them all.
stages=
stage() {
  stage_name=$1
  shift
  stage_began=$(date +%s)
  echo "==> $stage_name"
  "$@"
  stage_took="$stage_name: $(($(date +%s) - stage_began)) s"
  stages="$stages$stage_took, "
  echo "==> $stage_took"
}

# The compiler to use: $CXX if set, else the newest of those that compile coroutines rightly (g++ 12 does not).
compiler() {
  if [ -n "${CXX:-}" ]; then
    echo "$CXX"
    return
  fi
  names="clang++-19 clang++-20 clang++-18 clang++-17 clang++-16 g++-14 g++-13 clang++ g++"
  # Homebrew's libraries are built with Apple's clang and libc++: what its g++ compiles does not link with them.
  [ "$(uname -s)" != Darwin ] || names="clang++ $names"
  for name in $names; do
    if command -v "$name" >/dev/null 2>&1; then
      echo "$name"
      return
    fi
  done
  echo "error: no C++ compiler found; run scripts/setup first" >&2
  return 1
}

# configure DIRECTORY CMAKE_OPTION...
configure() {
  directory=$1
  shift
  if command -v ccache >/dev/null 2>&1; then
    set -- "$@" -DCMAKE_CXX_COMPILER_LAUNCHER=ccache
    # Paths count from here, and debug information names no folder. Precompiled headers do name it: what uses one, which
    # is nearly everything, is found again only in this checkout.
    export CCACHE_BASEDIR="${CCACHE_BASEDIR:-$root}" CCACHE_NOHASHDIR=1
    export CCACHE_SLOPPINESS="${CCACHE_SLOPPINESS:-pch_defines,time_macros}"  # what ccache asks for with them
  fi
  cmake -S "$root" -B "$directory" -G Ninja -DCMAKE_CXX_COMPILER="$(compiler)" "$@" >"$directory.configure.log" 2>&1 || {
    cat "$directory.configure.log" >&2
    return 1
  }
}

# build DIRECTORY CMAKE_OPTION...: configures if needed and builds.
build() {
  configure "$@"
  # Not `cmake --build`: ninja says what it does in one line on a terminal.
  ninja -C "$1"
}
