#!/bin/sh
# A Linux host of its own for tests, as far as SSH and Docker can tell: name spaces of this computer with their own network,
# processes, /root, /run, /etc and /var/lib, an sshd, and a dockerd unless it is to be missing. Takes root, and the network
# name space of the caller gets a link to it, so that should be a fresh one.
#
#   host_lab.sh DIR with-docker|without-docker     runs until its stdin ends; says "ready" when ssh may come
#
# $COLIMA_LIKE_LAB_SUDO is its sudo (lab_sudo.cpp).
#
# DIR/ssh_config: for ssh -F, with the hosts "lab" (root), "worker" (a user with sudo, not in the group docker), "nobody-special"
# (without sudo), "stranger" (a host whose key is not known). DIR/pid: of its first process.
set -eu
dir=$1 docker=$2

if [ "${3:-}" = inside ]; then
  mount --make-rprivate /
  mount -t proc proc /proc
  hostname lab
  mkdir -p "$dir/root" "$dir/etc" "$dir/etc.work" "$dir/data"
  mount -t overlay overlay -o "lowerdir=/etc,upperdir=$dir/etc,workdir=$dir/etc.work" /etc
  mount --bind "$dir/root" /root
  mount -t tmpfs tmpfs /run
  mount -t tmpfs tmpfs /var/lib
  mkdir -p /run/sshd /run/lock /run/lab /var/lib/docker /home
  cp -p "$dir"/bin/* /run/lab/  # where every user gets at them, which DIR may not be
  mount -t tmpfs tmpfs /home
  grep -q '^docker:' /etc/group || echo docker:x:990: >> /etc/group
  for name in worker nobody-special; do
    useradd -m -s /bin/sh $name
    usermod -p '*' $name
    mkdir -p /home/$name/.ssh
    cp "$dir/key.pub" /home/$name/.ssh/authorized_keys
  done
  mkdir -p /root/.ssh
  cp "$dir/key.pub" /root/.ssh/authorized_keys
  ip link set lo up
  while ! ip link show lab1 > /dev/null 2>&1; do sleep 0.02; done
  ip address add 10.77.0.2/24 dev lab1
  ip link set lab1 up
  start_docker() {
    setsid dockerd --data-root "$dir/data" --exec-root /run/docker-exec --pidfile /run/docker.pid --storage-driver vfs \
      --group docker > "$dir/dockerd.log" 2>&1 < /dev/null &
  }
  if [ "$docker" = with-docker ]; then
    start_docker
  else
    # What is installed on this computer is not on that host, until its apt-get and systemctl, which are ours, say so.
    : > "$dir/no-program"
    command -v dockerd > "$dir/dockerd-path"
    mount --bind "$dir/no-program" "$(command -v dockerd)"
    mkdir -p /run/systemd/system
  fi
  /usr/sbin/sshd -D -e -f "$dir/sshd_config" > "$dir/sshd.log" 2>&1 &
  sshd=$!
  if [ "$docker" = with-docker ]; then
    while ! docker -H unix:///var/run/docker.sock version > /dev/null 2>&1; do sleep 0.1; done
  fi
  echo ready
  wait $sshd
  exit 0
fi

mkdir -p "$dir/bin"
ssh-keygen -q -t ed25519 -N '' -f "$dir/key"
ssh-keygen -q -t ed25519 -N '' -f "$dir/host_key"
cat > "$dir/sshd_config" << END
Port 22
ListenAddress 10.77.0.2
HostKey $dir/host_key
StrictModes no
PermitRootLogin prohibit-password
AuthenticationMethods publickey
UsePAM no
UseDNS no
PidFile /run/sshd.pid
PrintMotd no
PrintLastLog no
MaxSessions 100
MaxStartups 100
SetEnv SHLVL=1 PATH=/run/lab:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
END
install -m 4755 "$COLIMA_LIKE_LAB_SUDO" "$dir/bin/sudo"
cat > "$dir/bin/apt-get" << END
#!/bin/sh
case " \$* " in
  *" -s "*) echo "Inst docker.io (20.10 Debian:12 [amd64])"; echo "Inst containerd (1.6 Debian:12 [amd64])" ;;
  *" install "*) echo "apt-get \$*" >> "$dir/changes"; umount "\$(cat "$dir/dockerd-path")" ;;
  *" remove "* | *" purge "*) echo "apt-get \$*" >> "$dir/changes" ;;
esac
END
cat > "$dir/bin/dpkg" << 'END'
#!/bin/sh
exit 0
END
cat > "$dir/bin/systemctl" << END
#!/bin/sh
echo "systemctl \$*" >> "$dir/changes"
case "\$*" in
  "enable --now docker.service")
    setsid dockerd --data-root "$dir/data" --exec-root /run/docker-exec --pidfile /run/docker.pid --storage-driver vfs \
      --group docker > "$dir/dockerd.log" 2>&1 < /dev/null &
    for i in 1 2 3 4 5 6 7 8 9 10; do docker -H unix:///var/run/docker.sock version > /dev/null 2>&1 && exit 0; sleep 0.5; done ;;
  "disable --now"*) kill \$(cat /run/docker.pid) ;;
esac
END
chmod 755 "$dir"/bin/apt-get "$dir"/bin/dpkg "$dir"/bin/systemctl
chmod 755 "$dir"
{
  for name in lab worker nobody-special; do
    user=$name
    [ $name = lab ] && user=root
    printf 'Host %s\n  HostName 10.77.0.2\n  User %s\n  HostKeyAlias lab\n' $name $user
  done
  printf 'Host stranger\n  HostName 10.77.0.2\n  User root\n  HostKeyAlias stranger\n'
  printf 'Host closed\n  HostName 10.77.0.2\n  User root\n  HostKeyAlias lab\n  PubkeyAuthentication no\n'
  printf 'Host away\n  HostName 10.77.0.9\n  HostKeyAlias lab\n'
  printf 'Host *\n  IdentityFile %s\n  IdentitiesOnly yes\n  IdentityAgent none\n  UserKnownHostsFile %s\n  GlobalKnownHostsFile /dev/null\n' \
    "$dir/key" "$dir/known_hosts"
} > "$dir/ssh_config"
printf 'lab %s\n' "$(cut -d' ' -f1,2 "$dir/host_key.pub")" > "$dir/known_hosts"

unshare --net --mount --pid --uts --ipc --fork --kill-child -- sh "$0" "$dir" "$docker" inside < /dev/null &
outer=$!
trap 'kill -9 $outer 2>/dev/null; ip link del lab0 2>/dev/null' EXIT
inner=
while [ -z "$inner" ]; do
  inner=$(cat "/proc/$outer/task/$outer/children" 2>/dev/null) || :
  inner=${inner%% *}
  sleep 0.02
done
echo "$inner" > "$dir/pid"
ip link set lo up
ip link add name lab0 type veth peer name lab1 netns "$inner"
ip address add 10.77.0.1/24 dev lab0
ip link set lab0 up
cat > /dev/null
