#include "src/shares/transport.hpp"

#include <fcntl.h>
#include <signal.h>
#include <sys/socket.h>

#include <fmt/format.h>

#include <array>
#include <boost/asio/local/stream_protocol.hpp>

#include "provision/readiness.hpp"
#include "src/base/child.hpp"
#include "src/base/confine.hpp"
#include "src/base/file.hpp"
#include "src/base/log.hpp"
#include "src/base/net/relay.hpp"
#include "src/base/net/socket_stream.hpp"
#include "src/base/shell.hpp"
#include "src/base/unique_fd.hpp"

namespace cl {
namespace {

constexpr std::size_t kept_lines = 5;
constexpr const char* no_such_ports = "colima-like: no ports";  // sshfs_command() says so

/// Shell functions for the guest. `there` prints the last mount at $mp, which is $escaped in mountinfo.
///
/// A virtiofs whose server is gone answers no request, and has no abort: whoever makes one waits for ever. mount and
/// umount look at their paths first, so here the system calls are made without them. The last user of the file system
/// would wait as well when it is released, and that may be a container's start. So it stays mounted at $aside, a place
/// that nobody looks at.
constexpr const char* functions = R"sh(
set_aside() {
  for agent in /usr/lib/colima-like/colima-like-agent /run/colima-like/agent/*; do
    if [ -x "$agent" ] && "$agent" --set-aside "$1" "$2"; then return 0; fi
  done
  umount -l "$1" &
}
there() {
  last=
  while read -r id parent device root at rest; do
    [ "$at" != "$escaped" ] || last="$id $parent $device $root $at $rest"
  done < /proc/self/mountinfo
  printf '%s\n' "$last"
}
clear_mount() {
  for round in 1 2 3 4; do
    line=$(there)
    case $line in *' - virtiofs '* | *' - fuse.sshfs '*) ;; *) return 0 ;; esac
    minor=${line#*:} minor=${minor%% *} # of "ID PARENT MAJOR:MINOR ..."
    case $aside$line in
      yes*' - virtiofs '*)
        kept=/run/colima-like/lost/$minor
        mkdir -p "$kept"
        set_aside "$mp" "$kept"
        ;;
      *) umount -l "$mp" & ;;
    esac
    n=0
    while [ "$(there)" = "$line" ] && [ $n -lt 50 ]; do n=$((n + 1)); sleep 0.02; done
  done
}
)sh";

std::string head(const std::string& mount_point, bool aside = false) {
  return "mp=" + shell_quoted(mount_point) + "\nescaped=" + shell_quoted(mountinfo_escaped(mount_point)) +
         "\naside=" + (aside ? "yes" : "") + functions;
}

class VirtiofsTransport : public ShareTransport {
 public:
  VirtiofsTransport(ShareState share, std::shared_ptr<Event> lost) : share_(std::move(share)), lost_(std::move(lost)) {}

  asio::awaitable<std::string> serve(std::shared_ptr<Guest> guest, std::function<void()> on_mounted) override {
    const GuestResult result = co_await run_in_guest(*guest, "sh -s", virtiofs_command(share_));
    if (result.exit_code != 0)
      throw Error(Errc::guest_failed, "the guest cannot mount it").because(last_lines(result.errors, kept_lines));
    on_mounted();
    co_await lost_->wait();
    co_return "its virtiofsd is gone";
  }

 private:
  ShareState share_;
  std::shared_ptr<Event> lost_;
};

class SshfsTransport : public ShareTransport {
 public:
  SshfsTransport(ShareState share, SftpPrograms programs, SharePort* port)
      : share_(std::move(share)), programs_(std::move(programs)), port_(port) {}
  ~SshfsTransport() override {
    if (port_ != nullptr) port_->stream.reset();
  }

  asio::awaitable<std::string> serve(std::shared_ptr<Guest> guest, std::function<void()> on_mounted) override;

 private:
  asio::awaitable<bool> open_port();

  ShareState share_;
  SftpPrograms programs_;
  SharePort* port_;
};

/// Connects our end before the guest opens its own, so that nothing it sends is lost. False when the machine has no
/// such ports: an older program has booted it.
asio::awaitable<bool> SshfsTransport::open_port() {
  const auto executor = co_await asio::this_coro::executor;
  const Dial dial = unix_dial(port_->at.to_guest, port_->at.from_guest);
  try {
    Transport transport = co_await dial();
    port_->stream = PortStream::start(executor, std::move(transport));
    co_return true;
  } catch (const Error& error) {
    log::info("{}; by SSH instead", one_line(error));
  }
  co_return false;
}

/// Whether it was mounted, and what else sshfs printed.
struct Printed {
  bool mounted = false;
  std::string said;
};

/// Waits for the program's end and then ends its server: a port does not show that the program has ended.
asio::awaitable<void> read_messages(GuestProcess& process, Printed& printed, std::function<void()> on_mounted,
                                    ByteStream& io, ByteStream& server) {
  struct Closing {
    ByteStream &io, &server;
    ~Closing() {
      io.close();
      server.close();
    }
  };
  const Closing closing{io, server};
  std::array<char, 4096> space{};
  for (;;) {
    const std::size_t got = co_await process.read_errors(space);
    if (got == 0) co_return;
    printed.said.append(space.data(), got);
    if (const auto at = printed.said.find("@mounted\n"); at != std::string::npos && !printed.mounted) {
      printed.said.erase(at, 9);
      printed.mounted = true;
      on_mounted();
    }
    if (printed.said.size() > 64 * 1024) printed.said.erase(0, printed.said.size() / 2);
  }
}

std::pair<UniqueFd, UniqueFd> socket_pair() {
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM, 0, ends) != 0) throw io_error("cannot make a socket", errno);
  for (const int fd : ends) ::fcntl(fd, F_SETFD, FD_CLOEXEC);
  return {UniqueFd(ends[0]), UniqueFd(ends[1])};
}

asio::awaitable<std::string> SshfsTransport::serve(std::shared_ptr<Guest> guest, std::function<void()> on_mounted) {
  const auto executor = co_await asio::this_coro::executor;
  if (port_ != nullptr) {
    const bool there = co_await open_port();
    if (!there) port_ = nullptr;
  }
  ExecRequest request;
  request.command = sshfs_command(share_, port_ != nullptr ? port_->name : "");
  auto process = co_await guest->exec(std::move(request));
  const std::shared_ptr<PortStream> stream = port_ != nullptr ? port_->stream : nullptr;
  ByteStream& io = stream ? static_cast<ByteStream&>(*stream) : process->io();

  if (programs_.required && programs_.bwrap.empty() && programs_.confine.empty())
    throw Error(Errc::host_requirement, "nothing confines its server to the folder",
                "install bubblewrap; or 'colima-like config set share_confinement optional' shares it all the same");
  auto [ours, theirs] = socket_pair();
  Command command;
  const UniqueFd calls = programs_.bwrap.empty() ? UniqueFd() : call_filter();
  SftpPrograms programs = programs_;
  programs.calls = calls.get();
  if (calls) command.keep = {calls.get()};
  command.argv = sftp_command_line(share_, programs);
  command.input = command.output = theirs.get();
  command.errors = programs_.log;
  command.new_session = true;
  Child server = Child::start(executor, command);
  theirs.reset();
  SocketStream near_end(asio::local::stream_protocol::socket(executor, asio::local::stream_protocol(), ours.release()));

  Printed printed;
  std::exception_ptr failure;
  try {
    auto both = asio::experimental::make_parallel_group(
        asio::co_spawn(executor, relay(io, near_end), asio::deferred),
        asio::co_spawn(executor, read_messages(*process, printed, std::move(on_mounted), io, near_end),
                       asio::deferred));
    auto [order, relay_failure, count, hear_failure] =
        co_await both.async_wait(asio::experimental::wait_for_all(), asio::use_awaitable);
    if (relay_failure) failure = relay_failure;
  } catch (...) {
    failure = std::current_exception();
  }
  const auto outer = co_await asio::this_coro::cancellation_state;
  const bool cancelled = outer.cancelled() != asio::cancellation_type::none;
  co_await asio::this_coro::throw_if_cancelled(false);
  process->io().close();
  io.close();
  near_end.close();
  // The end of its input ends it, unless it hangs in a file system that does not answer.
  server.kill_group(SIGKILL);
  co_await uninterrupted(server.wait());
  co_await asio::this_coro::throw_if_cancelled(true);
  if (cancelled) throw boost::system::system_error(asio::error::operation_aborted);
  if (failure) std::rethrow_exception(failure);
  const std::string said = last_lines(printed.said, kept_lines);
  if (stream && printed.said.find(no_such_ports) != std::string::npos) port_->unusable = true;
  if (!printed.mounted)
    throw Error(Errc::guest_failed, "the guest cannot mount it").because(said.empty() ? "sshfs ended" : said);
  co_return said.empty() ? "its sftp-server or sshfs ended" : "sshfs ended: " + said;
}

}  // namespace

std::string mountinfo_escaped(std::string_view path) {
  std::string out;
  for (const char c : path) {
    if (c == ' ' || c == '\t' || c == '\n' || c == '\\')
      out += fmt::format("\\{:03o}", static_cast<unsigned>(static_cast<unsigned char>(c)));
    else
      out += c;
  }
  return out;
}

std::string virtiofs_command(const ShareState& share) {
  return head(share.mount_point) + "tag=" + shell_quoted(share.tag) + "\nmode=" + (share.read_only ? "ro" : "rw") +
         R"sh(
case $(there) in *" - virtiofs $tag "*) exit 0 ;; esac
clear_mount
mkdir -p "$mp" && exec mount -t virtiofs -o "$mode" "$tag" "$mp"
)sh";
}

std::string sshfs_command(const ShareState& share, const std::string& port) {
  const auto owner = parse_file_owner(share.owner);
  const std::string owners = owner ? fmt::format(",uid={},gid={}", owner->user, owner->group) : "";
  // Names and attributes are cached for a second, as with virtiofs. Owners are the host's numbers, and the guest's
  // kernel checks permissions by them. Without -o reconnect: after a lost connection this side mounts again.
  return head(share.mount_point, true) + "from=" + shell_quoted(share.location) +
         "\nmode=" + (share.read_only ? "ro" : "rw") + "\nport=" + port + "\nowners=" + owners + R"sh(
clear_mount > /dev/null 2>&1 < /dev/null
mkdir -p "$mp" || exit
(
  while kill -0 $$ 2>/dev/null; do
    case $(there) in *' - fuse.sshfs '*) echo @mounted >&2; exit ;; esac
    sleep 0.02
  done
) < /dev/null > /dev/null &
serve() {
  exec sshfs ":$from" "$mp" -o "passive,$mode,allow_other,default_permissions,idmap=none,dcache_timeout=1,fsname=colima-like$owners"
}
[ "$port" ] || serve
for p in /sys/class/virtio-ports/*; do
  read -r name < "$p/name" || continue
  case $name in "$port.in") in=/dev/${p##*/} ;; "$port.out") out=/dev/${p##*/} ;; esac
done 2> /dev/null
[ "${in-}" ] && [ "${out-}" ] || { echo "colima-like: no ports" >&2; exit 66; }
# Whoever has them open yet served a host that is gone, and may not have noticed.
n=0
until { true < "$in" > "$out"; } 2> /dev/null; do
  for held in /proc/[0-9]*/fd/0; do
    [ ! "$held" -ef "$in" ] || { held=${held%/fd/0} && kill -9 "${held#/proc/}"; }
  done
  n=$((n + 1)) && [ $n -lt 50 ] || { echo "colima-like: no ports but busy ones" >&2; exit 66; }
  sleep 0.02
done
serve < "$in" > "$out"
)sh";
}

std::string unmount_command(const std::string& mount_point) { return head(mount_point) + "clear_mount\n"; }

namespace {

/// What of the hidden and kept paths exists is covered.
void add_covers(std::vector<std::string>& words, const ShareState& share) {
  for (const std::string& path : share.hidden) {
    std::error_code unknown;
    const auto type = std::filesystem::symlink_status(path, unknown).type();
    if (type == std::filesystem::file_type::directory)
      words.insert(words.end(), {"--tmpfs", path, "--remount-ro", path});
    else if (type == std::filesystem::file_type::regular)
      words.insert(words.end(), {"--ro-bind", "/dev/null", path});
  }
  for (const std::string& path : share.kept) {
    std::error_code unknown;
    const auto type = std::filesystem::symlink_status(path, unknown).type();
    if (type == std::filesystem::file_type::directory || type == std::filesystem::file_type::regular)
      words.insert(words.end(), {"--ro-bind", path, path});
  }
}

}  // namespace

std::vector<std::string> sftp_command_line(const ShareState& share, const SftpPrograms& programs) {
  GuardedPaths guard{
      share.location, {share.hidden.begin(), share.hidden.end()}, {share.kept.begin(), share.kept.end()}};
  const auto keep_out = [&](std::vector<std::string> argv) {
    return guard.empty() ? argv : guarded(programs.guard, guard, argv);
  };
  std::vector<std::string> words;
  if (!programs.bwrap.empty()) {
    words = {programs.bwrap.string(),
             "--die-with-parent",
             "--unshare-net",
             "--unshare-pid",
             "--unshare-ipc",
             "--unshare-uts",
             "--cap-drop",
             "ALL",
             "--clearenv",
             "--setenv",
             "PATH",
             "/usr/bin:/bin"};
    // A server of root needs these capabilities for files of any owner; a user's has none to keep.
    if (::geteuid() == 0)
      for (const char* kept : {"CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER"})
        words.insert(words.end(), {"--cap-add", kept});
    for (const std::filesystem::path& path : system_libraries())
      words.insert(words.end(), {"--ro-bind-try", path.string(), path.string()});
    words.insert(words.end(), {"--dev-bind", "/dev/null", "/dev/null", share.read_only ? "--ro-bind" : "--bind",
                               share.location, share.location});
    add_covers(words, share);
    words.insert(words.end(), {"--remount-ro", "/", "--chdir", share.location});
    if (programs.calls >= 0) words.insert(words.end(), {"--seccomp", std::to_string(programs.calls)});
    words.emplace_back("--");
  }
  // The guest's kernel has applied the caller's umask already; ours (0077) must not be applied again.
  words.insert(words.end(), {programs.server.string(), "-e", "-l", "ERROR", "-u", "0000", "-d", share.location});
  if (share.read_only) words.emplace_back("-R");
  if (!programs.bwrap.empty() || programs.confine.empty()) return keep_out(std::move(words));
  Confinement limits{system_libraries(), {"/dev/null"}, guard};
  limits.read.push_back(programs.server);
  (share.read_only ? limits.read : limits.write).emplace_back(share.location);
  return keep_out(confined(programs.confine, limits, words));
}

std::unique_ptr<ShareTransport> virtiofs_transport(ShareState share, std::shared_ptr<Event> lost) {
  return std::make_unique<VirtiofsTransport>(std::move(share), std::move(lost));
}

std::unique_ptr<ShareTransport> sshfs_transport(ShareState share, SftpPrograms programs, SharePort* port) {
  return std::make_unique<SshfsTransport>(std::move(share), std::move(programs), port);
}

}  // namespace cl
