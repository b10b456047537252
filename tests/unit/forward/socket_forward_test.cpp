#include "src/forward/socket_forward.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <fstream>

#include "src/base/log.hpp"
#include "src/base/unique_fd.hpp"
#include "tests/fakes/choppy_stream.hpp"
#include "tests/support/run.hpp"
#include "tests/support/temp_dir.hpp"

namespace cl::test {
namespace {

using Stream = std::unique_ptr<ByteStream>;

/// An engine in memory: every stream it opens is echoed in upper case, then ended.
class FakeEngine {
 public:
  explicit FakeEngine(asio::any_io_executor executor) : ready(executor), executor_(executor), tasks_(executor) {
    ready.set();
  }
  SocketForward::Open open() {
    return [this] { return open_one(); };
  }
  asio::awaitable<void> stop() { co_await tasks_.stop(); }

  Event ready;                   ///< streams are opened once this is set
  std::optional<Error> failure;  ///< thrown instead of opening
  int opened = 0, waiting = 0;

 private:
  asio::awaitable<Stream> open_one() {
    ++waiting;
    struct Leave {
      int& count;
      ~Leave() { --count; }
    } leave{waiting};
    co_await ready.wait();
    if (failure) throw *failure;
    ++opened;
    auto ends = MemoryStream::pair(executor_);
    tasks_.spawn("engine", shout(std::move(ends.second)));
    co_return std::move(ends.first);
  }
  static asio::awaitable<void> shout(std::unique_ptr<MemoryStream> stream) {
    std::array<char, 1000> space;
    for (;;) {
      const std::size_t got = co_await stream->read_some(space);
      if (got == 0) break;
      for (char& c : space) c = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
      co_await stream->write(std::span(space).first(got));
    }
    co_await stream->shutdown_write();
  }

  asio::any_io_executor executor_;
  TaskGroup tasks_;
};

asio::awaitable<void> until(std::function<bool()> true_now) {
  auto executor = co_await asio::this_coro::executor;
  while (!true_now()) co_await asio::post(executor, asio::use_awaitable);
}

asio::awaitable<std::string> ask(fs::path socket, std::string text) {
  const Stream stream = co_await connect_unix(socket);
  co_await stream->write(text);
  co_await stream->shutdown_write();
  co_return co_await read_to_end(*stream);
}

asio::awaitable<void> ask_into(fs::path socket, std::string text, std::string& answer) {
  answer = co_await ask(std::move(socket), std::move(text));
}

bool there(const fs::path& path) { return fs::exists(fs::symlink_status(path)); }

asio::awaitable<std::string> some_at_once(fs::path socket, int count) {
  auto executor = co_await asio::this_coro::executor;
  FakeEngine engine(executor);
  SocketForward forward(executor, socket, engine.open());
  std::vector<std::string> answers(static_cast<std::size_t>(count));
  TaskGroup clients(executor);
  for (int i = 0; i < count; ++i)
    clients.spawn("client", ask_into(socket, "client " + std::to_string(i), answers[static_cast<std::size_t>(i)]));
  auto clients_done = [&] { return clients.size() == 0; };
  co_await until(clients_done);
  std::string wrong;
  for (int i = 0; i < count; ++i)
    if (const auto& got = answers[static_cast<std::size_t>(i)]; got != "CLIENT " + std::to_string(i))
      wrong += std::to_string(i) + ":" + got + " ";
  auto all_closed = [&] { return forward.counters().connections == 0; };
  co_await until(all_closed);
  const ForwardCounters counters = forward.counters();
  co_await forward.stop();
  co_await engine.stop();
  if (counters.accepted != static_cast<std::uint64_t>(count)) wrong += "accepted " + std::to_string(counters.accepted);
  if (counters.from_clients != counters.to_clients || counters.from_clients < 8U * static_cast<unsigned>(count))
    wrong += " counted " + std::to_string(counters.from_clients) + "/" + std::to_string(counters.to_clients);
  if (counters.refused + counters.accept_errors != 0) wrong += " refused some";
  if (counters.last_activity <= counters.since) wrong += " no activity";
  if (there(socket)) wrong += " left its socket";
  co_return wrong;
}

TEST(SocketForward, CarriesManyConnectionsAtOnce) {
  TempDir dir;
  EXPECT_EQ(run(some_at_once(dir / "docker.sock", 100)), "");
}

asio::awaitable<mode_t> mode_while_listening(fs::path socket) {
  auto executor = co_await asio::this_coro::executor;
  FakeEngine engine(executor);
  SocketForward forward(executor, socket, engine.open());
  struct stat facts{};
  ::lstat(socket.c_str(), &facts);
  co_await forward.stop();
  co_return facts.st_mode & 0777;
}

TEST(SocketForward, IsForItsOwnerOnlyWhateverTheUmask) {
  TempDir dir;
  const mode_t before = ::umask(0);
  EXPECT_EQ(run(mode_while_listening(dir / "docker.sock")), 0600u);
  EXPECT_EQ(::umask(before), 0u);
}

asio::awaitable<std::string> text_sent_before_open() {
  auto executor = co_await asio::this_coro::executor;
  TempDir dir;
  FakeEngine engine(executor);
  engine.ready.reset();
  SocketForward forward(executor, dir / "s", engine.open());
  std::string answer;
  TaskGroup clients(executor);
  clients.spawn("client", ask_into(dir / "s", "sent early", answer));
  auto being_opened = [&] { return engine.waiting == 1; };
  co_await until(being_opened);
  engine.ready.set();
  auto clients_done = [&] { return clients.size() == 0; };
  co_await until(clients_done);
  co_await forward.stop();
  co_await engine.stop();
  co_return answer;
}

TEST(SocketForward, LosesNothingThatWasSentWhileTheStreamWasBeingOpened) {
  EXPECT_EQ(run(text_sent_before_open()), "SENT EARLY");
}

#ifdef __linux__
asio::awaitable<std::string> client_leaves_while_opening() {
  auto executor = co_await asio::this_coro::executor;
  TempDir dir;
  FakeEngine engine(executor);
  engine.ready.reset();
  SocketForward forward(executor, dir / "s", engine.open());
  {
    const Stream stream = co_await connect_unix(dir / "s");
    co_await stream->write(std::string_view("never mind"));
    auto being_opened = [&] { return engine.waiting == 1; };
    co_await until(being_opened);
  }
  auto all_closed = [&] { return forward.counters().connections == 0; };
  co_await until(all_closed);
  const std::string seen = "waiting " + std::to_string(engine.waiting) + ", opened " + std::to_string(engine.opened) +
                           ", refused " + std::to_string(forward.counters().refused);
  co_await forward.stop();
  co_return seen;
}

TEST(SocketForward, StopsOpeningForAClientThatHasLeft) {
  EXPECT_EQ(run(client_leaves_while_opening()), "waiting 0, opened 0, refused 0");
}
#endif

asio::awaitable<std::string> refused(Error failure, std::size_t request_size) {
  auto executor = co_await asio::this_coro::executor;
  TempDir dir;
  FakeEngine engine(executor);
  engine.failure = failure;
  SocketForward forward(executor, dir / "s", engine.open());
  const std::string answer = co_await ask(dir / "s", std::string(request_size, 'x'));
  auto all_closed = [&] { return forward.counters().connections == 0; };
  co_await until(all_closed);
  const bool counted = forward.counters().refused == 1;
  co_await forward.stop();
  co_return counted ? answer : "not counted";
}

TEST(SocketForward, AnswersWithTheReasonWhenNoStreamCanBeOpened) {
  const Error error =
      Error(Errc::guest_failed, "the \"guest\" is gone", "run 'colima-like start'").because("it was killed");
  EXPECT_EQ(run(refused(error, 0)),
            "HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nContent-Length: 76\r\n"
            "Connection: close\r\n\r\n"
            R"({"message":"the \"guest\" is gone: it was killed. run 'colima-like start'"})"
            "\n");
}

TEST(SocketForward, LetsAClientFinishALargeRequestBeforeItReadsTheReason) {
  const std::string answer = run(refused(Error(Errc::guest_failed, "gone"), 3 << 20));
  EXPECT_NE(answer.find(R"({"message":"gone"})"), std::string::npos) << answer;
}

asio::awaitable<std::string> refused_without_words() {
  auto executor = co_await asio::this_coro::executor;
  TempDir dir;
  FakeEngine engine(executor);
  SocketForward forward(executor, dir / "s", engine.open(), {.http = false, .most = 1});
  engine.failure = Error(Errc::guest_failed, "gone");
  std::string seen = "failed [" + co_await ask(dir / "s", "") + "]";
  auto all_closed = [&] { return forward.counters().connections == 0; };
  co_await until(all_closed);
  engine.failure.reset();
  const Stream open = co_await connect_unix(dir / "s");
  auto one_opened = [&] { return engine.opened == 1; };
  co_await until(one_opened);
  seen += " second [" + co_await ask(dir / "s", "") + "]";
  auto two_refused = [&] { return forward.counters().refused == 2; };
  co_await until(two_refused);
  co_await open->shutdown_write();
  co_await read_to_end(*open);
  co_await until(all_closed);
  seen += " " + co_await ask(dir / "s", "third");
  co_await forward.stop();
  co_await engine.stop();
  co_return seen;
}

TEST(SocketForward, SaysNothingToClientsThatSpeakNoHttpAndRefusesThoseBeyondItsLimit) {
  EXPECT_EQ(run(refused_without_words()), "failed [] second [] THIRD");
}

asio::awaitable<std::string> stop_with_open_connections() {
  auto executor = co_await asio::this_coro::executor;
  TempDir dir;
  FakeEngine engine(executor);
  SocketForward forward(executor, dir / "s", engine.open());
  const Stream quiet = co_await connect_unix(dir / "s");
  auto one_opened = [&] { return engine.opened == 1; };
  co_await until(one_opened);
  engine.ready.reset();
  const Stream opening = co_await connect_unix(dir / "s");
  auto being_opened = [&] { return engine.waiting == 1; };
  co_await until(being_opened);
  co_await forward.stop();
  co_await forward.stop();
  std::string seen = "connections " + std::to_string(forward.counters().connections);
  seen += co_await read_to_end(*quiet) + co_await read_to_end(*opening);
  if (there(dir / "s")) seen += ", left its socket";
  co_await engine.stop();
  co_return seen;
}

TEST(SocketForward, EndsEveryConnectionWhenStopped) { EXPECT_EQ(run(stop_with_open_connections()), "connections 0"); }

/// What listening on `socket` says, with the error code first; "listens" when it works.
asio::awaitable<std::string> listen_result(fs::path socket) {
  auto executor = co_await asio::this_coro::executor;
  FakeEngine engine(executor);
  std::optional<SocketForward> forward;
  try {
    forward.emplace(executor, socket, engine.open());
  } catch (const Error& error) {
    co_return std::string(to_string(error.code())) + ": " + one_line(error) + "; " + error.remedy();
  }
  co_await forward->stop();
  co_return "listens";
}

TEST(SocketForward, LeavesAForeignFileAlone) {
  TempDir dir;
  const fs::path path = dir / "docker.sock";
  std::ofstream(path) << "mine";
  EXPECT_EQ(run(listen_result(path)),
            "io: cannot listen on " + path.string() + ": something that is no socket is there; move it out of the way");
  EXPECT_EQ(read_file(path), "mine");
  fs::remove(path);
  fs::create_symlink(dir / "nowhere", path);
  EXPECT_NE(run(listen_result(path)).find("no socket"), std::string::npos);
  EXPECT_TRUE(fs::is_symlink(path));
  fs::remove(path);
  fs::create_directory(path);
  EXPECT_NE(run(listen_result(path)).find("no socket"), std::string::npos);
  EXPECT_TRUE(fs::is_directory(path));
}

UniqueFd bound_socket(const fs::path& path, bool listening) {
  UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM, 0));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  path.native().copy(address.sun_path, sizeof address.sun_path - 1);
  EXPECT_EQ(::bind(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  if (listening) EXPECT_EQ(::listen(fd.get(), 0), 0);
  return fd;
}

TEST(SocketForward, LeavesALiveListenerAlone) {
  TempDir dir;
  const fs::path path = dir / "docker.sock";
  const UniqueFd other = bound_socket(path, true);
  // The second time the listener's queue is full, which is no reason to think that it is dead.
  for (int round = 0; round < 3; ++round) {
    EXPECT_EQ(run(listen_result(path)), "busy: cannot listen on " + path.string() +
                                            ": another process listens there; stop that process; 'lsof " +
                                            path.string() + "' names it");
  }
  EXPECT_TRUE(there(path));
}

TEST(SocketForward, ReplacesASocketThatNobodyListensOn) {
  TempDir dir;
  {
    const UniqueFd dead = bound_socket(dir / "docker.sock", true);
  }
  EXPECT_TRUE(there(dir / "docker.sock"));
  EXPECT_EQ(run(listen_result(dir / "docker.sock")), "listens");
}

TEST(SocketForward, RefusesAPathThatIsTooLong) {
  TempDir dir;
  const std::string said = run(listen_result(dir / std::string(120, 'a')));
  EXPECT_EQ(said.substr(0, 4), "io: ");
  EXPECT_NE(said.find("shorter"), std::string::npos);
}

TEST(SocketForward, SaysWhenTheDirectoryIsMissing) {
  EXPECT_NE(run(listen_result("/nonexistent/docker.sock")).find("No such file or directory"), std::string::npos);
}

asio::awaitable<bool> stop_after_somebody_replaced_the_socket() {
  auto executor = co_await asio::this_coro::executor;
  TempDir dir;
  FakeEngine engine(executor);
  SocketForward old(executor, dir / "s", engine.open());
  // Another inode: with the old file still there under another name, its number cannot be used again.
  fs::rename(dir / "s", dir / "old");
  SocketForward next(executor, dir / "s", engine.open());
  co_await old.stop();
  const bool left = there(dir / "s");
  co_await next.stop();
  co_return left;
}

TEST(SocketForward, DoesNotRemoveTheSocketOfItsSuccessor) {
  EXPECT_TRUE(run(stop_after_somebody_replaced_the_socket()));
}

/// Lowers the limit so that `spare` more descriptors can be opened; restores it.
class FewDescriptors {
 public:
  explicit FewDescriptors(int spare) {
    ::getrlimit(RLIMIT_NOFILE, &before_);
    const UniqueFd lowest(::open("/dev/null", O_RDONLY | O_CLOEXEC));
    rlimit few = before_;
    few.rlim_cur = static_cast<rlim_t>(lowest.get() + spare);
    ::setrlimit(RLIMIT_NOFILE, &few);
  }
  ~FewDescriptors() { ::setrlimit(RLIMIT_NOFILE, &before_); }

 private:
  rlimit before_{};
};

asio::awaitable<std::string> run_out_of_descriptors() {
  auto executor = co_await asio::this_coro::executor;
  TempDir dir;
  FakeEngine engine(executor);
  SocketForward forward(executor, dir / "s", engine.open());
  // UBSan opens a pipe for each type of object that it sees a virtual call on for the first time: let it see them now.
  co_await ask(dir / "s", "warm up");
  co_await sleep_for(1ms);
  log::warn("{}", error_code(asio::error::no_descriptors).message());
  std::optional<FewDescriptors> few(std::in_place, 1);
  std::string answer;
  TaskGroup clients(executor);
  clients.spawn("client", ask_into(dir / "s", "patience", answer));  // its own end takes the last descriptor
  auto out_of_descriptors = [&] { return forward.counters().accept_errors > 0; };
  co_await until(out_of_descriptors);
  // A loop that does not pause would fail again in nearly every one of these turns.
  for (int turn = 0; turn < 1000; ++turn) co_await asio::post(executor, asio::use_awaitable);
  const std::uint64_t errors = forward.counters().accept_errors;
  few.reset();
  auto clients_done = [&] { return clients.size() == 0; };
  co_await until(clients_done);
  co_await forward.stop();
  co_await engine.stop();
  co_return answer + (errors < 100 ? "" : " after a busy loop");
}

TEST(SocketForward, WaitsWhenDescriptorsRunOutAndGoesOnAfterwards) {
  EXPECT_EQ(run(run_out_of_descriptors()), "PATIENCE");
}

}  // namespace
}  // namespace cl::test
