#include "vm/qemu/virtiofsd.hpp"

#include <fcntl.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <fmt/format.h>

#include <array>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/read.hpp>
#include <boost/asio/write.hpp>
#include <charconv>
#include <map>

#include "src/base/blocking.hpp"
#include "src/base/confine.hpp"
#include "src/base/file.hpp"
#include "src/base/file_lock.hpp"
#include "src/base/log.hpp"
#include "src/base/net/unix_socket.hpp"
#include "src/base/path.hpp"
#include "src/base/path_guard.hpp"
#include "src/base/platform.hpp"
#include "src/base/text.hpp"
#include "vm/qemu/command_line.hpp"

namespace cl {
namespace {

constexpr auto answer_limit = std::chrono::seconds(5);  // of a program that prints its options
constexpr auto serve_limit = std::chrono::seconds(10);  // until a server answers its hypervisor, on a loaded host
constexpr std::uint32_t least_ids = 65536;              // what container images expect to be there

/// "1.13.2" as 1 and 13; false for anything else.
bool numbers_of(std::string_view version, int& major, int& minor) {
  const char* end = version.data() + version.size();
  const auto [dot, failure] = std::from_chars(version.data(), end, major);
  if (failure != std::errc{} || dot == end || *dot != '.') return false;
  return std::from_chars(dot + 1, end, minor).ec == std::errc{};
}

/// A listening unix socket. The server inherits it, so QEMU can connect before the server runs.
UniqueFd listen_at(const fs::path& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  path.native().copy(address.sun_path, sizeof address.sun_path - 1);  // checked with the command line
  UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM, 0));
  if (!fd) throw io_error("cannot make a socket", errno);
  ::fcntl(fd.get(), F_SETFD, FD_CLOEXEC);
  std::error_code ignored;
  fs::remove(path, ignored);
  if (::bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0 || ::listen(fd.get(), 1) != 0)
    throw file_error("listen at", path, errno);
  return fd;
}

void require_share_server(const BootPlan& plan) {
  if (plan.share_server.empty())
    throw Error(Errc::host_requirement, "there is no virtiofsd on this host", "scripts/setup --virtiofsd");
}

bool hides(const BootShare& share) { return !share.hidden.empty() || !share.kept.empty(); }

/// Where it cannot confine itself it is confined, where that works. It makes no setuid file for the guest, which
/// another user of this computer could run; but newuidmap, which gives it further ids, is setuid itself and would not
/// work then, unless we call that for it. What the share hides is guarded, whatever else confines it.
/// Throws Error{host_requirement} where nothing confines it and that is `required`.
std::vector<std::string> server_argv(const BootShare& share, const Virtiofsd& host, const ServerRights& rights,
                                     bool required, int fd) {
  std::vector<std::string> words = virtiofsd_command_line(share, host, rights, fd);
  const fs::path program = confining_program();
  const auto keep_out = [&](std::vector<std::string> argv, const std::optional<MoreIds>& ids) {
    return hides(share) ? guarded(program, {share.directory, share.hidden, share.kept}, argv, ids) : argv;
  };
  if (rights.sandbox == ServerRights::Sandbox::none) {
    const std::string why = why_no_confinement();
    if (!why.empty() && required)
      throw Error(Errc::host_requirement, "nothing confines virtiofsd to " + share.directory.string(),
                  "'colima-like config set share_confinement optional' shares it all the same")
          .because("name spaces are refused here; " + why);
    if (!why.empty()) return keep_out(std::move(words), {});
    Confinement limits{system_libraries(), {"/dev/null"}};
    limits.read.insert(limits.read.end(), {host.binary, "/proc/sys/fs/nr_open"});
    (share.read_only ? limits.read : limits.write).push_back(share.directory);
    return keep_out(confined(program, limits, words), {});
  }
  if (!rights.subuids) return keep_out(without_setuid(program, words), {});
  if (!hides(share)) return words;
  return keep_out(without_setuid(program, words), MoreIds{*rights.subuids, *rights.subgids});
}

/// In a session of its own, so that it can be ended with what it started.
Child start_server(const asio::any_io_executor& executor, std::vector<std::string> argv, std::vector<int> keep,
                   int errors) {
  Command command;
  command.argv = std::move(argv);
  command.new_session = true;
  command.output = command.errors = errors;
  command.keep = std::move(keep);
  return Child::start(executor, command);
}

/// What every hypervisor asks first (vhost-user protocol: GET_FEATURES in version 1 without a body; the answer is a
/// header of the same three words and 64 bits). One that has ended hangs up.
asio::awaitable<bool> answers(fs::path socket) {
  const std::array<std::uint32_t, 3> get_features{1, 1, 0};
  std::array<char, sizeof get_features + 8> reply{};
  UnixSocket connection(co_await asio::this_coro::executor);
  const error_code refused = co_await try_connect(connection, std::move(socket));
  if (refused) co_return false;
  auto [broken, sent] = co_await asio::async_write(connection, asio::buffer(get_features), no_throw);
  if (broken) co_return false;
  auto [ended, got] = co_await asio::async_read(connection, asio::buffer(reply), no_throw);
  co_return !ended;
}

/// "[2026-11-26T06:10:25Z ERROR virtiofsd] Error entering sandbox: ..." without where and when.
std::string without_stamp(std::string line) {
  const auto end = line.find("] ");
  if (line.starts_with('[') && end != std::string::npos) line.erase(0, end + 2);
  return line;
}

std::string map_option(std::string_view kind, std::uint64_t inside, std::uint64_t outside, std::uint64_t count) {
  return fmt::format("--{}-map=:{}:{}:{}:", kind, inside, outside, count);
}

/// Who is who for a user that is not root. In the server's user name space the user is root, 0, and the subordinate ids
/// are 1 and up. Files of the user have the same number in the guest as on the host, and what root or that number makes
/// in the guest belongs to the user. Without subordinate ids everybody's files are the user's.
void add_ids(std::vector<std::string>& words, const char* kind, std::uint32_t id,
             const std::optional<std::pair<std::uint32_t, std::uint32_t>>& more, bool mapped, bool translates) {
  constexpr std::uint64_t all = 4294967295;  // the last number is none
  if (!mapped) words.push_back(map_option(kind, 0, id, 1));
  if (more && !mapped) words.push_back(map_option(kind, 1, more->first, more->second));
  if (!translates) return;
  const std::string option = fmt::format("--translate-{}=", kind);
  words.push_back(option + fmt::format("host:0:{}:1", id));
  words.push_back(option + (more ? fmt::format("guest:{}:0:1", id) : fmt::format("squash-guest:0:0:{}", all)));
}

/// Everybody's files are `owner`'s in the guest, and what anybody makes there is `id`'s here.
void squash_ids(std::vector<std::string>& words, const char* kind, std::uint32_t owner, std::uint32_t id) {
  words.push_back(fmt::format("--translate-{}=squash-host:0:{}:4294967295", kind, owner));
  words.push_back(fmt::format("--translate-{}=squash-guest:0:{}:4294967295", kind, id));
}

/// Whose a folder is here.
FileOwner owner_of(const fs::path& folder) {
  struct stat facts{};
  if (::stat(folder.c_str(), &facts) != 0) return {};
  return {facts.st_uid, facts.st_gid};
}

}  // namespace

std::optional<fs::path> find_virtiofsd([[maybe_unused]] const fs::path& own) {
#ifdef __linux__
  if (const auto found = find_program("virtiofsd")) return found;
  for (const fs::path& directory : {fs::path("/usr/libexec"), fs::path("/usr/lib/qemu"), own})
    if (const auto found = find_program((directory / "virtiofsd").string())) return found;
#endif
  return std::nullopt;
}

bool parse_virtiofsd(std::string_view version, std::string_view help, Virtiofsd& into) {
  constexpr std::string_view name = "virtiofsd ";
  if (!version.starts_with(name)) return false;
  version.remove_prefix(name.size());
  into.version = version.substr(0, version.find_first_of(" \n"));
  int major = 0, minor = 0;
  if (!numbers_of(into.version, major, minor) || help.find("--shared-dir") == std::string_view::npos) return false;
  into.read_only = help.find("--readonly") != std::string_view::npos;
  into.saves = help.find("--migration-on-error") != std::string_view::npos;
  into.translates = help.find("--translate-uid") != std::string_view::npos;
  return true;
}

asio::awaitable<Virtiofsd> ask_virtiofsd(fs::path binary) {
  Virtiofsd host;
  host.binary = binary;
  Command version, help;
  version.argv = {binary.string(), "--version"};
  help.argv = {binary.string(), "--help"};
  const Finished said = co_await run(std::move(version), "", answer_limit);
  const Finished options = co_await run(std::move(help), "", answer_limit);
  if (!parse_virtiofsd(said.output, options.output, host))
    throw Error(Errc::host_requirement, binary.string() + " is not a virtiofsd that can be used",
                "install the package 'virtiofsd', or run scripts/setup --virtiofsd");
  co_return host;
}

std::optional<std::pair<std::uint32_t, std::uint32_t>> subordinate_ids(std::string_view text, std::string_view name,
                                                                       std::uint32_t id) {
  const std::string as_number = std::to_string(id);
  while (!text.empty()) {
    std::string_view line = text.substr(0, text.find('\n'));
    text.remove_prefix(std::min(line.size() + 1, text.size()));
    const auto first = line.find(':');
    const auto second = first == std::string_view::npos ? first : line.find(':', first + 1);
    if (second == std::string_view::npos) continue;
    const std::string_view owner = line.substr(0, first);
    if (owner != name && owner != as_number) continue;
    const auto from = whole_number<std::uint32_t>(line.substr(first + 1, second - first - 1)),
               count = whole_number<std::uint32_t>(line.substr(second + 1));
    if (from && count && *count >= least_ids) return std::pair(*from, *count);
  }
  return std::nullopt;
}

asio::awaitable<ServerRights> server_rights() {
  ServerRights rights;
  rights.uid = ::geteuid();
  rights.gid = ::getegid();
  // What virtiofsd does itself for its name spaces; containers and some kernels forbid it.
  Command probe;
  probe.argv = {"unshare", "--mount", "--pid", "--net", "--fork", "--mount-proc", "true"};
  if (rights.uid != 0) probe.argv.insert(probe.argv.begin() + 1, "--map-root-user");
  bool isolates = false;
  try {
    const Finished tried = co_await run(std::move(probe), "", answer_limit);
    isolates = tried.status.ok();
  } catch (const Error& error) {
    log::info("no name spaces for shares: {}", one_line(error));
  }
  using enum ServerRights::Sandbox;
  rights.sandbox = isolates ? name_spaces : rights.uid == 0 ? chroot : none;
  if (rights.uid == 0 || !isolates || !find_program("newuidmap") || !find_program("newgidmap")) co_return rights;
  const std::string name = user_name();
  const std::string uids = read_file_if_exists("/etc/subuid").value_or("");
  const std::string gids = read_file_if_exists("/etc/subgid").value_or("");
  rights.subuids = subordinate_ids(uids, name, rights.uid);
  rights.subgids = subordinate_ids(gids, name, rights.uid);
  if (!rights.subuids || !rights.subgids) rights.subuids = rights.subgids = std::nullopt;
  co_return rights;
}

std::vector<std::string> virtiofsd_command_line(const BootShare& share, const Virtiofsd& host,
                                                const ServerRights& rights, int fd) {
  using enum ServerRights::Sandbox;
  const bool root = rights.uid == 0;
  std::vector<std::string> words{host.binary.string(), fmt::format("--fd={}", fd),
                                 "--shared-dir=" + share.directory.string(), "--log-level=warn", "--xattr",
                                 "--announce-submounts",
                                 // The guest asks again after a second, and at each open: close-to-open consistency.
                                 "--cache=auto"};
  // Descriptors are for what is open, not for every name that the guest has seen; by handles it could leave a folder
  // that no name space keeps it in, and a guard would see no path.
  const bool handles = rights.sandbox != none && !hides(share);
  words.emplace_back(handles ? "--inode-file-handles=prefer" : "--inode-file-handles=never");
  switch (rights.sandbox) {
    case name_spaces: words.emplace_back("--sandbox=namespace"); break;
    case chroot: words.emplace_back("--sandbox=chroot"); break;
    case none: words.emplace_back("--sandbox=none"); break;
  }
  if (share.read_only && host.read_only) words.emplace_back("--readonly");
  if (!root && rights.sandbox == name_spaces) {
    const bool mapped = rights.subuids && hides(share);  // by its guard
    const bool translates = host.translates && !share.owner;
    add_ids(words, "uid", rights.uid, rights.subuids, mapped, translates);
    add_ids(words, "gid", rights.gid, rights.subgids, mapped, translates);
  }
  if (share.owner && host.translates) {
    // In its name space the user is 0.
    const bool is_zero = !root && rights.sandbox == name_spaces;
    const FileOwner here = root ? owner_of(share.directory) : is_zero ? FileOwner{} : FileOwner{rights.uid, rights.gid};
    squash_ids(words, "uid", share.owner->user, here.user);
    squash_ids(words, "gid", share.owner->group, here.group);
  } else if (!root && rights.sandbox == none && host.translates) {
    for (const auto& [kind, id] : {std::pair("uid", std::uint64_t(rights.uid)), {"gid", std::uint64_t(rights.gid)}})
      words.push_back(fmt::format("--translate-{}=squash-guest:0:{}:4294967295", kind, id));
  }
  if (host.saves) {
    // A file that is gone when the machine goes on is an error to who has it open in the guest, and to nobody else.
    words.emplace_back("--migration-on-error=guest-error");
    if (root) {
      words.emplace_back("--migration-mode=file-handles");
    } else {
      words.emplace_back("--migration-verify-handles");  // never another file under the same name
    }
  }
  // Capabilities of files are as good as a setuid bit, and a device is all of a disk.
  if (root) words.push_back(std::string("--modcaps=-setfcap:-mknod") + (host.saves ? ":+dac_read_search" : ""));
  return words;
}

bool share_servers_run(const fs::path& run_directory) {
  for (const fs::path& path : list_folder(run_directory))
    if (path.extension() == ".lock" && FileLock::is_held(path)) return true;
  return false;
}

asio::awaitable<void> end_share_server(ShareServer& server) {
  constexpr auto patience = std::chrono::seconds(2);  // for a server that waits for a disk
  if (!server.child) co_return;
  server.child->kill_group(SIGKILL);
  try {
    auto end = [](Child& child) -> asio::awaitable<void> { co_await child.wait(); };
    co_await with_timeout(patience, "the end of a share's server", end(*server.child));
  } catch (const Error& error) {
    log::warn("share {}: {}", server.tag, one_line(error));
  }
}

namespace {

asio::awaitable<pid_t> lock_holder(fs::path path) {
  auto work = [path] { return platform::lock_holder(path); };
  co_return co_await blocking(std::move(work));
}

}  // namespace

asio::awaitable<std::vector<ShareServer>> find_share_servers(fs::path run_directory) {
  std::vector<ShareServer> servers;
  for (const fs::path& path : list_folder(run_directory)) {
    if (path.extension() != ".lock" || path.stem().string().starts_with("trial-")) continue;
    const pid_t pid = co_await lock_holder(path);
    servers.push_back({path.stem(), std::nullopt, pid});
  }
  co_return servers;
}

asio::awaitable<void> end_share_servers(fs::path run_directory) {
  for (const fs::path& path : list_folder(run_directory)) {
    if (path.extension() != ".lock") continue;
    // In name spaces it is two processes. That they are gone takes the kernel a moment.
    for (int tries = 0; tries < 100 && FileLock::is_held(path); ++tries) {
      const pid_t pid = co_await lock_holder(path);
      if (pid > 0) ::kill(pid, SIGKILL);
      co_await sleep_for(std::chrono::milliseconds(10));
    }
    // A machine that is taken over tells its servers by these.
    if (!FileLock::is_held(path)) remove_file(path);
  }
}

asio::awaitable<std::map<fs::path, std::string>> try_share_servers(const BootPlan& plan) {
  std::map<fs::path, std::string> unserved;
  if (plan.shares.empty()) co_return unserved;
  require_share_server(plan);
  const Virtiofsd host = co_await ask_virtiofsd(plan.share_server);
  const ServerRights rights = co_await server_rights();
  const auto executor = co_await asio::this_coro::executor;
  const fs::path path = share_socket(plan.run_directory, "trial"), log = plan.run_directory / "trial.log";
  for (const BootShare& share : plan.shares) {
    UniqueFd socket = listen_at(path);
    UniqueFd messages(::open(log.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
    if (!messages) throw file_error("open", log, errno);
    // A daemon that is killed now leaves a server to which nobody will ever connect: the next one finds it by its lock.
    const fs::path lock_path = share_lock(plan.run_directory, "trial-" + share.tag);
    const auto lock = FileLock::try_acquire(lock_path);
    if (!lock) throw Error(Errc::busy, "a server of share " + share.directory.string() + " still runs");
    Child server = start_server(executor, server_argv(share, host, rights, plan.confine_shares, socket.get()),
                                {socket.get(), lock->fd()}, messages.get());
    socket.reset();  // its alone: the connection breaks when it ends
    bool serves = false;
    std::exception_ptr failure;
    try {
      serves = co_await with_timeout(serve_limit, "virtiofsd's first answer", answers(path));
    } catch (const Error& error) {
      unserved[share.directory] = one_line(error);
    } catch (...) {
      failure = std::current_exception();
    }
    co_await asio::this_coro::throw_if_cancelled(false);
    server.kill_group(SIGKILL);
    co_await uninterrupted(server.wait());
    co_await asio::this_coro::throw_if_cancelled(true);
    const std::string said = without_stamp(tail_lines(log, 1));
    std::error_code ignored;
    for (const fs::path& file : {path, log, lock_path}) fs::remove(file, ignored);
    if (failure) std::rethrow_exception(failure);
    if (!serves) unserved.try_emplace(share.directory, said.empty() ? "it ended without a word" : said);
  }
  co_return unserved;
}

asio::awaitable<std::vector<ShareServer>> start_share_servers(const BootPlan& plan, int log_fd) {
  std::vector<ShareServer> servers;
  co_await end_share_servers(plan.run_directory);
  if (plan.shares.empty()) co_return servers;
  require_share_server(plan);
  const Virtiofsd host = co_await ask_virtiofsd(plan.share_server);
  const ServerRights rights = co_await server_rights();
  const auto executor = co_await asio::this_coro::executor;
  std::exception_ptr failure;
  try {
    for (const BootShare& share : plan.shares) {
      const UniqueFd socket = listen_at(share_socket(plan.run_directory, share.tag));
      const auto lock = FileLock::try_acquire(share_lock(plan.run_directory, share.tag));
      if (!lock) throw Error(Errc::busy, "a server of share " + share.directory.string() + " still runs");
      std::vector<std::string> argv = server_argv(share, host, rights, plan.confine_shares, socket.get());
      Child server = start_server(executor, std::move(argv), {socket.get(), lock->fd()}, log_fd);
      log::info("virtiofsd {} serves {}, process {}", host.version, share.directory.string(), server.pid());
      servers.push_back({share.tag, std::move(server)});
    }
  } catch (...) {
    failure = std::current_exception();
  }
  if (!failure) co_return servers;
  for (ShareServer& server : servers) co_await uninterrupted(end_share_server(server));
  std::rethrow_exception(failure);
}

asio::awaitable<Saving> share_saving(BootPlan plan) {
  if (plan.shares.empty()) co_return Saving{};
  require_share_server(plan);
  const Virtiofsd host = co_await ask_virtiofsd(plan.share_server);
  if (!host.saves)
    co_return Saving{"", "virtiofsd " + host.version + " cannot be saved with it, which takes version 1.13 or newer"};
  std::string text = "\nvirtiofsd " + host.version;
  for (const BootShare& share : plan.shares) {
    text += fmt::format("\n{} {} {}", share.tag, share.read_only ? "ro" : "rw", share.directory.string());
    for (const fs::path& path : share.hidden) text += "\nhidden " + path.string();
    for (const fs::path& path : share.kept) text += "\nkept " + path.string();
  }
  co_return Saving{text, ""};
}

}  // namespace cl
