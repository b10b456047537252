# Runs in the guest as perl -e, between single quotes and so without any, with what Debian always has: perl-base. It tells
# those who watch files there (inotify) what the host has changed in shared folders.
#   frame: length of the rest (4 bytes, big endian), kind (1 byte), payload
#   to us:   b  records to tell, in their order: kind (1 byte), flags (1 byte: 1 folder, 2 with content), path and former
#               path (2 bytes of length, big endian, and the bytes); the kinds are those of src/base/file_change.hpp
#   from us: h  ready; "exact" or "near"
#            k  the records of the last frame are told
# Exact: a module of our guest kernel (vm/guest_image/rootfs/usr/src/colima-like-file-events) tells each as the kernel would have, had it been done
# here. Near: without the module, by what leaves the files of the host as they are:
#   a file    opened for writing and closed, with a write of no bytes between (IN_OPEN, IN_MODIFY, IN_CLOSE_WRITE); where that
#             is not allowed the mode that it has is set again (IN_ATTRIB)
#   a name that came or went, a folder    the same mode is set again for the folder it is in, or that it is (IN_ATTRIB)
# Only the latter is noticed by the host again, as a change of attributes, and for that no mode is set: so nothing goes round.
use strict;
use Fcntl;
$| = 1;
system("modprobe -q colima-like-file-events 2>/dev/null");
my $exact = sysopen(my $device, "/dev/colima-like-file-events", O_WRONLY);
my %number = (x86_64 => 332, aarch64 => 291);
my $statx = $number{(split(" ", `uname -m`))[0]};

# ---- a write of no bytes ----
# write(2) tells nobody of it, io_uring does (io_req_io_end() in the io_uring/rw.c of the kernel, 6.5 and newer for NO_MMAP); neither
# reaches the file system. The rings are pages of our own: what is in this string is shared with the kernel and must not move.
my ($ring, $memory, $rings, $entries, @at) = (-1);
sub u32 { unpack("L", substr($memory, $rings + $_[0], 4)) }
sub set_u32 { substr($memory, $rings + $_[0], 4, pack("L", $_[1])) }
sub begin_ring {
  $memory = "\0" x (3 * 4096);
  my $address = unpack("J", pack("P", $memory));
  $rings = -$address % 4096;
  $entries = $rings + 4096;
  my $set_up = pack("L10 L8Q L8Q", 0, 0, 0x4000, (0) x 7, (0) x 8, $address + $entries, (0) x 8, $address + $rings);
  $ring = syscall(425, 1, $set_up);
  # Places in the rings: of submissions the tail, the mask and the array; of completions the head, the tail, the mask, the entries.
  @at = (unpack("L10 L8Q L8Q", $set_up))[11, 12, 16, 19, 20, 21, 24];
}
sub write_nothing {
  return 0 if $ring < 0;
  my ($tail, $mask, $array, $head, $done, undef, $results) = @at;
  my $slot = u32($tail) & u32($mask);
  substr($memory, $entries + 64 * $slot, 64, pack("CCSlQQLLQx24", 23, 0, 0, $_[0], 0, 0, 0, 0, 0));
  set_u32($array + 4 * $slot, $slot);
  set_u32($tail, u32($tail) + 1);
  syscall(426, $ring, 1, 1, 1, 0, 0) == 1 or return 0;
  my $result = 0;
  for (; u32($head) != u32($done); set_u32($head, u32($head) + 1)) {
    $result = unpack("x8l", substr($memory, $rings + $results + 16 * (u32($head) & u32($at[5])), 16));
  }
  return $result == 0;
}
begin_ring() unless $exact;

# ---- near ----
my (%soon, %later);  # folders to be noticed, and when they are to be once more

# What this kernel knows of it is asked for anew.
sub refresh {
  my $answer = "\0" x 256;
  syscall($statx, -100, $_[0], 0x2100, 0x7ff, $answer) if $statx;  # AT_STATX_FORCE_SYNC, AT_SYMLINK_NOFOLLOW
  return lstat $_[0];
}
sub folder_of { $_[0] =~ m{^(.+)/} ? $1 : "/" }
sub notice_folder {
  my @now = refresh($_[0]) or return;
  chmod($now[2] & 07777, $_[0]) if -d _;
}
sub notice_file {
  my ($path, $may_set) = @_;
  lstat $path or return 0;
  if (-f _ && sysopen(my $file, $path, O_WRONLY | O_NOFOLLOW | O_NONBLOCK)) {
    refresh($path);  # sshfs, too, has asked the host only when it was opened
    fcntl($file, F_SETFL, 0);
    return 1 if write_nothing(fileno $file);
  }
  my @now = refresh($path) or return 0;
  return $may_set && !-l _ && chmod($now[2] & 07777, $path);
}
sub gone {
  my $folder = folder_of($_[0]);
  $soon{$folder} = 1;
  # By sshfs a name is forgotten when what bore it cannot be opened.
  if (lstat($_[0]) && -f _) { sysopen(my $file, $_[0], O_RDONLY | O_NOFOLLOW | O_NONBLOCK) }
  # The name may stay known to the kernel for as long as its file system lets it: a second.
  $later{$folder} = time + 2 if refresh($_[0]);
}
sub tell_nearly {
  my ($kind, $folder, $path, $from) = @_;
  if ($kind eq "d") { gone($path) }
  elsif ($kind eq "l") { $soon{$path} = 1 }
  elsif ($kind eq "a") { notice_file($path, 0) unless $folder }
  else {
    gone($from) if $kind eq "r";
    $soon{folder_of($path)} = 1 if $kind ne "m";
    if ($folder) { $soon{$path} = 1 } else { notice_file($path, 1) }
  }
}

# ---- exact ----
my (%sshfs, @again);  # by device; records and when they are told again

# sshfs has a cache of its own, for a second: what it knows of a file is made new, or is forgotten, when that is opened. Elsewhere
# the file is left alone: looking at it would make the kernel forget the one that it knew, and who watches that.
sub renew {
  my @folder = lstat folder_of($_[0]) or return;
  my $device = $folder[0];
  if (!exists $sshfs{$device}) {
    my $number = ($device >> 8 & 0xfff) . ":" . ($device & 0xff | $device >> 12 & 0xfff00);
    open(my $mounts, "<", "/proc/self/mountinfo") or return;
    $sshfs{$device} = grep { (split)[2] eq $number && / - fuse\.sshfs / } <$mounts>;
  }
  if ($sshfs{$device} && lstat($_[0]) && -f _) { sysopen(my $file, $_[0], O_RDONLY | O_NOFOLLOW | O_NONBLOCK) }
}
sub tell_exactly {
  my ($record, $folder, $path, $from) = @_;
  renew($path) unless $folder;
  renew($from) if length $from && !$folder;
  return if syswrite($device, $record) || $! != 17;
  # EEXIST: there is still a file that was removed. That may be what a cache says.
  push @again, [time + 2, $record];
}

# ---- both ----
sub say_frame { syswrite(STDOUT, pack("Na*", length $_[0], $_[0])) }
sub tell_records {
  my $records = $_[0];
  my $at = 0;
  %sshfs = ();
  while ($at < length $records) {
    my ($kind, $flags, $path, $from) = unpack("x${at}aCn/a*n/a*", $records);
    my $size = 6 + length($path) + length($from);
    if ($exact) { tell_exactly(substr($records, $at, $size), $flags & 1, $path, $from) }
    else { tell_nearly($kind, $flags & 1, $path, $from) }
    $at += $size;
  }
  notice_folder($_) for sort keys %soon;
  %soon = ();
}

say_frame("h" . ($exact ? "exact" : "near"));
my ($in, $wait) = ("", "");
vec($wait, 0, 1) = 1;
for (;;) {
  my $ready = $wait;
  if (select($ready, undef, undef, %later || @again ? 1 : undef) > 0) {
    sysread(STDIN, $in, 262144, length $in) or exit;
  }
  while (length $in >= 4) {
    my $size = unpack("N", $in);
    last if length($in) - 4 < $size;
    my ($kind, $payload) = unpack("x4aa" . ($size - 1), $in);
    substr($in, 0, 4 + $size) = "";
    tell_records($payload) if $kind eq "b";
    say_frame("k");
  }
  for my $folder (grep { $later{$_} <= time } keys %later) {
    delete $later{$folder};
    notice_folder($folder);
  }
  while (@again && $again[0][0] <= time) {
    syswrite($device, (shift @again)->[1]);
  }
}
