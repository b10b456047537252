# Runs on a host that is not ours, as whoever logs in there: sh -c THIS sh VERB [ARGUMENT]. What it changes there is written
# down first, in /var/lib/colima-like-host/record, so that it can be taken back also after a broken connection. Verbs:
#   look          facts, "fact NAME VALUE" a line; changes nothing
#   install       Docker from the distribution
#   start         Docker, now and at each boot
#   join          this user becomes a member of the group docker
#   take-back 0|1 what was brought; with 1 also Docker's data. "left WHY" when something has to stay
#   forget        the agent
set -eu
export PATH="$PATH:/usr/sbin:/sbin:/usr/local/sbin"
folder=/var/lib/colima-like-host
record=$folder/record
user=$(id -un)

as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo -n "$@"; fi; }
write_down() {
  as_root mkdir -p $folder
  as_root grep -qxF "$1" $record 2>/dev/null || printf '%s\n' "$1" | as_root tee -a $record > /dev/null
}
apt() { as_root env DEBIAN_FRONTEND=noninteractive LC_ALL=C apt-get -q -y "$@" < /dev/null; }

look() {
  id=unknown like='' pretty=''
  if [ -r /etc/os-release ]; then
    id=$(. /etc/os-release && echo "${ID:-unknown}") like=$(. /etc/os-release && echo "${ID_LIKE:-}")
    pretty=$(. /etc/os-release && echo "${PRETTY_NAME:-}")
  fi
  echo "fact kernel $(uname -s)"
  echo "fact architecture $(uname -m)"
  echo "fact user $user"
  echo "fact system ${pretty:-$id}"
  case " $id $like " in *" debian "* | *" ubuntu "*) echo "fact apt yes" ;; esac
  if [ -d /run/systemd/system ]; then echo "fact systemd yes"; fi
  if [ "$(id -u)" = 0 ]; then echo "fact root yes"; elif sudo -n true 2>/dev/null; then echo "fact root sudo"; fi
  if command -v dockerd > /dev/null 2>&1; then echo "fact docker yes"; fi
  if [ -S /var/run/docker.sock ]; then echo "fact socket yes"; fi
  if [ -w /var/run/docker.sock ]; then echo "fact access yes"; fi
  if [ -e $record ]; then echo "fact record yes"; fi
  there=/var/lib/docker
  [ -d $there ] || there=/var/lib
  echo "fact free $(df -Pk $there | awk 'NR == 2 { print $4 }')"
  echo "fact time $(date +%s)"
}

install() {
  as_root env DEBIAN_FRONTEND=noninteractive dpkg --configure -a < /dev/null  # an install that was broken off is finished
  apt update
  for package in $(apt install -s --no-install-recommends docker.io iptables | sed -n 's/^Inst \([^ ]*\) .*/\1/p'); do
    write_down "package $package"
  done
  apt install --no-install-recommends docker.io iptables
}

start() {
  write_down "service docker.service"
  as_root systemctl enable --now docker.service
}

join() {
  write_down "member $user"
  as_root usermod -aG docker "$user"
}

take_back() {
  [ -e $record ] || return 0
  said=$(as_root cat $record)
  of() { printf '%s\n' "$said" | sed -n "s/^$1 //p"; }
  packages=$(of package) member=$(of member) service=$(of service)
  if [ "$packages" ] || [ "$service" ]; then
    running=$(as_root docker ps -q 2>/dev/null | wc -l)
    if [ "$running" -gt 0 ]; then
      echo "left Docker, in which $running containers run"
      return 0
    fi
  fi
  if [ "$service" ]; then as_root systemctl disable --now docker.service docker.socket > /dev/null 2>&1 || :; fi
  if [ "$packages" ] && [ "$1" = 1 ]; then
    apt purge $packages > /dev/null
    as_root rm -rf /var/lib/docker /var/lib/containerd
    echo "back Docker and its data"
  elif [ "$packages" ]; then
    apt remove $packages > /dev/null
    echo "back Docker"
    echo "left Docker's data in /var/lib/docker"
  fi
  if [ "$member" ]; then
    as_root gpasswd -d "$member" docker > /dev/null 2>&1 || :
    echo "back $member's place in the group docker"
  fi
  as_root rm -rf $folder
}

case $1 in
  look) look ;;
  install) install ;;
  start) start ;;
  join) join ;;
  take-back) take_back "$2" ;;
  forget) rm -rf "$HOME/.cache/colima-like/agent"; rmdir "$HOME/.cache/colima-like" 2>/dev/null || : ;;
esac
