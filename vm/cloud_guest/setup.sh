# Brings what our own images have into the guest of a distribution's cloud image. cloud-init's bootcmd runs it in each
# boot, from the seed disk: a newer colima-like brings newer files. Before this, the host puts the functions
#   put_files()            calls `put MODE PATH` with the content on stdin for each file
#   put_missing_files()    calls `put_missing PATH` likewise: what the image has already is its own
# and the assignments host_name, host_address and ports (of the guest's own connections).
set -eu
PATH=/usr/sbin:/usr/bin:/sbin:/bin
umask 022
done_once=/etc/colima-like/set-up
changed=
put() {
    [ -d "${2%/*}" ] || mkdir -p "${2%/*}"
    (umask 077; cat > "$2.new")
    chmod "$1" "$2.new"
    if cmp -s "$2.new" "$2"; then rm "$2.new"; else mv "$2.new" "$2"; changed=yes; fi
}
put_missing() { if [ -e "$1" ]; then cat > /dev/null; else put 644 "$1"; fi; }

mkdir -p -m 700 /etc/colima-like/credentials
put_files
# As few ports as the host can forward, and they are used again soon.
echo "$ports" > /proc/sys/net/ipv4/ip_local_port_range || :
echo 1 > /proc/sys/net/ipv4/tcp_tw_reuse || :
put 644 /etc/sysctl.d/90-colima-like.conf <<END
net.ipv4.ip_local_port_range = $ports
net.ipv4.tcp_tw_reuse = 1
END
[ -z "$changed" ] || systemctl daemon-reload

if [ ! -e $done_once ]; then
    put_missing_files
    # A locked account cannot log in by key either.
    case $(getent shadow root) in root:!*) usermod -p '*' root ;; esac
    # SSH comes by virtio-serial or vsock alone: nobody but us is to reach this machine, and no container its port 22.
    for unit in ssh.socket sshd.socket ssh.service sshd.service; do
        [ ! -e /usr/lib/systemd/system/$unit ] || systemctl mask --now $unit || :
    done
    # A generator of systemd's own makes it in machines with vsock, on the port of our colima-like-vsock.socket.
    systemctl mask --now sshd-vsock.socket 2> /dev/null || :
    grep -q "^127.0.1.1 $host_name" /etc/hosts || printf '127.0.1.1 %s\n' "$host_name" >> /etc/hosts
    # Where the host is the gateway, provisioning finds it and writes it down.
    [ -z "$host_address" ] || grep -q ' host.docker.internal' /etc/hosts || printf '%s host.docker.internal\n' "$host_address" >> /etc/hosts
    # An engine that the image brought along may be running on the root disk. Provisioning starts it again.
    systemctl stop docker.socket docker.service containerd.service 2> /dev/null || :
    mkdir -p /etc/systemd/system/multi-user.target.wants
    for i in 0 1 2 3; do
        ln -sfn /usr/lib/systemd/system/colima-like-ssh@.service /etc/systemd/system/multi-user.target.wants/colima-like-ssh@$i.service
    done
    ln -sfn /usr/lib/systemd/system/colima-like-shares.service /etc/systemd/system/multi-user.target.wants/
    mkdir -p /etc/systemd/system/sockets.target.wants
    ln -sfn /usr/lib/systemd/system/colima-like-vsock.socket /etc/systemd/system/sockets.target.wants/
    systemctl daemon-reload
    : > $done_once
fi
systemctl start --no-block colima-like-ssh@0 colima-like-ssh@1 colima-like-ssh@2 colima-like-ssh@3 colima-like-vsock.socket
