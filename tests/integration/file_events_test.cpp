#include "src/shares/file_events.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <boost/asio/local/stream_protocol.hpp>
#include <fstream>

#include "provision/channel/agent_guest.hpp"
#include "src/base/child.hpp"
#include "src/base/net/socket_stream.hpp"
#include "src/base/unique_fd.hpp"
#include "src/shares/events.hpp"
#include "tests/fakes/local_guest.hpp"
#include "tests/support/run.hpp"
#include "tests/support/temp_dir.hpp"

// The agent of the guest on this host, and real watchers beside it: in a plain folder, and in one that is mounted by
// sshfs as a guest has it. Without the guest's kernel module; that is seen end to end.

namespace cl::test {
namespace {

namespace fs = std::filesystem;
using Kind = FileChange::Kind;

void put(const fs::path& path, const std::string& text) { std::ofstream(path) << text; }
std::string get(const fs::path& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), {}};
}

struct Pair {
  UniqueFd ours, theirs;
};
Pair socket_pair() {
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) throw io_error("socketpair", errno);
  return {UniqueFd(ends[0]), UniqueFd(ends[1])};
}

/// This host as a guest, with the agent by an exec channel.
struct AgentBed {
  explicit AgentBed(const asio::any_io_executor& executor) {
    AgentGuest::Config config;
    config.folder = (directory / "run" / "agent").string();
    guest = std::make_shared<AgentGuest>(executor, std::make_shared<LocalGuest>(executor), std::move(config));
  }
  FileEvents::ReachGuest reach() {
    return [local = guest]() -> asio::awaitable<std::shared_ptr<Guest>> { co_return local; };
  }
  TempDir directory;
  std::shared_ptr<AgentGuest> guest;
};

/// inotifywait, whose words go into a file.
class Watcher {
 public:
  Watcher(asio::any_io_executor executor, const fs::path& folder, const std::string& events) {
    const UniqueFd out(::open(words_().c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
    const UniqueFd errors(::open((directory_ / "errors").c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
    Command command;
    command.argv = {"inotifywait", "-m", "-r", "-e", events, "--format", "%e %w%f", folder.string()};
    command.output = out.get();
    command.errors = errors.get();
    child_.emplace(Child::start(executor, command));
  }
  asio::awaitable<void> ready() {
    while (get(directory_ / "errors").find("established") == std::string::npos) co_await sleep_for(5ms);
  }
  asio::awaitable<bool> sees(std::string line) {
    for (int i = 0; i < 400; ++i) {
      if (("\n" + said()).find("\n" + line + "\n") != std::string::npos) co_return true;
      co_await sleep_for(10ms);
    }
    co_return false;
  }
  std::string said() const { return get(words_()); }
  asio::awaitable<void> stop() {
    child_->kill(SIGKILL);
    co_await child_->wait();
  }

 private:
  fs::path words_() const { return directory_ / "words"; }
  TempDir directory_;
  std::optional<Child> child_;
};

/// A folder of the host, as the guest has it: itself, or mounted by sshfs.
class Mount {
 public:
  Mount() { fs::create_directory(host()); }
  fs::path host() const { return directory_ / "host"; }
  fs::path guest() const { return server_ ? directory_ / "guest" : host(); }
  /// Whether this host lets us.
  asio::awaitable<bool> by_sshfs() {
    auto executor = co_await asio::this_coro::executor;
    fs::create_directory(directory_ / "guest");
    if (::access("/dev/fuse", R_OK | W_OK) != 0) co_return false;
    Pair pair = socket_pair();
    Command server, client;
    server.argv = {"/usr/lib/openssh/sftp-server"};
    server.input = server.output = pair.ours.get();
    client.argv = {
        "sshfs", "-f", "-o", "passive,dcache_timeout=1", ":" + host().string(), (directory_ / "guest").string()};
    client.input = client.output = pair.theirs.get();
    server_.emplace(Child::start(executor, server));
    client_.emplace(Child::start(executor, client));
    struct stat above{}, mounted{};
    ::stat(directory_.path().c_str(), &above);
    for (int i = 0; i < 300; ++i) {
      if (::stat((directory_ / "guest").c_str(), &mounted) == 0 && mounted.st_dev != above.st_dev) co_return true;
      co_await sleep_for(10ms);
    }
    co_return false;
  }
  asio::awaitable<void> stop() {
    if (!server_) co_return;
    Command unmount;
    unmount.argv = {"fusermount3", "-u", "-z", (directory_ / "guest").string()};
    Child child = Child::start(co_await asio::this_coro::executor, unmount);
    co_await child.wait();
    server_->kill(SIGKILL);
    client_->kill(SIGKILL);
    co_await server_->wait();
    co_await client_->wait();
  }

 private:
  TempDir directory_;
  std::optional<Child> server_, client_;
};

/// All that must be as it was: content, size, mode, owner and times.
std::string facts(const fs::path& path) {
  struct stat now{};
  ::lstat(path.c_str(), &now);
  return (S_ISREG(now.st_mode) ? get(path) : "") + " " + std::to_string(now.st_size) + " " +
         std::to_string(now.st_mode) + " " + std::to_string(now.st_uid) + " " + std::to_string(now.st_mtim.tv_sec) +
         "." + std::to_string(now.st_mtim.tv_nsec);
}

asio::awaitable<std::string> watchers(bool sshfs) {
  auto executor = co_await asio::this_coro::executor;
  Mount mount;
  put(mount.host() / "file", "text");
  put(mount.host() / "read only", "text");
  fs::permissions(mount.host() / "read only", fs::perms::owner_read);
  fs::create_directory(mount.host() / "folder");
  if (sshfs && !co_await mount.by_sshfs()) co_return "no FUSE here";
  const fs::path guest = mount.guest();
  Watcher watcher(executor, guest, "modify,attrib,close_write,create,delete,move");
  co_await watcher.ready();
  const std::string before = facts(mount.host() / "file") + facts(mount.host() / "read only") + facts(mount.host()) +
                             facts(mount.host() / "folder");

  FileEvents::Config config;
  AgentBed bed(executor);
  config.guest = bed.reach();
  FileEvents events(executor, std::move(config));
  auto path = [&guest](const char* name) { return (guest / name).string(); };
  events.tell({{Kind::modified, path("file")}});
  std::string missed;
  auto expect = [&](std::string line) -> asio::awaitable<void> {
    if (!co_await watcher.sees(line)) missed += line + " is missing\n";
  };
  co_await expect("MODIFY " + path("file"));
  co_await expect("CLOSE_WRITE,CLOSE " + path("file"));
  events.tell({{Kind::removed, path("gone")}});
  co_await expect("ATTRIB,ISDIR " + path(""));
  events.tell({{Kind::created, path("folder"), {}, true}});
  co_await expect("ATTRIB,ISDIR " + path("folder"));
  events.tell({{Kind::modified, path("read only")}});
  co_await expect(::geteuid() == 0 ? "MODIFY " + path("read only") : "ATTRIB " + path("read only"));
  const std::string after = facts(mount.host() / "file") + facts(mount.host() / "read only") + facts(mount.host()) +
                            facts(mount.host() / "folder");
  if (after != before) missed += "the host's files changed: " + before + " -> " + after;
  if (events.precision() != "near") missed += "it is " + events.precision();
  const std::string said = watcher.said();
  co_await events.stop();
  co_await bed.guest->stop();
  co_await watcher.stop();
  co_await mount.stop();
  co_return missed.empty() ? "all seen" : missed + said;
}

TEST(FileEventsService, IsNoticedInAFolder) { EXPECT_EQ(run(watchers(false), 30s), "all seen"); }

TEST(FileEventsService, IsNoticedThroughSshfsAndChangesNothingOnTheHost) {
  const std::string said = run(watchers(true), 30s);
  if (said == "no FUSE here") GTEST_SKIP() << "needs /dev/fuse and the right to mount";
  EXPECT_EQ(said, "all seen");
}

boost::json::array container_with(const fs::path& source) {
  return {{{"Id", "a"}, {"Mounts", boost::json::array{{{"Type", "bind"}, {"Source", source.string()}}}}}};
}

/// From the write on the host to the watcher, many files, and then that it is quiet: what the agent does is not
/// noticed as another change for ever.
asio::awaitable<std::string> whole_way() {
  constexpr int files = 2000;  // sshfs takes some milliseconds for each on a busy host
  auto executor = co_await asio::this_coro::executor;
  Mount mount;
  if (!co_await mount.by_sshfs()) co_return "no FUSE here";
  for (int i = 0; i < 10; ++i) fs::create_directory(mount.host() / std::to_string(i));
  put(mount.host() / "9" / "last", "");
  Watcher watcher(executor, mount.guest(), "modify,close_write,attrib");
  co_await watcher.ready();
  ShareEvents::Config config;
  AgentBed bed(executor);
  config.guest = bed.reach();
  Notifier changed(executor);
  config.on_change = [&changed] { changed.notify_all(); };
  ShareEvents events(executor, std::move(config));
  events.set_shares({{mount.host(), mount.guest()}});
  events.set_containers(container_with(mount.guest()));
  while (events.report().folders == 0) co_await changed.wait();
  std::string said = std::to_string(events.report().folders) + " watched";
  co_await sleep_for(100ms);
  for (int i = 0; i < files; ++i) put(mount.host() / std::to_string(i % 10) / std::to_string(i), "x");
  put(mount.host() / "9" / "last", "y");
  for (int i = 0; i < 3000 && watcher.said().find("9/last") == std::string::npos; ++i) co_await sleep_for(10ms);
  std::size_t missing = 0;
  for (int round = 0; round < 50; ++round) {
    const std::string seen = watcher.said();
    missing = 0;
    for (int i = 0; i < files; ++i)
      if (seen.find("/" + std::to_string(i % 10) + "/" + std::to_string(i) + "\n") == std::string::npos) ++missing;
    if (missing == 0) break;
    co_await sleep_for(100ms);
  }
  if (missing != 0) said += ", " + std::to_string(missing) + " lost";
  co_await sleep_for(300ms);
  const std::size_t quiet = watcher.said().size();
  co_await sleep_for(500ms);
  said += watcher.said().size() == quiet ? ", then quiet" : ", and never quiet";
  events.set_containers({});
  while (events.report().folders != 0) co_await changed.wait();
  said += ", " + std::to_string(events.report().folders) + " watched";
  co_await events.stop();
  co_await bed.guest->stop();
  co_await watcher.stop();
  co_await mount.stop();
  co_return said;
}

TEST(ShareEvents, LoseNothingInABurstAndDoNotGoRound) {
  const std::string said = run(whole_way(), 90s);
  if (said == "no FUSE here") GTEST_SKIP() << "needs /dev/fuse and the right to mount";
  EXPECT_EQ(said, "1 watched, then quiet, 0 watched");
}

}  // namespace
}  // namespace cl::test
