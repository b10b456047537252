#!/bin/sh
# Installs colima-like @VERSION@ from a release: its files are checked before anything of them is run.
#
#   install.sh FROM [PREFIX]    FROM is the release's folder here or its address (https://...); PREFIX is ~/.local
#
# What it needs: tar, ssh-keygen, sha256sum or shasum, and curl for an address.
set -eu
version=@VERSION@
key='@KEY@'

fail() {
  echo "error: $1" >&2
  [ -z "${2:-}" ] || echo "  try $2" >&2
  exit 1
}

[ $# -ge 1 ] || fail "where the release is was not said" "install.sh FOLDER-OR-ADDRESS [PREFIX]"
from=${1%/}
prefix=${2:-$HOME/.local}
case $(uname -s) in
  Linux) system=linux ;;
  Darwin) system=macos ;;
  *) fail "colima-like runs on Linux and macOS, not on $(uname -s)" ;;
esac
case $(uname -m) in
  x86_64 | amd64) name=colima-like-$version-$system-x86_64 ;;
  aarch64 | arm64) name=colima-like-$version-$system-aarch64 ;;
  *) fail "colima-like runs on x86_64 and aarch64, not on $(uname -m)" ;;
esac
case $key in ssh-*) ;; *) fail "this script knows no key: the release was not signed" "the script of a signed release" ;; esac

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM
for file in SHA256SUMS SHA256SUMS.sig "$name.tar.gz"; do
  case $from in
    https://* | http://*) curl -fsSL --retry 3 -o "$work/$file" "$from/$file" || fail "$from/$file cannot be fetched" ;;
    *) cp "$from/$file" "$work/$file" || fail "$from has no $file" ;;
  esac
done

echo "@SIGNER@ $key" >"$work/signers"
ssh-keygen -Y verify -q -f "$work/signers" -I @SIGNER@ -n @NAMESPACE@ -s "$work/SHA256SUMS.sig" <"$work/SHA256SUMS" >/dev/null ||
  fail "SHA256SUMS does not have the signature of the release's key: nothing was installed"
grep "  $name.tar.gz\$" "$work/SHA256SUMS" >"$work/sum" || fail "SHA256SUMS does not name $name.tar.gz: nothing was installed"
sum="sha256sum"
command -v sha256sum >/dev/null 2>&1 || sum="shasum -a 256"
(cd "$work" && $sum -c sum >/dev/null 2>&1) || fail "$name.tar.gz is cut or was changed: nothing was installed" "downloading it again"

tar -xzf "$work/$name.tar.gz" -C "$work"
"$work/$name/bin/colima-like" --version >/dev/null || fail "the program does not run on this computer: nothing was installed"
mkdir -p "$prefix/bin"
cp -R "$work/$name/share" "$prefix/"
cp "$work/$name/bin/colima-like" "$prefix/bin/.colima-like.new" # replaced in one step: a running daemon keeps its own
mv -f "$prefix/bin/.colima-like.new" "$prefix/bin/colima-like"
echo "colima-like $version is $prefix/bin/colima-like; what this computer lacks is shown by:"
case ":$PATH:" in
  *":$prefix/bin:"*) echo "  colima-like doctor" ;;
  *) echo "  $prefix/bin/colima-like doctor    ($prefix/bin is not in PATH)" ;;
esac
