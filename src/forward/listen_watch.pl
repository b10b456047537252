# Runs in the guest as perl -e, between single quotes and so without any, with what Debian always has: perl-base. It tells
# on stdout on which ports of the guest, not of networks of containers, somebody listens: at the beginning and on each change.
#   PROTOCOL ADDRESS PORT CONTROL_GROUP     one line each; "-" for a control group that is not known
#   .                                       the list is complete
# The kernel says when to look: trace events for what begins to listen and for TCP ports that close, and a netlink group for
# UDP ports that close. Without them it looks every two seconds. Ends with its stdin.
use strict;
use Socket qw(:DEFAULT inet_ntop);
$| = 1;
my $tracing = "/sys/kernel/tracing";
my $traces = "$tracing/instances/colima-like-$$";
my ($trace, $closed);
my ($in, $wait) = ("", "");
vec($wait, 0, 1) = 1;

sub put {
  open(my $file, ">", "$traces/$_[0]") or return 0;
  print $file $_[1];
  return close $file;
}
# A buffer of our own, so that nobody else who traces is disturbed. One whose process was killed is taken away.
sub follow {
  system("mount -t tracefs tracefs $tracing 2>/dev/null") unless -d "$tracing/instances";
  for my $old (glob "$tracing/instances/colima-like-*") {
    rmdir $old if $old =~ /-(\d+)$/ && !-d "/proc/$1";
  }
  mkdir $traces or return 0;
  put("buffer_size_kb", "64");
  put("buffer_percent", "0") or return 0;  # one event is enough to wake us
  put("events/sock/inet_sock_set_state/filter", "newstate == 10 || oldstate == 10") or return 0;  # 10: listening
  put("events/sock/inet_sock_set_state/enable", "1") or return 0;
  put("events/syscalls/sys_exit_bind/enable", "1") or return 0;
  sysopen($trace, "$traces/trace_pipe", 2048) or return 0;  # O_NONBLOCK
  # AF_NETLINK, SOCK_RAW, NETLINK_SOCK_DIAG; the groups of closed UDP sockets, IPv4 and IPv6.
  socket($closed, 16, 3, 4) && bind($closed, pack("SSLL", 16, 0, 0, 2 | 8)) or return 0;
  vec($wait, fileno $_, 1) = 1 for $trace, $closed;
  return 1;
}
END {
  close $trace if $trace;
  rmdir $traces;
}

# The numbers that the system takes by itself: a UDP socket there is a client.
sub own_ports {
  open(my $file, "<", "/proc/sys/net/ipv4/ip_local_port_range") or return (1, 0);
  return split(" ", <$file>);
}

sub listeners {
  my %found;
  my ($first, $last) = own_ports();
  for my $table ("tcp", "tcp6", "udp", "udp6") {
    my $udp = $table =~ /^udp/;
    open(my $file, "<", "/proc/net/$table") or next;
    <$file>;
    while (<$file>) {
      my @field = split;
      next unless $field[3] eq ($udp ? "07" : "0A");
      my ($hex, $port) = split(/:/, $field[1]);
      $port = hex $port;
      next if $udp && $port >= $first && $port <= $last;
      # Each 32-bit word of the address is printed in the byte order of this machine.
      my $raw = pack("L*", map { hex } $hex =~ /(.{8})/g);
      my $address = inet_ntop(length $raw == 4 ? AF_INET : AF_INET6, $raw);
      $found{$field[9]} = ($udp ? "udp" : "tcp") . " $address $port";
    }
  }
  return \%found;
}

# The control group of each, by inode; "" for those of the engine and its proxies, whose ports are published ones.
my %owner;
sub name_owners {
  my %unknown = map { $_ => 1 } grep { !exists $owner{$_} } keys %{$_[0]};
  for my $process (sort { $b <=> $a } map { m{(\d+)$} } glob "/proc/[0-9]*") {
    last unless %unknown;
    opendir(my $descriptors, "/proc/$process/fd") or next;
    for my $descriptor (readdir $descriptors) {
      my $to = readlink "/proc/$process/fd/$descriptor" or next;
      my ($inode) = $to =~ /^socket:\[(\d+)\]/ or next;
      delete $unknown{$inode} or next;
      open(my $comm, "<", "/proc/$process/comm") or next;
      my $name = <$comm>;
      $owner{$inode} = $name =~ /^(docker-proxy|dockerd)$/ ? "" : group($process);
    }
  }
}
sub group {
  open(my $file, "<", "/proc/$_[0]/cgroup") or return "-";
  while (<$file>) {
    return $1 if /^0::(\S+)/;
  }
  return "-";
}

my $told = "none yet";
sub tell_changes {
  my $found = listeners();
  for my $gone (grep { !exists $found->{$_} } keys %owner) {
    delete $owner{$gone};
  }
  name_owners($found);
  my $list = "";
  for my $inode (sort { $found->{$a} cmp $found->{$b} } keys %$found) {
    my $who = exists $owner{$inode} ? $owner{$inode} : "-";
    $list .= "$found->{$inode} $who\n" if $who ne "";
  }
  print "$list.\n" if $list ne $told;
  $told = $list;
}

my $every = follow() ? undef : 2;
my $used = 0;
for (;;) {
  tell_changes();
  # Not more than a fifth of a CPU for that, however busy the guest is.
  my ($user, $system) = times;
  select(undef, undef, undef, 0.02 + 4 * ($user + $system - $used));
  $used = $user + $system;
  my $count = select(my $ready = $wait, undef, undef, $every);
  if ($count > 0 && vec($ready, 0, 1)) {
    sysread(STDIN, $in, 4096) or exit;
  }
  next unless $trace && $closed;
  sysread($trace, $in, 65536) if vec($ready, fileno $trace, 1);
  recv($closed, $in, 65536, MSG_DONTWAIT) if vec($ready, fileno $closed, 1);
}
