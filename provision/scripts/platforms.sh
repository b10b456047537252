# Programs of other architectures, in the guest: part of provision.sh. The host puts before it (provision/platforms.cpp):
#   machine=ARCH       of the guest, as qemu-user calls it
#   rosetta=yes        there is a share tagged "rosetta"; else empty, and
#   rosetta_why_not    why there is none, if one is wanted
#   each_platform()    calls `platform NAME ARCH RUNS_ON MAGIC:MASK PROGRAM` for each. RUNS_ON is the machine whose CPUs
#                      may run it besides its own; PROGRAM, as a format of printf, is a static program that prints a line
# begin_platforms looks in the background, because what runs beside it (Docker's start) waits for much else;
# end_platforms waits for that and prints for each of them
#   @platform NAME TRANSLATOR works|fails WHY
# with TRANSLATOR native (the kernel itself), qemu-user, rosetta or none. "works" means that the program was run. What was
# found is kept in /run and thus for this boot: another look costs nothing, unless the last one failed.
binfmt=/proc/sys/fs/binfmt_misc
found=/run/colima-like/platforms
programs=/var/cache/colima-like # not /run, which some systems mount noexec
share=/mnt/rosetta
newline='
'
patience=20 # seconds; an emulated machine that emulates takes less than one

# registered NAME: it is, enabled, and works in every container (F). Sets $flags.
registered() {
  flags=
  [ -e "$binfmt/$1" ] || return 1
  enabled=
  while read -r key value; do
    case $key in
      enabled) enabled=yes ;;
      flags:) flags=$value ;;
    esac
  done < "$binfmt/$1"
  case $enabled$flags in yes*F*) return 0 ;; esac
  return 1
}
# register NAME MAGIC:MASK INTERPRETER FLAGS: in place of what has the name. The kernel asks the newest entry first.
register() {
  [ ! -e "$binfmt/$1" ] || echo -1 > "$binfmt/$1"
  printf ':%s:M::%s:%s:%s' "$1" "$2" "$3" "$4" > $binfmt/register
}
# register_qemu ARCH MAGIC:MASK: with what the guest has, or what somebody else has registered.
register_qemu() {
  for interpreter in "/usr/bin/qemu-$1" "/usr/bin/qemu-$1-static"; do
    [ -x "$interpreter" ] || continue
    registered "qemu-$1" && case $flags in *C*) return 0 ;; esac
    register "qemu-$1" "$2" "$interpreter" POCF
    return
  done
  registered "qemu-$1"
}
# Why Rosetta cannot be registered is left in $rosetta_why. Its entry is written after qemu-user's, and so asked first.
register_rosetta() {
  if ! grep -q " $share " /proc/self/mountinfo; then
    mkdir -p $share
    rosetta_why=$(mount -t virtiofs rosetta $share 2>&1) || {
      rosetta_why=${rosetta_why%%"$newline"*}
      return 1
    }
  fi
  rosetta_why="its share has no program of that name"
  [ -x $share/rosetta ] || return
  rosetta_why="the kernel refused to register it"
  # As Apple documents it, with O and C, without P.
  magic='\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\x3e\x00:\xff\xff\xff\xff\xff\xfe\xfe\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff'
  register rosetta "$magic" $share/rosetta OCF || return
  rosetta_why=
  # For a systemd-binfmt that is restarted, by a package perhaps: it removes all entries and reads these files by name.
  mkdir -p /run/binfmt.d
  printf ':rosetta:M::%s:%s:OCF\n' "$magic" $share/rosetta > /run/binfmt.d/rosetta.conf
}
give_up_rosetta() {
  echo -1 > $binfmt/rosetta
  rm -f /run/binfmt.d/rosetta.conf
}

# run ARCH [PREFIX]: in the background.
run() {
  arch=$1
  shift
  "$@" "$programs/$arch" > "$found.$arch" 2>&1 < /dev/null &
  eval "pid_$arch=$!"
  echo "$!" >> "$found.pids"
}
# ended ARCH: waits for it; true when it ran, else $why. What it prints shows that the right translator ran it.
ended() {
  eval "pid=\$pid_$1"
  code=0 said=
  wait "$pid" || code=$?
  read -r said < "$found.$1" || :
  if [ $code = 0 ]; then
    case $1:$said in
      "$1:$1" | i386:i?86 | i386:x86_64 | arm:arm* | arm:aarch64) return 0 ;;
    esac
  fi
  why="it ended with exit code $code"
  [ $code -le 128 ] || why="it was killed by signal $((code - 128))"
  [ ! -e "$found.slow" ] || why="it did not end within $patience s"
  [ -z "$said" ] || why="$said; $why"
  return 1
}
# of the platform in hand: TRANSLATOR works|fails WHY
tell() { echo "@platform $name $*" >> "$found.new"; }

platform() {
  name=$1 arch=$2
  if [ "$arch" = "$machine" ]; then
    [ "$phase" != tell ] || tell native works
    return
  fi
  own=
  [ "$3" != "$machine" ] || own=yes
  case $phase in
    prepare)
      # shellcheck disable=SC2059  # it is a format
      printf "$5" > "$programs/$arch"
      files="$files $programs/$arch"
      [ -n "$own" ] || register_qemu "$arch" "$4"
      if [ "$arch" = x86_64 ] && [ -n "$rosetta" ]; then register_rosetta || :; fi
      ;;
    run)
      # By env, because a shell takes a program that the kernel does not know for a script.
      if [ -n "$own" ]; then
        run "$arch" env
      elif registered "qemu-$arch" || { [ "$arch" = x86_64 ] && registered rosetta; }; then
        run "$arch"
      fi
      ;;
    tell) tell_foreign "$4" ;;
  esac
}
tell_foreign() {
  if [ -n "$own" ]; then
    if ended "$arch"; then
      # Its own CPUs, unless somebody has registered a translator, whom the kernel asks first.
      if registered "qemu-$arch"; then tell qemu-user works; else tell native works; fi
      return
    fi
    register_qemu "$arch" "$1" || {
      tell none fails "this CPU does not run it, and $missing"
      return
    }
    run "$arch"
  elif [ "$arch" = x86_64 ] && [ -n "$rosetta" ]; then
    if [ -z "$rosetta_why" ]; then
      if ended x86_64; then
        tell rosetta works
        return
      fi
      rosetta_why="rosetta failed: $why"
      give_up_rosetta
      ! registered qemu-x86_64 || run x86_64
    else
      rosetta_why="rosetta failed: $rosetta_why"
    fi
  fi
  if ! registered "qemu-$arch"; then
    tell none fails "${rosetta_why:+$rosetta_why; }$missing"
  elif ended "$arch"; then
    if [ "$arch" = x86_64 ]; then tell qemu-user works "$rosetta_why"; else tell qemu-user works; fi
  else
    tell qemu-user fails "$why"
  fi
}

look_for_platforms() {
  files='' rosetta_why=$rosetta_why_not
  missing="qemu-user is not installed in the machine"
  rm -f "$found" "$found".*
  mkdir -p "$programs" "${found%/*}"
  if [ ! -e $binfmt/register ]; then
    modprobe -q binfmt_misc
    mount -t binfmt_misc binfmt_misc $binfmt
  fi
  [ -e $binfmt/register ] || missing="the machine's kernel has no binfmt_misc"
  phase=prepare
  each_platform
  # shellcheck disable=SC2086  # a list
  chmod 755 $files
  phase=run
  each_platform
  # shellcheck disable=SC2046  # a list
  (
    trap 'kill $nap; exit' TERM
    sleep $patience &
    nap=$!
    wait $nap
    : > "$found.slow"
    kill -KILL $(cat "$found.pids")
  ) &
  watcher=$!
  echo "# $machine rosetta=$rosetta" > "$found.new"
  phase=tell
  each_platform
  kill -TERM $watcher
  rm -f "$found".[!n]*
  mv "$found.new" "$found"
}

begin_platforms() {
  looking=
  if [ -r $found ]; then
    read -r was < $found
    if [ "$was" = "# $machine rosetta=$rosetta" ] && ! grep -q -e ' fails ' -e 'rosetta failed' $found; then return; fi
  fi
  look_for_platforms > /dev/null 2>&1 < /dev/null &
  looking=$!
}
end_platforms() {
  [ -z "$looking" ] || wait "$looking"
  [ -r $found ] || return 0
  while read -r line; do
    case $line in @platform*) echo "$line" ;; esac
  done < $found
}
