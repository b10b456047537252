# Runs in the guest, as root, from stdin of one SSH exec. Idempotent: on a guest that is already right it changes
# nothing and restarts nothing. The host puts assignments before it:
#   data_owner=UUID     whose data disk must be mounted
#   runtime=NAME        docker, podman, containerd or none
#   put_settings()      calls `put READER PATH` with the content on stdin for each file that the settings mean
#   after_boot()        calls `script NUMBER MODE TEXT` for each of the profile's own scripts: those that run before the
#   ready()             runtime is set up, and those that run when it is there
#   begin_platforms(), end_platforms()   scripts/platforms.sh
#   host_socket=PATH    where the engine's socket is on the host: a link to the engine's, so that what a client mounts by
#                       the path it knows is the socket (-v $DOCKER_HOST_PATH:/var/run/docker.sock, as Testcontainers do);
#                       empty: somebody else puts it there
# and reads these lines from stdout; all other output is a step's own, shown only when the step fails:
#   @step NAME          a step begins to look
#   @doing NAME         it has something to do
#   @done NAME STATE    it ended: "unchanged" or "changed"
#   @platform ...       what end_platforms says
# The exit code is 0, or that of the step that failed.
set -u
export LC_ALL=C DEBIAN_FRONTEND=noninteractive

step() { echo "@step $1"; }
doing() { echo "@doing $1"; }
done_() { echo "@done $1 $2"; }

begin_platforms

step data
if [ -r /proc/self/mountinfo ] && grep -q ' /var/lib/colima-like ' /proc/self/mountinfo; then
  done_ data unchanged
else
  doing data
  /usr/lib/colima-like/data-disk "$data_owner" 2>&1 || exit
  done_ data changed
fi

# Files that were put are listed, READER PATH, so that each can be taken back; what was in its place is kept beside it.
step settings
list=/etc/colima-like/settings
had= wanted= stale=
if [ -r $list ]; then had=$(cat $list); fi
put() {
  wanted="$wanted$1 $2
"
  [ -d "${2%/*}" ] || mkdir -p "${2%/*}"
  cat > "$2.new" || exit
  if cmp -s "$2.new" "$2"; then rm "$2.new"; return; fi
  [ -n "$stale" ] || doing settings
  stale="$stale $1"
  case "
$had
" in
    *" $2
"*) ;;
    *) if [ -e "$2" ] || [ -L "$2" ]; then mv "$2" "$2.before-colima-like" || exit; fi ;;
  esac
  mv "$2.new" "$2" || exit
}
put_settings
if [ -n "$had" ]; then
  while read -r reader path; do
    case $wanted in *"$reader $path
"*) continue ;; esac
    [ -n "$stale" ] || doing settings
    stale="$stale $reader"
    rm -f "$path"
    if [ -e "$path.before-colima-like" ] || [ -L "$path.before-colima-like" ]; then mv "$path.before-colima-like" "$path"; fi
  done <<END
$had
END
fi
if [ -n "$stale" ]; then
  mkdir -p ${list%/*}
  printf %s "$wanted" > $list
fi
case $stale in
  *trust*)
    # As update-ca-certificates would, without the hash links that nothing here reads and that take an emulated CPU a
    # minute; the certificate stands where that program finds it again.
    bundle=/etc/ssl/certs/ca-certificates.crt
    mkdir -p ${bundle%/*}
    [ -e $bundle ] || : > $bundle
    [ -e $bundle.before-colima-like ] || cp $bundle $bundle.before-colima-like || exit
    cat $bundle.before-colima-like > $bundle.new || exit
    ours=/usr/local/share/ca-certificates/colima-like.crt
    if [ -e $ours ]; then cat $ours >> $bundle.new || exit; fi
    mv $bundle.new $bundle || exit
    ;;
esac
# The rules go with the boot. Without the setting it boots without them: it has another network card then.
if [ -e /etc/colima-like/egress ] && [ ! -e /run/colima-like-egress ]; then
  [ -n "$stale" ] || doing settings
  stale="$stale egress"
  if ! command -v iptables-restore > /dev/null; then
    echo "network.egress and network.host_access need iptables, which this machine gets with a runtime: start it once without them and with runtime docker"
    exit 1
  fi
  iptables-restore --noflush --wait < /etc/colima-like/egress 2>&1 || exit
  # Nobody told it a way out, and the kernel asks for one before the rules.
  command -v ip > /dev/null || ip() { busybox ip "$@"; }
  for card in /sys/class/net/e*; do ip route replace default dev "${card##*/}" 2>&1 || exit; done
  : > /run/colima-like-egress
fi
case $stale in *names*) systemctl try-restart colima-like-dns.service 2>&1 || exit ;; esac
if [ -n "$stale" ]; then done_ settings changed; else done_ settings unchanged; fi

# The profile's own scripts. Each runs once in a boot, and again when another text comes: what ran is kept in /run, which
# goes with the boot. Output goes to a file, since a script may leave a process behind that holds it open.
ran= variables=/etc/profile.d/colima-like.sh
script() {
  file=/run/colima-like/provision-$1
  mkdir -p ${file%/*}
  printf '%s\n' "$3" > "$file.new" || exit
  if cmp -s "$file.new" "$file"; then rm "$file.new"; return; fi
  [ -n "$ran" ] || doing "$scripts"
  ran=yes
  chmod 700 "$file.new"
  code=0
  # Both are root, the user that `colima-like ssh` logs in as; "user" begins as that does: at home, in a login shell.
  case $2 in
    user) (cd && exec sh -lc "exec $file.new") ;;
    *) (cd / && { [ ! -r $variables ] || . $variables; } && exec "$file.new") ;;
  esac < /dev/null > "$file.log" 2>&1 || code=$?
  if [ $code = 0 ]; then mv "$file.new" "$file" && return; fi
  tail -n 13 "$file.log" | sed 's/^@/ @/'
  echo "script $1 of 'provision' ended with exit code $code; all of its output is in the machine's $file.log"
  exit 1
}
# run_scripts NAME: in a step of that name, if there are any.
run_scripts() {
  scripts=$1 ran=
  step "$1"
  "$2"
  if [ -n "$ran" ]; then done_ "$1" changed; else done_ "$1" unchanged; fi
}
run_scripts provision-after-boot after_boot

# The image starts Docker by itself. Another runtime is left on the root disk as the one that boots.
step runtime
was=docker
if [ -r /etc/colima-like/runtime ]; then read -r was < /etc/colima-like/runtime; fi
if [ "$was" = "$runtime" ]; then
  done_ runtime unchanged
else
  doing runtime
  case $was in
    docker)
      systemctl disable --now docker.socket docker.service containerd.service colima-like-dns.service 2>&1
      # It ran in this boot, and nobody else's containers could forward a packet.
      for tables in iptables ip6tables; do "$tables" -P FORWARD ACCEPT 2>&1; done
      ;;
    podman) systemctl disable --now podman.socket podman.service 2>&1 ;;
    containerd)
      systemctl stop buildkit.socket buildkit.service 2> /dev/null # their files are gone with the setting
      systemctl disable --now containerd.service colima-like-dns.service 2>&1
      ;;
  esac
  mkdir -p /etc/colima-like
  echo "$runtime" > /etc/colima-like/runtime || exit
  done_ runtime changed
fi

# What a distribution's own image lacks of ours, also where it brings Docker along: sshfs for shares, dnsmasq for the names
# that containers look up, and qemu-user for other platforms, of which one stands for all. Static, because it runs in
# containers: Debian 13 has no other, and its qemu-user-static is a name for that.
foreign=/etc/colima-like/set-up # vm/cloud_guest: setup.sh
tools= new_tools=
if [ -e $foreign ]; then
  command -v sshfs > /dev/null || tools=sshfs
  case $runtime in docker | containerd) command -v dnsmasq > /dev/null || tools="$tools dnsmasq-base" ;; esac
  command -v qemu-s390x > /dev/null || command -v qemu-s390x-static > /dev/null ||
    tools="$tools qemu-user-static/qemu-user-binfmt"
fi

# install NAME PROGRAM PACKAGES: the tools with it, or alone when the program is there. No recommended packages, they bring
# a second init script system, apparmor and git. One with a question mark may be unknown: Ubuntu 24.04 has no docker-cli,
# its docker.io holds the program. Of two with a slash it is the first that is known. A distribution's own upgrades may be
# at work in its first boot, and what we configured before the package came stays.
installed=
known() { apt-cache show "$1" > /dev/null 2>&1; }
apt() { apt-get -o DPkg::Lock::Timeout=600 -o Dpkg::Options::=--force-confold "$@"; }
# Nothing of ours is needed to find the root disk, but fuse3 has the initramfs made anew, which takes an emulated CPU half a
# minute. What the packages of a kernel make is made all the same.
initramfs=/etc/initramfs-tools/update-initramfs.conf
keep_initramfs() {
  [ -e $initramfs ] || return 0
  mkdir -p /run/colima-like/
  echo update_initramfs=no > /run/colima-like/update-initramfs.conf
  mount --bind /run/colima-like/update-initramfs.conf $initramfs
}
make_initramfs_again() { while umount $initramfs 2> /dev/null; do :; done; }
install_packages() {
  apt update || return
  wanted_packages=
  for package; do
    case $package in
      \?*) package=${package#?}; known "$package" || continue ;;
      */*) if known "${package%/*}"; then package=${package%/*}; else package=${package#*/}; fi ;;
    esac
    wanted_packages="$wanted_packages $package"
  done
  keep_initramfs
  # shellcheck disable=SC2086  # names are words
  apt install -y --no-install-recommends $wanted_packages
  code=$?
  make_initramfs_again
  return $code
}
install() {
  name=$1 program=$2
  shift 2
  if command -v "$program" > /dev/null; then
    set --
    [ -z "$tools" ] || name=tools
  fi
  step "$name-install"
  if [ $# = 0 ] && [ -z "$tools" ]; then
    done_ "$name-install" unchanged
    return
  fi
  doing "$name-install"
  # shellcheck disable=SC2086  # names are words
  if install_packages "$@" $tools 2>&1; then
    installed=yes
    new_tools=$tools
    done_ "$name-install" changed
  elif [ $# = 0 ]; then
    # Without a network the engine that is there works all the same; what does not is seen in `status`.
    done_ "$name-install" unchanged
  else
    exit 1
  fi
}
# start NAME UNIT: joins a start that is under way; systemd says when it is done, nothing is polled.
start() {
  step "$1-start"
  case $(systemctl show -p ActiveState "$2") in
    *=active) if [ -z "$3" ]; then done_ "$1-start" unchanged; return; fi ;;
  esac
  doing "$1-start"
  { systemctl enable "$2" && systemctl ${3:-start} "$2"; } 2>&1 || {
    code=$?
    journalctl --no-pager -o cat -n 15 -u "$2" 2>&1
    exit "$code"
  }
  done_ "$1-start" changed
}
# keep FOLDER: its content is on the data disk.
keep() {
  if grep -q " /var/lib/$1 " /proc/self/mountinfo; then return; fi
  mkdir -p "/var/lib/colima-like/$1" "/var/lib/$1" && mount --bind "/var/lib/colima-like/$1" "/var/lib/$1" || exit
}
again=
case $stale in *"$runtime"* | *trust*) again=restart ;; esac

start_none() { install tools true; }
start_podman() {
  install podman podman podman aardvark-dns nftables iptables ca-certificates catatonit
  keep containers
  start podman podman.socket ''
  # It ends by itself when nobody asks; one that runs would keep its old settings.
  if [ -n "$again" ]; then systemctl try-restart podman.service; fi
}
start_containerd() {
  # The host has put nerdctl and BuildKit there, which Debian 13 has no packages of (provision/tools.hpp).
  install containerd containerd containerd dnsmasq-base iptables ca-certificates
  systemctl start colima-like-dns.service 2>&1 || exit
  keep nerdctl
  start containerd containerd.service "$again"
  [ -x /usr/local/bin/buildkitd ] || return 0
  keep buildkit
  # The first build starts it, and one that runs would keep its old settings.
  step buildkit-start
  if [ -z "$again" ] && systemctl is-active --quiet buildkit.socket; then
    done_ buildkit-start unchanged
  else
    doing buildkit-start
    { systemctl daemon-reload && systemctl try-restart buildkit.service && systemctl start buildkit.socket; } 2>&1 || exit
    done_ buildkit-start changed
  fi
}
start_docker() {
  install docker dockerd docker.io '?docker-cli' '?crun' dnsmasq-base iptables ca-certificates
  # What daemon.json calls crun. A guest that brings its own Docker may have none: then it is runc.
  oci_runtime=$(command -v crun || command -v runc)
  # In our image it is the agent, which calls crun.
  [ -e /usr/lib/colima-like/crun-read-only ] || [ /usr/lib/colima-like/crun -ef "$oci_runtime" ] || ln -sfn "$oci_runtime" /usr/lib/colima-like/crun 2>&1 || exit
  # The package started dockerd, perhaps before dnsmasq could be.
  if [ -n "$installed" ]; then systemctl start colima-like-dns.service 2>&1 || exit; fi
  if [ "$was" != docker ]; then systemctl enable docker.socket docker.service containerd.service 2>&1 || exit; fi

  step socket-link
  if [ -z "$host_socket" ] || [ "$host_socket" -ef /run/docker.sock ] || { [ -e "$host_socket" ] && [ ! -L "$host_socket" ]; }; then
    done_ socket-link unchanged # there already; or something else is, which is left alone
  else
    doing socket-link
    mkdir -p "${host_socket%/*}" 2>&1 && ln -sfn /run/docker.sock "$host_socket" 2>&1 || exit
    done_ socket-link changed
  fi

  step docker-start
  # dockerd reads its settings and the CA certificates once.
  case $stale in
    *docker* | *trust*)
      case $(systemctl show -p ActiveState docker.service) in
        *inactive* | *failed*) ;;
        *)
          doing docker-start
          systemctl restart docker.service 2>&1 || {
            code=$?
            journalctl --no-pager -o cat -n 15 -u docker.service 2>&1
            exit "$code"
          }
          ;;
      esac
      ;;
  esac
  # "Job" is the start that the boot has under way: waiting for that changes nothing.
  facts=$(systemctl show -p ActiveState -p Job docker.service)
  case $facts in
    *ActiveState=active*) ;;
    *)
      doing docker-start
      # Joins a start that is under way; systemd says when it is done, nothing is polled.
      systemctl start docker.service 2>&1 || {
        code=$?
        systemctl --no-pager --full status docker.service 2>&1 | head -n 5
        journalctl --no-pager -o cat -n 15 -u docker.service 2>&1
        exit "$code"
      }
      ;;
  esac
  case $facts in
    *ActiveState=active* | *ActiveState=activating* | *Job=[1-9]*) done_ docker-start unchanged ;;
    *) done_ docker-start changed ;;
  esac
}
"start_$runtime"

step platforms
# What the first look did not find was not there yet.
if [ -n "$new_tools" ]; then
  end_platforms > /dev/null
  begin_platforms
fi
end_platforms
done_ platforms unchanged

run_scripts provision-ready ready
