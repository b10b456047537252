# Runs in the guest as perl -e, between single quotes and so without any, with what Debian always has: perl-base. It is
# the guest end of the data channel: connects to sockets of the guest for the host and carries their bytes, many streams
# on two virtio-serial ports. The frames are told in provision/channel/frame.hpp. Ends with its stdin or with a port.
#   NONCE [IN OUT]     IN and OUT: numbers of open descriptors instead of the ports
use strict;
use Config;
use Errno qw(EAGAIN EINTR EINPROGRESS EBUSY);
use Socket qw(:DEFAULT inet_pton pack_sockaddr_in6 IPPROTO_TCP TCP_NODELAY SOCK_NONBLOCK SOCK_CLOEXEC);
use constant { WINDOW => 262144, TURN => 32768, LIMIT => 131072, IN => 1, OUT => 4 };
$SIG{PIPE} = "IGNORE";
my ($nonce, @ends) = @ARGV;

# System calls that Perl has no function for; x86_64 and aarch64.
my $arm = $Config{archname} =~ /^aarch64/;
my ($epoll_create, $epoll_ctl, $epoll_wait, $prlimit) = $arm ? (20, 21, 22, 261) : (291, 233, 281, 302);
my $event = $arm ? "Lx4Q" : "LQ";  # packed on x86_64 only
my $event_size = length pack($event, 0, 0);
use constant BATCH => 16;
my $events = "\0" x ($event_size * BATCH);

sub new_set {
  my $set = syscall($epoll_create, 0);
  die "epoll: $!\n" if $set < 0;
  return $set;
}
sub watch {
  my ($set, $fd, $old, $new) = @_;
  return $new if $old == $new;
  my $change = !$old ? 1 : !$new ? 2 : 3;
  syscall($epoll_ctl, $set, $change, $fd, pack($event, $new, $fd));
  return $new;
}
# What is ready in a set: descriptor, events, descriptor, events ...
sub ready {
  my ($set, $time) = @_;
  my $count = syscall($epoll_wait, $set, $events, BATCH, $time, 0, 8);
  my @found;
  for (my $i = 0; $i < $count; ++$i) {
    my ($what, $fd) = unpack($event, substr($events, $i * $event_size, $event_size));
    push @found, $fd, $what;
  }
  return @found;
}

# As many descriptors as the kernel lets us have.
my $limits = pack("QQ", 0, 0);
if (syscall($prlimit, 0, 7, 0, $limits) == 0) {
  my (undef, $most) = unpack("QQ", $limits);
  $limits = pack("QQ", $most, $most);
  syscall($prlimit, 0, 7, $limits, 0);
}

# There is no udev here: ports are found by name in /sys. One that an earlier program has not left yet is busy.
sub open_port {
  my $wanted = "colima-like.data.$_[0]";
  for my $name (glob "/sys/class/virtio-ports/*/name") {
    open(my $file, "<", $name) or next;
    chomp(my $is = <$file>);
    next unless $is eq $wanted;
    my ($device) = $name =~ m{([^/]+)/name$};
    for (1 .. 100) {
      my $port;
      return $port if sysopen($port, "/dev/$device", 2 | 2048);  # O_RDWR | O_NONBLOCK
      die "/dev/$device: $!\n" unless $! == EBUSY;
      select(undef, undef, undef, 0.05);
    }
    die "/dev/$device is busy\n";
  }
  print STDERR "the machine has no port $wanted\n";
  exit 66;
}
my ($from, $to);
if (@ends) {
  open($from, "+<&=", $ends[0]) or die "$!\n";
  open($to, "+<&=", $ends[1]) or die "$!\n";
  $_->blocking(0) for $from, $to;
} else {
  ($from, $to) = (open_port("in"), open_port("out"));
}
my ($from_fd, $to_fd) = (fileno $from, fileno $to);

my (%stream, %at);      # by number, and by descriptor of its socket
my %again;              # streams whose connection is to be tried again
my ($in, $out) = ("", $nonce);
my ($synchronous, $paused, $patience) = (0, 0, 100);
my ($ends, $sockets) = (new_set(), new_set());
my ($sockets_watched, $to_watched) = (0, 0);
watch($ends, 0, 0, IN);
watch($ends, $from_fd, 0, IN);

sub put_frame {
  my ($id, $type, $payload) = @_;
  $out .= pack("NN", $id, ord($type) << 24 | length $payload) . $payload;
}

# ---- streams: an array each ------------------------------------------------------------------------------------------
use constant { ID => 0, SOCKET => 1, FD => 2, WAITING => 3, CREDIT => 4, TAKEN => 5, STATE => 6, WATCHED => 7 };
use constant { ADDRESS => 8 };
# Bits of STATE. DEAF: writing failed; what still comes is dropped, what the socket has still goes to the host.
use constant { CONNECTING => 1, READ_ALL => 2, END_COMES => 4, WRITTEN_ALL => 8, DEAF => 16 };

sub interest {
  my ($s) = @_;
  my $state = $s->[STATE];
  my $want = 0;
  if ($state & CONNECTING) { $want = OUT }
  else {
    $want = IN if !($state & READ_ALL) && $s->[CREDIT] > 0;
    $want |= OUT if length $s->[WAITING];
  }
  $s->[WATCHED] = watch($sockets, $s->[FD], $s->[WATCHED], $want) if $want != $s->[WATCHED];
}
sub forget {
  my ($s, $hard) = @_;
  delete $stream{$s->[ID]};
  delete $again{$s->[ID]};
  return unless defined $s->[SOCKET];
  delete $at{$s->[FD]};
  setsockopt($s->[SOCKET], SOL_SOCKET, SO_LINGER, pack("ii", 1, 0)) if $hard;
  close $s->[SOCKET];
}
sub refuse {
  my ($s, $why) = @_;
  put_frame($s->[ID], "r", "$why");
  forget($s);
}
sub break_off {
  my ($s) = @_;
  put_frame($s->[ID], "x", "");
  forget($s, 1);
}
sub settle {
  my ($s) = @_;
  if ($s->[STATE] & READ_ALL) {
    return forget($s) if $s->[STATE] & WRITTEN_ALL;
    return break_off($s) if $s->[STATE] & DEAF;
  }
  interest($s);
}
sub connected {
  my ($s) = @_;
  $s->[STATE] &= ~CONNECTING;
  put_frame($s->[ID], "a", "");
  interest($s);
}
sub try_connect {
  my ($s) = @_;
  my $done = connect($s->[SOCKET], $s->[ADDRESS]);
  return connected($s) if $done;
  return interest($s) if $! == EINPROGRESS;
  return refuse($s, $!) unless $! == EAGAIN;
  $again{$s->[ID]} = $s;  # a unix socket whose queue is full, and which tells nobody when it is not
}
sub begin {
  my ($id, $where) = @_;
  my $s = $stream{$id} = [$id, undef, -1, "", WINDOW, 0, CONNECTING, 0];
  my ($family, $address, $port) = split / /, $where, 2;
  if ($family eq "tcp") {
    ($address, $port) = split / /, $address;
    my $v6 = $address =~ /:/;
    my $raw = inet_pton($v6 ? AF_INET6 : AF_INET, $address) or return refuse($s, "$address is no address");
    $family = $v6 ? AF_INET6 : AF_INET;
    $s->[ADDRESS] = $v6 ? pack_sockaddr_in6($port, $raw) : pack_sockaddr_in($port, $raw);
  } else {
    $family = AF_UNIX;
    return refuse($s, "the path is too long") if length($address) > 107;
    $s->[ADDRESS] = pack_sockaddr_un($address);
  }
  socket($s->[SOCKET], $family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0) or return refuse($s, $!);
  $s->[FD] = fileno $s->[SOCKET];
  setsockopt($s->[SOCKET], IPPROTO_TCP, TCP_NODELAY, 1) if $family != AF_UNIX;
  $at{$s->[FD]} = $s;
  try_connect($s);
}

# Credit goes back in quarters of the window.
sub taken {
  my ($s, $count) = @_;
  $s->[TAKEN] += $count;
  return if $s->[TAKEN] < WINDOW / 4;
  put_frame($s->[ID], "c", pack("N", $s->[TAKEN]));
  $s->[TAKEN] = 0;
}
sub go_deaf {
  my ($s) = @_;
  taken($s, length $s->[WAITING]);
  $s->[WAITING] = "";
  $s->[STATE] |= DEAF;
}
sub end_writing {
  my ($s) = @_;
  shutdown($s->[SOCKET], 1) unless $s->[STATE] & DEAF;
  $s->[STATE] |= WRITTEN_ALL;
}
sub give {
  my ($s, $bytes) = @_;
  return taken($s, length $bytes) if $s->[STATE] & DEAF;
  if (length $s->[WAITING] || $s->[STATE] & CONNECTING) {
    $s->[WAITING] .= $bytes;
    return;
  }
  my $put = syswrite($s->[SOCKET], $bytes);
  if (!defined $put) {
    $put = 0;
    if ($! != EAGAIN && $! != EINTR) {
      go_deaf($s);
      taken($s, length $bytes);
      return settle($s);
    }
  }
  taken($s, $put) if $put;
  return if $put == length $bytes;
  $s->[WAITING] = substr($bytes, $put);
  interest($s);
}

sub on_socket {
  my ($s, $what) = @_;
  if ($s->[STATE] & CONNECTING) {
    my $failure = unpack("i", getsockopt($s->[SOCKET], SOL_SOCKET, SO_ERROR));
    return connected($s) unless $failure;
    $! = $failure;
    return refuse($s, $!);
  }
  if (length $s->[WAITING]) {
    my $put = syswrite($s->[SOCKET], $s->[WAITING]);
    if (defined $put) {
      substr($s->[WAITING], 0, $put, "");
      taken($s, $put);
    } elsif ($! != EAGAIN && $! != EINTR) {
      go_deaf($s);
    }
    end_writing($s) if $s->[WAITING] eq "" && $s->[STATE] & END_COMES;
  }
  if ($what & ~OUT && !($s->[STATE] & READ_ALL) && $s->[CREDIT] > 0) {
    my $got = sysread($s->[SOCKET], my $bytes, $s->[CREDIT] < TURN ? $s->[CREDIT] : TURN);
    if ($got) {
      $s->[CREDIT] -= $got;
      $out .= pack("NN", $s->[ID], 0x64000000 | $got);  # 0x64: d
      $out .= $bytes;
      return if $s->[CREDIT] > 0 && $s->[WATCHED] == IN;
    } elsif (defined $got) {
      put_frame($s->[ID], "e", "");
      $s->[STATE] |= READ_ALL;
    } elsif ($! != EAGAIN && $! != EINTR) {
      return break_off($s);
    }
  }
  settle($s);
}

sub on_frame {
  my ($id, $type, $payload) = @_;
  if ($type eq "g") { $paused = 0; return }
  if ($type eq "p") { put_frame(0, "q", ""); $paused = 1; return }
  if ($type eq "o") { return begin($id, $payload) }
  my $s = $stream{$id} or return;  # it has ended here, which the host did not know yet
  if ($type eq "d") { give($s, $payload) }
  elsif ($type eq "c") { $s->[CREDIT] += unpack("N", $payload); interest($s) }
  elsif ($type eq "x") { forget($s, 1) }
  elsif ($type eq "e") {
    $s->[STATE] |= END_COMES;
    if ($s->[WAITING] eq "") { end_writing($s); settle($s) }
  } else { die "a frame that is none\n" }
}

# ---- the ports -------------------------------------------------------------------------------------------------------
sub take_in {
  for (1 .. 16) {
    my $got = sysread($from, $in, 65536, length $in);
    if (defined $got && $got == 0) {
      exit if $synchronous || !$patience--;  # at first Linux may not know yet that the host is there
      select(undef, undef, undef, 0.05);
      last;
    }
    if (!defined $got) {
      last if $! == EAGAIN || $! == EINTR;
      exit 1;
    }
    last if $got < 4096;  # a port gives a page at a time, a socket what it has
  }
  if (!$synchronous) {
    my $found = index($in, $nonce);
    if ($found < 0) {
      my $useless = length($in) - length($nonce) + 1;
      substr($in, 0, $useless, "") if $useless > 0;
      return;
    }
    substr($in, 0, $found + length $nonce, "");
    $synchronous = 1;
  }
  my ($begin, $have) = (0, length $in);
  while ($have - $begin >= 8) {
    my ($id, $what) = unpack("NN", substr($in, $begin, 8));
    my $length = $what & 0xffffff;
    die "a frame that is too long\n" if $length > TURN;
    last if $have - $begin - 8 < $length;
    my $payload = substr($in, $begin + 8, $length);
    on_frame($id, chr($what >> 24), $payload);
    $begin += 8 + $length;
  }
  substr($in, 0, $begin, "") if $begin;
}
sub flush {
  while (length $out) {
    my $put = syswrite($to, $out);
    if (!defined $put) {
      next if $! == EINTR;
      last if $! == EAGAIN;
      exit 1;
    }
    substr($out, 0, $put, "");
  }
}

for (;;) {
  flush() if length $out;
  $to_watched = watch($ends, $to_fd, $to_watched, length $out ? OUT : 0);
  # While the host takes nothing, nothing is read for it.
  my $serve = !$paused && length($out) < LIMIT;
  $sockets_watched = watch($ends, $sockets, $sockets_watched, $serve ? IN : 0);
  my @found = ready($ends, %again && !$paused ? 10 : -1);
  while (my ($fd, $what) = splice(@found, 0, 2)) {
    if ($fd == $from_fd) { take_in() }
    elsif ($fd == 0) {
      sysread(STDIN, my $nothing, 4096) or exit;
    } elsif ($fd == $sockets && !$paused) {
      my @busy = ready($sockets, 0);
      while (my ($socket, $is) = splice(@busy, 0, 2)) {
        on_socket($at{$socket}, $is) if $at{$socket};
      }
    }
  }
  next if $paused;
  my @now = values %again;
  %again = ();
  try_connect($_) for @now;
}
