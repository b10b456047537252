# Runs in the guest, as root, from stdin of one SSH exec. Idempotent: on a guest that is already right it changes
# nothing and restarts nothing. The host puts assignments before it:
#   data_owner=UUID     whose data disk must be mounted
# and reads these lines from stdout; all other output is a step's own, shown only when the step fails:
#   @step NAME          a step begins to look
#   @doing NAME         it has something to do
#   @done NAME STATE    it ended: "unchanged" or "changed"
# The exit code is 0, or that of the step that failed.
set -u
export LC_ALL=C DEBIAN_FRONTEND=noninteractive

step() { echo "@step $1"; }
doing() { echo "@doing $1"; }
done_() { echo "@done $1 $2"; }

step data
if [ -r /proc/self/mountinfo ] && grep -q ' /var/lib/colima-like ' /proc/self/mountinfo; then
  done_ data unchanged
else
  doing data
  /usr/lib/colima-like/data-disk "$data_owner" 2>&1 || exit
  done_ data changed
fi

step docker-install
if [ -x /usr/sbin/dockerd ] || [ -x /usr/bin/dockerd ]; then
  done_ docker-install unchanged
else
  doing docker-install
  # No recommended packages: they bring a second init script system, apparmor and git.
  apt-get update 2>&1 && apt-get install -y --no-install-recommends docker.io docker-cli iptables ca-certificates 2>&1 || exit
  done_ docker-install changed
fi

step docker-start
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
