#include "src/daemon/services/host_sockets.hpp"

#include <gtest/gtest.h>

#include <boost/asio/local/stream_protocol.hpp>
#include <deque>
#include <fstream>

#include "src/base/net/socket_stream.hpp"
#include "src/daemon/core.hpp"
#include "tests/fakes/choppy_stream.hpp"
#include "tests/fakes/memory_messages.hpp"
#include "tests/unit/daemon/session_lab.hpp"

namespace cl::test {
namespace {

using namespace std::chrono_literals;
using Local = asio::local::stream_protocol;

/// A listening socket of the guest, whose clients are the test.
struct Listening {
  explicit Listening(const asio::any_io_executor& executor) : changed(executor) {}
  std::deque<GuestListener::Arrival> arrivals;
  std::map<std::uint32_t, std::unique_ptr<ByteStream>> ends;  ///< ours
  bool forgotten = false;
  std::vector<std::uint32_t> dropped;
  Notifier changed;
};

class FakeListener : public GuestListener {
 public:
  explicit FakeListener(std::shared_ptr<Listening> at) : at_(std::move(at)) {}
  asio::awaitable<Arrival> next() override {
    while (at_->arrivals.empty()) co_await at_->changed.wait();
    Arrival arrival = at_->arrivals.front();
    at_->arrivals.pop_front();
    co_return arrival;
  }
  asio::awaitable<std::unique_ptr<ByteStream>> take(Arrival arrival) override {
    co_return std::move(at_->ends.at(arrival.number));
  }
  asio::awaitable<void> drop(Arrival arrival) override {
    at_->dropped.push_back(arrival.number);
    at_->ends.erase(arrival.number);
    at_->changed.notify_all();
    co_return;
  }
  asio::awaitable<void> forget() override {
    at_->forgotten = true;
    co_return;
  }

 private:
  std::shared_ptr<Listening> at_;
};

/// The agent's end of "cover".
class FakeCover : public MessageStream {
 public:
  FakeCover(const asio::any_io_executor& executor, std::string answer, int& looks)
      : answer_(std::move(answer)), looks_(looks), changed_(executor) {}
  asio::awaitable<std::optional<std::string>> read() override {
    while (asked_ == 0) co_await changed_.wait();
    --asked_;
    co_return answer_;
  }
  asio::awaitable<void> write(std::string_view message) override {
    if (message == "look") ++asked_;
    if (message == "look") ++looks_;
    changed_.notify_all();
    co_return;
  }

 private:
  std::string answer_;
  int& looks_;
  int asked_ = 0;
  Notifier changed_;
};

/// A machine that runs, a shared folder, and this computer's sockets.
struct Bed {
  Bed(asio::any_io_executor ex, SessionLab& of)
      : executor(ex),
        lab(of),
        share(fs::canonical(directory.path()) / "share"),
        outside(fs::canonical(directory.path()) / "outside"),
        core(ex, with_own_files_in(share, of.home), of.paths, *FileLock::try_acquire(of.paths.lock), of.parts()) {
    fs::create_directories(core.home.profiles);
    fs::create_directories(outside);
    ShareState one;
    one.location = one.mount_point = one.written = share.string();
    one.type = "virtiofs";
    core.store.edit().shares = {one};
    lab.guest->listen = [this](std::string where) -> std::unique_ptr<GuestListener> {
      if (!refusal.empty()) throw Error(Errc::guest_failed, refusal);
      auto& at = listening[where];
      if (!at) at = std::make_shared<Listening>(executor);
      return std::make_unique<FakeListener>(at);
    };
    lab.guest->service = [this](std::string what) -> std::unique_ptr<MessageStream> {
      covers.push_back(what);
      return std::make_unique<FakeCover>(executor, cover_answer, looks);
    };
  }
  /// As they are when the whole home is shared.
  static Home with_own_files_in(const fs::path& folder, Home home) {
    home.profiles = folder / "own";
    return home;
  }
  asio::awaitable<void> run_machine() {
    core.enter(phase::Preparing{});
    const LiveMachine machine(co_await core.driver->boot(BootPlan{}));
    core.enter(phase::Booting{machine});
    co_await core.guest.open();
    core.enter(phase::Running{machine});
  }
  asio::awaitable<void> end() {
    co_await core.host_sockets.close();
    co_await core.guest.close();
    co_await core.stop();
  }
  void serve(const fs::path& path) {
    fs::remove(path);
    servers.insert_or_assign(path, Local::acceptor(executor, Local::endpoint(path.string())));
  }
  /// What a container would get that is created with -v SOURCE: "given", "not checked here", or the refusal.
  asio::awaitable<std::string> mounted(std::string source) {
    const std::string body = R"({"HostConfig":{"Binds":[")" + source + R"(:/s"]}})";
    std::set<std::string> given;
    auto ask = [](Core& of, std::string call, std::set<std::string>& into) -> asio::awaitable<void> {
      into = co_await of.host_sockets.open_for(std::move(call));
    };
    const auto failure = co_await failure_of(ask(core, body, given));
    if (failure) co_return one_line(*failure) + " | " + failure->remedy();
    co_return given.contains(source) ? "given" : "not checked here";
  }
  /// A program in the guest connects; our end of that.
  std::unique_ptr<ByteStream> connect(const std::string& where) {
    Listening& at = *listening.at(where);
    auto ends = MemoryStream::pair(executor);
    at.ends[++last] = std::move(ends.first);
    at.arrivals.push_back({last, "", 0});
    at.changed.notify_all();
    return std::move(ends.second);
  }
  /// What a program in the guest reads that asks there: "answer", or "dropped".
  asio::awaitable<std::string> asked(std::string where, fs::path server) {
    const auto near = connect(where);
    const std::uint32_t number = last;
    Listening& at = *listening.at(where);
    std::optional<std::unique_ptr<ByteStream>> far;
    TaskGroup tasks(executor);
    auto accept = [](Local::acceptor& by, std::optional<std::unique_ptr<ByteStream>>& into) -> asio::awaitable<void> {
      auto socket = co_await by.async_accept(asio::use_awaitable);
      into = std::make_unique<SocketStream>(SocketStream::Socket(std::move(socket)));
    };
    const auto found = servers.find(server);
    if (found != servers.end()) tasks.spawn("server", accept(found->second, far));
    while (!far && (at.dropped.empty() || at.dropped.back() != number)) co_await sleep_for(1ms);
    if (far) co_await (*far)->write(std::string_view("answer"));
    std::array<char, 16> space;
    const std::size_t got = far ? co_await near->read_some(space) : 0;
    co_await tasks.stop();
    co_return far ? std::string(space.data(), got) : "dropped";
  }

  asio::any_io_executor executor;
  SessionLab& lab;
  TempDir directory;  // not in /dev/shm, as the lab is: what is in /dev is the engine's
  const fs::path share, outside;
  std::map<fs::path, Local::acceptor> servers;
  std::map<std::string, std::shared_ptr<Listening>> listening;
  std::vector<std::string> covers;
  std::string cover_answer = "ok", refusal;
  int looks = 0;
  std::uint32_t last = 0;
  Core core;
};

/// Runs `scenario(bed)`.
template <class Scenario>
void play_on_bed(Scenario scenario) {
  SessionLab lab("docker");
  auto work = [&]() -> asio::awaitable<void> {
    Bed bed(co_await asio::this_coro::executor, lab);
    std::exception_ptr failure;
    try {
      co_await bed.run_machine();
      co_await scenario(bed);
    } catch (...) {
      failure = std::current_exception();
    }
    co_await bed.end();
    if (failure) std::rethrow_exception(failure);
  };
  run(work(), 30s);
}

TEST(HostSockets, OneOfAShareIsThereWhenAContainerAsksForItAndNotBefore) {
  play_on_bed([](Bed& bed) -> asio::awaitable<void> {
    const std::string path = (bed.share / "s.sock").string();
    bed.serve(path);
    co_await bed.core.host_sockets.bring_back();
    EXPECT_TRUE(bed.listening.empty());
    EXPECT_EQ(co_await bed.mounted(path), "given");
    const std::string where = "kept " + relay_path(path);
    EXPECT_EQ(bed.listening.count(where), 1u);
    EXPECT_EQ(bed.covers, std::vector<std::string>{"cover " + relay_path(path) + " " + path});
    EXPECT_EQ(co_await bed.asked(where, path), "answer");
    bed.serve(path);  // a server that has started again
    EXPECT_EQ(co_await bed.asked(where, path), "answer");
    EXPECT_EQ(co_await bed.mounted(path), "given");
    EXPECT_EQ(bed.listening.size(), 1u) << "it was there";
    EXPECT_EQ(bed.core.state().host_sockets.size(), 1u);
    const int looks = bed.looks;
    co_await bed.core.host_sockets.look_again();
    EXPECT_EQ(bed.looks, looks + 1);
  });
}

TEST(HostSockets, WhoConnectsWhereNobodyListensIsToldSo) {
  play_on_bed([](Bed& bed) -> asio::awaitable<void> {
    const std::string path = (bed.share / "s.sock").string(), where = "kept " + relay_path(path);
    bed.serve(path);
    EXPECT_EQ(co_await bed.mounted(path), "given");
    bed.servers.clear();  // the node stays
    EXPECT_EQ(co_await bed.asked(where, path), "dropped");
    fs::remove(path);
    EXPECT_EQ(co_await bed.asked(where, path), "dropped");
  });
}

// The guest can write to its shares, and so choose where a name there leads.
TEST(HostSockets, TheGuestCannotLeadOneElsewhere) {
  play_on_bed([](Bed& bed) -> asio::awaitable<void> {
    const std::string path = (bed.share / "s.sock").string(), where = "kept " + relay_path(path);
    const fs::path secret = bed.outside / "o.sock", own = bed.core.home.profiles / "q.sock";
    bed.serve(path);
    bed.serve(secret);
    bed.serve(own);
    EXPECT_EQ(co_await bed.mounted(path), "given");
    fs::remove(path);
    fs::create_symlink(secret, path);
    EXPECT_EQ(co_await bed.asked(where, path), "dropped");
    fs::remove(path);
    fs::rename(own, path);  // a control socket of ours, were it in the same share
    EXPECT_EQ(co_await bed.asked(where, "it accepts nobody"), "dropped");
    bed.core.store.edit().shares.clear();
    bed.serve(path);
    EXPECT_EQ(co_await bed.asked(where, path), "dropped") << "it is not shared any more";
  });
}

TEST(HostSockets, TheAgentIsThatOfTheNewestStart) {
  play_on_bed([](Bed& bed) -> asio::awaitable<void> {
    const std::string name(agent_socket_name), where = "kept " + name;
    EXPECT_EQ(co_await bed.mounted(name),
              name +
                  " is the ssh agent of this computer's user: SSH_AUTH_SOCK was not set at any 'start' of this machine"
                  " | 'colima-like start' in a shell that has SSH_AUTH_SOCK tells it, also while the machine runs");
    const fs::path first = bed.outside / "agent.1", second = bed.outside / "agent.2";
    bed.serve(first);
    bed.serve(second);
    bed.core.store.edit().ssh_agent = first;
    EXPECT_EQ(co_await bed.mounted(name), "given");
    EXPECT_TRUE(bed.covers.empty());
    EXPECT_EQ(co_await bed.asked(where, first), "answer");
    bed.core.store.edit().ssh_agent = second;
    EXPECT_EQ(co_await bed.asked(where, second), "answer");
    EXPECT_EQ(co_await bed.mounted(second.string()), "given");
    EXPECT_EQ(bed.listening.count("kept " + second.string()), 1u);
  });
}

TEST(HostSockets, AreRefusedByNameWhereTheyMayNotBe) {
  play_on_bed([](Bed& bed) -> asio::awaitable<void> {
    const std::string path = (bed.share / "s.sock").string(), foreign = (bed.outside / "o.sock").string();
    bed.serve(path);
    bed.serve(foreign);
    EXPECT_EQ(co_await bed.mounted(foreign),
              foreign +
                  " is a socket of this computer, and in no folder that is shared with the machine | share the "
                  "folder that it is in: colima-like share add '" +
                  bed.outside.string() +
                  "'; the ssh agent of the shell that ran 'colima-like start' is at /run/host-services/ssh-auth.sock");
    bed.core.store.edit().profile.host_sockets = false;
    EXPECT_EQ(co_await bed.mounted(path),
              path +
                  " is a socket of this computer, and no container gets one: the setting host_sockets is false | "
                  "'colima-like config set host_sockets true' and 'colima-like apply' give it to containers that "
                  "mount it");
    bed.core.store.edit().profile.check_binds = false;
    EXPECT_EQ(co_await bed.mounted(path), "not checked here");
    EXPECT_EQ(co_await bed.mounted(foreign), "not checked here");
    EXPECT_TRUE(bed.listening.empty());
  });
}

TEST(HostSockets, OneThatTheGuestCannotHaveIsRefusedAndForgotten) {
  play_on_bed([](Bed& bed) -> asio::awaitable<void> {
    bed.serve(bed.outside / "agent");
    bed.core.store.edit().ssh_agent = bed.outside / "agent";
    bed.refusal = "the guest cannot listen there";
    const std::string name(agent_socket_name);
    EXPECT_EQ(co_await bed.mounted(name),
              name +
                  " cannot be given to the container: it is the ssh agent of this computer's user: the guest cannot "
                  "listen there | see 'colima-like status' and 'colima-like logs'");
    EXPECT_TRUE(bed.core.state().host_sockets.empty());
  });
}

TEST(HostSockets, ThoseOfContainersThatExistComeBackAndGoWithTheSetting) {
  play_on_bed([](Bed& bed) -> asio::awaitable<void> {
    const std::string path = (bed.share / "s.sock").string(), where = "kept " + relay_path(path);
    bed.serve(path);
    bed.core.store.edit().host_sockets = {{{path}, path, path, true, ""}};
    co_await bed.core.host_sockets.bring_back();
    EXPECT_EQ(bed.listening.count(where), 1u);
    EXPECT_EQ(co_await bed.asked(where, path), "answer");
    EXPECT_FALSE(bed.listening.at(where)->forgotten);
    bed.core.store.edit().profile.host_sockets = false;
    co_await bed.core.host_sockets.bring_back();
    EXPECT_TRUE(bed.listening.at(where)->forgotten);
    EXPECT_EQ(bed.core.state().host_sockets.size(), 1u) << "its container exists";
  });
}

TEST(HostSockets, OneHasOnlySoManyConnections) {
  play_on_bed([](Bed& bed) -> asio::awaitable<void> {
    const std::string path = (bed.share / "s.sock").string(), where = "kept " + relay_path(path);
    bed.serve(path);  // and accepts nobody: they wait in its queue
    EXPECT_EQ(co_await bed.mounted(path), "given");
    std::vector<std::unique_ptr<ByteStream>> clients;
    for (std::size_t i = 0; i < HostSockets::most_connections; ++i) clients.push_back(bed.connect(where));
    Listening& at = *bed.listening.at(where);
    while (!at.ends.empty() && at.ends.rbegin()->second) co_await sleep_for(1ms);  // all of them are taken
    EXPECT_TRUE(at.dropped.empty());
    clients.push_back(bed.connect(where));
    while (at.dropped.empty()) co_await sleep_for(1ms);
    EXPECT_EQ(at.dropped, std::vector<std::uint32_t>{bed.last});
  });
}

TEST(HostSockets, ThereAreOnlySoMany) {
  play_on_bed([](Bed& bed) -> asio::awaitable<void> {
    const std::string path = (bed.share / "s.sock").string();
    bed.serve(path);
    std::vector<HostSocketState> others;
    for (std::size_t i = 0; i < HostSockets::most; ++i) {
      const std::string name = (bed.share / std::to_string(i)).string();
      others.push_back({{name}, name, name, true, ""});
    }
    bed.core.store.edit().host_sockets = others;
    EXPECT_EQ(co_await bed.mounted(path),
              "containers mount 32 sockets of this computer already | remove containers that need theirs no longer; "
              "'colima-like status' lists them");
  });
}

}  // namespace
}  // namespace cl::test
