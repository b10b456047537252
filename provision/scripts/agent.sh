# Runs in the guest, as root, or on a host, as whoever logs in there, from the command line of one SSH exec: sh -c THIS sh FOLDER HOW [IN OUT] { CPU SIZE SHA256 }...
# Sees to it that the agent with one of these digests runs: the image's own, the one that was sent before, or one that it asks
# for. HOW is "service IN OUT", for ports of the machine, or "stdio", for this exec channel, or "session ID", likewise, in the
# place of the one of that ID, whose connection may be dead without its knowing. Lines on stdout, one of the last two
# at the end:
#   send CPU     the program for that CPU is to come on stdin
#   ready        it is started; with stdio it speaks from the next byte on
#   error WHY
set -eu
own_path=$PATH own_mask=$(umask)
export LC_ALL=C PATH=/usr/sbin:/usr/bin:/sbin:/bin
umask 022
fail() { echo "error $*"; exit 0; }
folder=$1 how=$2
shift 2
session=
if [ "$how" = session ]; then
  how=stdio session=$1
  shift
fi
if [ "$how" = service ]; then
  in=$1 out=$2
  shift 2
fi
cpu=$(uname -m) size= digest=
while [ $# -ge 3 ]; do
  if [ "$1" = "$cpu" ]; then size=$2 digest=$3; fi
  shift 3
done
[ -n "$digest" ] || fail "this program has none for $cpu"

is_ours() { [ -f "$1" ] && [ -x "$1" ] && [ "$(sha256sum < "$1")" = "$digest  -" ]; }
# Where nobody else can put another program in its place.
is_private() {
  [ ! -L "$1" ] || return 1
  case $(stat -c '%u %A' "$1") in
    "$(id -u) d"????-??-?) ;;
    *) return 1 ;;
  esac
}

agent=/usr/lib/colima-like/colima-like-agent
if ! is_ours $agent; then
  mkdir -p "$folder" 2>/dev/null || fail "$folder cannot be made"
  if ! is_private "$folder" || ! is_private "${folder%/*}"; then fail "others can write to $folder"; fi
  # Debian's initramfs mounts /run so that nothing in it can be executed.
  if [ "$(findmnt -n -o TARGET -T "$folder" 2>/dev/null)" != "$folder" ] &&
    findmnt -n -o OPTIONS -T "$folder" 2>/dev/null | grep -q '\bnoexec\b'; then
    why=$(mount -t tmpfs -o mode=755,nosuid,nodev,size=8m colima-like-agent "$folder" 2>&1) || fail "$why"
  fi
  agent=$folder/$digest
  if ! is_ours "$agent"; then
    echo "send $cpu"
    new=$(mktemp "$folder/new.XXXXXX" 2>/dev/null) || fail "$folder cannot be written to"
    trap 'rm -f "$new"' EXIT
    why=$( { head -c "$size" > "$new"; } 2>&1) || fail "it cannot be written: $why"
    chmod 755 "$new"
    is_ours "$new" || fail "it did not arrive as it was sent, $(stat -c %s "$new") of $size bytes"
    mv -f "$new" "$agent"
  fi
  for old in "$folder"/*; do
    case $old in "$agent" | */session-*) ;; *) rm -f "$old" ;; esac
  done
fi
why=$("$agent" --version 2>&1) || fail "it cannot be executed: $why"

if [ "$how" = stdio ]; then
  if [ -n "$session" ]; then
    last=$(cat "$folder/session-$session" 2>/dev/null) || last=
    case $(readlink "/proc/${last:-0}/exe" 2>/dev/null) in "$folder"/*) kill "$last" 2>/dev/null || : ;; esac
    echo $$ > "$folder/session-$session" || fail "$folder cannot be written to"
  fi
  echo ready
  # Programs that it runs find others as in any session.
  export PATH="$own_path"
  unset LC_ALL
  umask "$own_mask"
  exec "$agent" --stdio
fi
own=colima-like-agent.service sent=colima-like-agent-sent
if [ $agent = /usr/lib/colima-like/colima-like-agent ]; then
  systemctl stop $sent.service 2>/dev/null || :
  why=$(systemctl restart $own 2>&1) || fail "$why"
elif systemctl show -p ExecStart $sent.service 2>/dev/null | grep -qF "path=$agent ;"; then
  # The same once more. A restart, and no stop: systemd then gives it the sockets that it keeps for it.
  why=$(systemctl restart $sent.service 2>&1) || fail "$why"
else
  systemctl stop $own $sent.service 2>/dev/null || :
  # One that was killed has failed, which would stay to be seen.
  systemctl reset-failed $own $sent.service 2>/dev/null || :
  # As the image's unit says: vm/guest_image/rootfs/usr/lib/systemd/system/colima-like-agent.service.
  why=$(systemd-run --quiet --collect --unit=$sent --description="The host's agent" -p Restart=always -p RestartSec=100ms \
    -p StartLimitIntervalSec=0 -p RestartPreventExitStatus=66 -p SuccessExitStatus=66 -p KillSignal=SIGKILL \
    -p NotifyAccess=main -p FileDescriptorStoreMax=64 -p OOMScoreAdjust=-900 \
    -p "CapabilityBoundingSet=CAP_SYS_TIME CAP_SYS_PTRACE CAP_DAC_READ_SEARCH CAP_DAC_OVERRIDE CAP_FOWNER CAP_SYS_ADMIN CAP_SYS_MODULE CAP_NET_BIND_SERVICE" \
    "$agent" --ports "$in" "$out" 2>&1) || fail "$why"
fi
echo ready
