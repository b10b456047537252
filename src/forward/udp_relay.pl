# Runs in the guest as perl -e, between single quotes and so without any, with what Debian always has: perl-base. It carries
# the datagrams of published UDP ports: one connected socket per flow, frames on stdin and stdout.
#   frame: length of the rest (4 bytes, big endian), kind (1 byte), flow (4 bytes), payload
#   to us:   o  open, payload "ADDRESS PORT";  d  datagram;  c  close
#   from us: d  datagram
use strict;
use Socket qw(:DEFAULT inet_pton pack_sockaddr_in6 IPPROTO_UDP MSG_DONTWAIT);
my (%socket, %flow);
my ($in, $wait) = ("", "");
vec($wait, 0, 1) = 1;
sub drop {
  my $s = delete $socket{$_[0]} or return;
  vec($wait, fileno $s, 1) = 0;
  delete $flow{fileno $s};
}
sub take {
  my ($kind, $id, $payload) = @_;
  if ($kind eq "d") { send($socket{$id}, $payload, 0) if $socket{$id} }
  elsif ($kind eq "c") { drop($id) }
  elsif ($kind eq "o") {
    my ($host, $port) = split / /, $payload;
    my $v6 = $host =~ /:/;
    my $raw = inet_pton($v6 ? AF_INET6 : AF_INET, $host) or return;
    socket(my $s, $v6 ? AF_INET6 : AF_INET, SOCK_DGRAM, IPPROTO_UDP) or return;
    connect($s, $v6 ? pack_sockaddr_in6($port, $raw) : pack_sockaddr_in($port, $raw)) or return;
    drop($id);
    $socket{$id} = $s;
    $flow{fileno $s} = $id;
    vec($wait, fileno $s, 1) = 1;
  }
}
for (;;) {
  select(my $ready = $wait, undef, undef, undef) > 0 or next;
  if (vec($ready, 0, 1)) {
    sysread(STDIN, $in, 262144, length $in) or exit;
    my $at = 0;
    while (length($in) - $at >= 4) {
      my $size = unpack("N", substr($in, $at, 4));
      last if length($in) - $at - 4 < $size;
      take(unpack("aNa*", substr($in, $at + 4, $size)));
      $at += 4 + $size;
    }
    substr($in, 0, $at) = "";
  }
  my $out = "";
  for my $fd (keys %flow) {
    next unless vec($ready, $fd, 1);
    my $s = $socket{$flow{$fd}};
    for (1 .. 64) {
      defined recv($s, my $payload, 65535, MSG_DONTWAIT) or last;
      $out .= pack("NaN", length($payload) + 5, "d", $flow{$fd}) . $payload;
    }
  }
  while (length $out) {
    my $put = syswrite(STDOUT, $out) or exit;
    substr($out, 0, $put) = "";
  }
}
