#include "provision/channel/agent.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <boost/algorithm/string/replace.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ip/udp.hpp>
#include <boost/asio/local/datagram_protocol.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/write.hpp>
#include <cstring>
#include <fstream>
#include <set>

#include "src/base/child.hpp"
#include "src/base/net/socket_stream.hpp"
#include "src/base/task_group.hpp"
#include "tests/fakes/choppy_stream.hpp"
#include "tests/support/run.hpp"
#include "tests/support/temp_dir.hpp"

/// The host's half and the real agent, a child of this process, over a socket pair: directly, and through a relay that
/// hands on a few bytes at a time.
namespace cl::test {
namespace {

using Local = asio::local::stream_protocol;
using StreamPtr = std::unique_ptr<ByteStream>;

struct Pair {
  UniqueFd ours, theirs;
  Pair() {
    int ends[2];
    if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) throw io_error("socketpair", errno);
    ours.reset(ends[0]);
    theirs.reset(ends[1]);
  }
};

asio::awaitable<void> pump(ByteStream& from, ByteStream& to) {
  std::array<char, 64 * 1024> space;
  try {
    for (;;) {
      const std::size_t got = co_await from.read_some(space);
      if (got == 0) break;
      co_await to.write(std::span<const char>(space).first(got));
    }
    co_await to.shutdown_write();
  } catch (const Error&) {
    to.close();
  }
}

struct Bed {
  explicit Bed(asio::any_io_executor ex, bool split = false) : executor(ex), acceptor(ex), tasks(ex) {
    path = directory / "socket";
    acceptor.open(Local());
    acceptor.bind(Local::endpoint(path.string()));
    acceptor.listen(4096);
    Pair pair;
    Command command;
    command.argv = {COLIMA_LIKE_AGENT, "--stdio"};
    command.input = command.output = pair.theirs.get();
    child.emplace(Child::start(ex, command));
    UniqueFd ours = std::move(pair.ours);
    if (split) {
      Pair near;
      left = choppy(stream_of(std::move(ours)), {97, 61});
      right = choppy(stream_of(std::move(near.theirs)), {53, 211});
      tasks.spawn("there", pump(*right, *left));
      tasks.spawn("back", pump(*left, *right));
      ours = std::move(near.ours);
    }
    agent = Agent::start(ex, Transport(std::move(ours)));
  }
  StreamPtr stream_of(UniqueFd fd) {
    Local::socket socket(executor, Local(), fd.release());
    return std::make_unique<SocketStream>(SocketStream::Socket(std::move(socket)));
  }
  asio::awaitable<StreamPtr> open() {
    auto stream = co_await agent->open_unix(path.string());
    co_return stream;
  }
  asio::awaitable<StreamPtr> accept() {
    auto socket = co_await acceptor.async_accept(asio::use_awaitable);
    co_return std::make_unique<SocketStream>(SocketStream::Socket(std::move(socket)));
  }
  asio::awaitable<void> end() {
    agent->stop();
    co_await tasks.stop();
    if (left) left->close();
    co_await child->wait();  // it ends with its input
  }

  asio::any_io_executor executor;
  TempDir directory;
  std::filesystem::path path;
  Local::acceptor acceptor;
  StreamPtr left, right;
  std::optional<Child> child;
  std::shared_ptr<Agent> agent;
  TaskGroup tasks;
};

std::string pattern(std::size_t size) {
  std::string text(size, '\0');
  std::uint32_t number = 1;
  for (char& c : text) c = static_cast<char>((number = number * 1664525 + 1013904223) >> 24);
  return text;
}

template <class T>
asio::awaitable<std::string> failure_of(asio::awaitable<T> work) {
  try {
    co_await std::move(work);
  } catch (const Error& error) {
    co_return std::string(to_string(error.code())) + ": " + one_line(error);
  }
  co_return "no failure";
}

class Split : public ::testing::TestWithParam<bool> {};
INSTANTIATE_TEST_SUITE_P(Agent, Split, ::testing::Bool(),
                         [](const auto& kind) { return kind.param ? std::string("InPieces") : std::string("Whole"); });

asio::awaitable<std::string> hello(bool split) {
  Bed bed(co_await asio::this_coro::executor, split);
  co_await bed.agent->wait_up();
  const std::string words = bed.agent->hello().words;
  co_await bed.end();
  co_return words;
}
TEST_P(Split, TellsWhatItServes) {
  EXPECT_NE(run(hello(GetParam()))
                .find(" unix tcp udp echo clock listen taken listeners files trim sync statistics units hold cover"),
            std::string::npos);
}

asio::awaitable<void> write_all(ByteStream& to, std::string text) {
  co_await to.write(text);
  co_await to.shutdown_write();
}

asio::awaitable<std::string> bulk(bool split, std::size_t size) {
  Bed bed(co_await asio::this_coro::executor, split);
  co_await bed.agent->wait_up();
  const std::string there = pattern(size), back = pattern(size + 77);
  auto host = co_await bed.open();
  auto guest = co_await bed.accept();
  bed.tasks.spawn("there", write_all(*host, there));
  bed.tasks.spawn("back", write_all(*guest, back));
  const std::string got_there = co_await read_to_end(*guest);
  const std::string got_back = co_await read_to_end(*host);
  std::string said = got_there == there ? "there" : "not there";
  said += got_back == back ? " and back" : " and not back";
  said += ", streams left " + std::to_string(bed.agent->streams());
  co_await bed.end();
  co_return said;
}
TEST_P(Split, CarriesBulkBothWaysAtOnceToItsEnds) {
  EXPECT_EQ(run(bulk(GetParam(), GetParam() ? 600'000 : 10'000'000), 100s), "there and back, streams left 0");
}

asio::awaitable<std::string> half_closed(bool split) {
  Bed bed(co_await asio::this_coro::executor, split);
  co_await bed.agent->wait_up();
  auto host = co_await bed.open();
  auto guest = co_await bed.accept();
  co_await host->write(std::string_view("request"));
  co_await host->shutdown_write();
  std::string said = co_await read_to_end(*guest);
  co_await guest->write(std::string_view(" answer"));
  said += co_await read_exactly(*host, 7);
  co_await guest->shutdown_write();
  said += co_await read_to_end(*host) + ".";
  said += std::to_string(bed.agent->streams());
  co_await bed.end();
  co_return said;
}
TEST_P(Split, EndsEachDirectionByItself) { EXPECT_EQ(run(half_closed(GetParam())), "request answer.0"); }

asio::awaitable<std::string> refused() {
  Bed bed(co_await asio::this_coro::executor);
  co_await bed.agent->wait_up();
  std::string said = co_await failure_of(bed.agent->open_unix("/nonexistent/it's a socket"));
  said += "\n" + co_await failure_of(bed.agent->open_unix("/" + std::string(200, 'x')));
  said += "\n" + co_await failure_of(bed.agent->open_tcp("127.0.0.1", 1));
  said += "\n" + co_await failure_of(bed.agent->open_tcp("localhost", 1));
  said += "\n" + co_await failure_of(bed.agent->open_service("nothing at all"));
  co_await bed.end();
  co_return said;
}
TEST(Agent, SaysWhyNobodyIsThere) {
  EXPECT_EQ(run(refused()),
            "guest_failed: cannot connect to /nonexistent/it's a socket in the guest: No such file or directory\n"
            "guest_failed: cannot connect to /" +
                std::string(200, 'x') +
                " in the guest: the path is too long\n"
                "guest_failed: cannot connect to 127.0.0.1 port 1 in the guest: Connection refused\n"
                "guest_failed: cannot connect to localhost port 1 in the guest: localhost is no address\n"
                "guest_failed: the agent in the guest does not serve nothing: there is no service of that name");
}

asio::awaitable<std::string> resets(std::string address) {
  auto executor = co_await asio::this_coro::executor;
  Bed bed(executor);
  co_await bed.agent->wait_up();
  asio::ip::tcp::acceptor acceptor(executor, {asio::ip::make_address(address), 0});
  const std::uint16_t port = acceptor.local_endpoint().port();
  auto stream = co_await bed.agent->open_tcp(address, port);
  auto socket = co_await acceptor.async_accept(asio::use_awaitable);
  socket.set_option(asio::socket_base::linger(true, 0));
  socket.close();
  char space[8];
  std::string said = co_await failure_of(stream->read_some(space));
  stream = co_await bed.agent->open_tcp(address, port);
  socket = co_await acceptor.async_accept(asio::use_awaitable);
  stream.reset();
  auto [ec, got] = co_await socket.async_read_some(asio::buffer(space), no_throw);
  said += " | " + ec.message();
  co_await bed.end();
  co_return said;
}
TEST(Agent, CarriesResetsBothWays) {
  EXPECT_EQ(run(resets("127.0.0.1")), "io: the connection in the guest broke: it was reset | Connection reset by peer");
  EXPECT_EQ(run(resets("::1")), "io: the connection in the guest broke: it was reset | Connection reset by peer");
}

/// One that reads no more but still has something to say: an HTTP server that refuses a large body.
asio::awaitable<std::string> deaf() {
  Bed bed(co_await asio::this_coro::executor);
  co_await bed.agent->wait_up();
  auto host = co_await bed.open();
  auto socket = co_await bed.acceptor.async_accept(asio::use_awaitable);
  const std::string answer = "413";
  co_await asio::async_write(socket, asio::buffer(answer), asio::use_awaitable);
  socket.shutdown(Local::socket::shutdown_receive);
  std::string said;
  try {
    for (int i = 0; i < 100; ++i) co_await host->write(pattern(10'000));
    said = "all taken, ";
  } catch (const Error& error) {
    said = one_line(error);
  }
  said += co_await read_exactly(*host, 3);
  co_await bed.end();
  co_return said;
}
TEST(Agent, BringsWhatOneSaysWhoListensNoMore) { EXPECT_EQ(run(deaf()), "all taken, 413"); }

/// A reader that stands still holds a window, and stops nobody.
asio::awaitable<std::string> stalled() {
  Bed bed(co_await asio::this_coro::executor);
  co_await bed.agent->wait_up();
  auto slow = co_await bed.open();
  auto slow_guest = co_await bed.accept();
  auto slow_writer = co_await bed.open();
  auto deaf_guest = co_await bed.accept();
  bed.tasks.spawn("to the host", write_all(*slow_guest, pattern(3'000'000)));
  bed.tasks.spawn("to the guest", write_all(*slow_writer, pattern(3'000'000)));
  std::string said;
  for (int i = 0; i < 20; ++i) {
    auto host = co_await bed.open();
    auto guest = co_await bed.accept();
    co_await host->write(std::string_view("?"));
    said += co_await read_exactly(*guest, 1);
  }
  const bool all =
      co_await read_to_end(*slow) == pattern(3'000'000) && co_await read_to_end(*deaf_guest) == pattern(3'000'000);
  co_await bed.end();
  co_return said + (all ? " and all of the others" : " and not all of the others");
}
TEST(Agent, AStalledStreamStopsNobody) {
  EXPECT_EQ(run(stalled(), 30s), std::string(20, '?') + " and all of the others");
}

struct Many {
  std::vector<StreamPtr> host, guest;
  std::size_t right = 0;
};

/// Opens streams one after the other, each of which says its number.
asio::awaitable<void> open_some(Bed& bed, Many& many, std::size_t begin, std::size_t end) {
  for (std::size_t i = begin; i < end; ++i) {
    many.host[i] = co_await bed.open();
    co_await many.host[i]->write(std::to_string(i) + "\n");
  }
}
/// Of the guest's ends, the next that comes: echoes its number.
asio::awaitable<void> echo_one(StreamPtr& stream) {
  std::string number;
  while (!number.ends_with('\n')) number += co_await read_exactly(*stream, 1);
  co_await stream->write(number);
}

asio::awaitable<std::string> many_streams(std::size_t count) {
  constexpr std::size_t openers = 50;
  Bed bed(co_await asio::this_coro::executor);
  co_await bed.agent->wait_up();
  Many many;
  many.host.resize(count);
  for (std::size_t i = 0; i < openers; ++i)
    bed.tasks.spawn("opener", open_some(bed, many, count * i / openers, count * (i + 1) / openers));
  for (std::size_t i = 0; i < count; ++i) many.guest.push_back(co_await bed.accept());
  const std::size_t at_once = bed.agent->streams();
  for (StreamPtr& stream : many.guest) co_await echo_one(stream);
  for (std::size_t i = 0; i < count; ++i) {
    const std::string expected = std::to_string(i) + "\n";
    const std::string got = co_await read_exactly(*many.host[i], expected.size());
    many.right += got == expected ? 1 : 0;
  }
  many.host.clear();
  std::size_t ended = 0;
  for (const StreamPtr& stream : many.guest) {
    const std::string rest = co_await read_to_end(*stream);
    ended += rest.empty() ? 1 : 0;
  }
  co_await bed.end();
  co_return std::to_string(at_once) + " at once, " + std::to_string(many.right) + " right, " + std::to_string(ended) +
      " ended";
}
TEST(Agent, TenThousandStreamsAtOnce) {
  rlimit limit{};
  ::getrlimit(RLIMIT_NOFILE, &limit);
  if (limit.rlim_max < 11'000) GTEST_SKIP() << "needs 11,000 descriptors";
  const rlimit before = limit;
  limit.rlim_cur = limit.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &limit);
  EXPECT_EQ(run(many_streams(10'000), 100s), "10000 at once, 10000 right, 10000 ended");
  ::setrlimit(RLIMIT_NOFILE, &before);
}

/// Without descriptors it refuses, and goes on when it has some again.
asio::awaitable<std::string> exhausted() {
  Bed bed(co_await asio::this_coro::executor);
  co_await bed.agent->wait_up();
  const rlimit few{20, 20};
  if (::prlimit(bed.child->pid(), RLIMIT_NOFILE, &few, nullptr) != 0) throw io_error("prlimit", errno);
  std::vector<StreamPtr> host;
  std::string said;
  for (int i = 0; i < 30 && said.empty(); ++i) {
    try {
      host.push_back(co_await bed.open());
    } catch (const Error& error) {
      said = one_line(error);
    }
  }
  said.erase(0, said.find(" in the guest"));
  said += co_await failure_of(bed.agent->open_service("statistics"));
  host.clear();
  auto stream = co_await bed.open();
  co_await bed.end();
  co_return said;
}
TEST(Agent, RefusesWhatItHasNoDescriptorsFor) {
  EXPECT_EQ(run(exhausted()),
            " in the guest: Too many open filesguest_failed: the agent in the guest does not serve statistics: "
            "Too many open files");
}

asio::awaitable<std::string> killed() {
  Bed bed(co_await asio::this_coro::executor);
  co_await bed.agent->wait_up();
  auto host = co_await bed.open();
  auto guest = co_await bed.accept();
  auto idle = co_await bed.agent->open_service("listeners");
  bed.tasks.spawn("bulk", write_all(*guest, pattern(50'000'000)));
  char space[1000];
  co_await host->read_some(space);
  bed.child->kill(SIGKILL);
  co_await bed.agent->lost();
  std::string said;
  try {
    while (co_await host->read_some(space) > 0) {
    }
  } catch (const Error& error) {
    said = one_line(error);
  }
  said += " | " + co_await failure_of(bed.open());
  co_await bed.end();
  co_return said.substr(0, said.find("/")) + said.substr(said.find(" in the guest: "));
}
TEST(Agent, KilledInTheMiddleOfBulkResetsEverything) {
  const std::string said = run(killed(), 20s);
  EXPECT_NE(said.find("the connection in the guest broke"), std::string::npos) << said;
  EXPECT_NE(said.find("the session with its agent is lost"), std::string::npos) << said;
}

asio::awaitable<std::string> datagrams() {
  auto executor = co_await asio::this_coro::executor;
  Bed bed(executor);
  co_await bed.agent->wait_up();
  using Udp = asio::ip::udp;
  Udp::socket server(executor, Udp::endpoint(asio::ip::address_v4::loopback(), 0));
  std::vector<std::string> seen;
  Notifier changed(executor);
  auto take = [&](std::string_view datagram) {
    seen.emplace_back(datagram);
    changed.notify_all();
  };
  auto flow = bed.agent->open_udp("127.0.0.1", server.local_endpoint().port(), take);
  std::string space(70'000, '\0');
  Udp::endpoint peer;
  std::string said;
  for (const std::string& datagram : {std::string("a"), std::string(), pattern(65'507)}) {
    flow->send(datagram);
    const std::size_t got = co_await server.async_receive_from(asio::buffer(space), peer, asio::use_awaitable);
    said += space.substr(0, got) == datagram ? "+" : "-";
    server.send_to(asio::buffer(datagram), peer);
    while (seen.empty()) co_await changed.wait();
    said += seen.back() == datagram ? "+" : "-";
    seen.clear();
  }
  // Nobody there: nothing comes back, and the flow stays.
  const std::uint16_t port = server.local_endpoint().port();
  server.close();
  flow->send("lost");
  Udp::socket again(executor, Udp::endpoint(asio::ip::address_v4::loopback(), port));
  flow->send("b");
  const std::size_t got = co_await again.async_receive_from(asio::buffer(space), peer, asio::use_awaitable);
  said += space.substr(0, got);
  flow.reset();
  co_await bed.end();
  co_return said;
}
TEST(Agent, CarriesDatagramsWhole) {
  const std::string said = run(datagrams());
  EXPECT_TRUE(said == "++++++b" || said == "++++++lost") << said;
}

/// The kernel's trace buffers, where this host lets us have any.
std::set<std::string> traces() {
  std::set<std::string> names;
  std::error_code none;
  for (const auto& one : std::filesystem::directory_iterator("/sys/kernel/tracing/instances", none))
    names.insert(one.path().filename().string());
  return names;
}

asio::awaitable<std::string> listening() {
  auto executor = co_await asio::this_coro::executor;
  Bed bed(executor);
  co_await bed.agent->wait_up();
  std::set<std::string> ours;
  auto watch = co_await bed.agent->open_service("listeners");
  co_await watch->read();
  const std::string children =
      "/proc/" + std::to_string(bed.child->pid()) + "/task/" + std::to_string(bed.child->pid()) + "/children";
  std::ifstream pids(children);
  for (std::string pid; pids >> pid;) ours.insert("colima-like-" + pid);
  auto acceptor =
      std::make_unique<asio::ip::tcp::acceptor>(executor, asio::ip::tcp::endpoint(asio::ip::address_v4::loopback(), 0));
  const std::string line = "tcp 127.0.0.1 " + std::to_string(acceptor->local_endpoint().port()) + " ";
  std::string said;
  for (;;) {
    const auto list = co_await watch->read();
    if (!list) break;
    if (said.empty() && list->find(line) != std::string::npos) {
      said = "seen";
      acceptor.reset();
    } else if (!said.empty() && list->find(line) == std::string::npos) {
      said += " and gone";
      break;
    }
  }
  watch.reset();
  auto left = [&ours] {
    const auto now = traces();
    return std::any_of(ours.begin(), ours.end(), [&now](const std::string& one) { return now.contains(one); });
  };
  for (int i = 0; i < 500 && left(); ++i) co_await sleep_for(10ms);
  if (left()) said += ", and its trace is left";
  co_await bed.end();
  co_return said;
}
TEST(Agent, TellsWhoListens) { EXPECT_EQ(run(listening(), 20s), "seen and gone"); }

asio::awaitable<std::string> services() {
  Bed bed(co_await asio::this_coro::executor);
  co_await bed.agent->wait_up();
  std::string said;
  auto all = [](MessageStream& from) -> asio::awaitable<std::string> {
    std::string text;
    while (const auto message = co_await from.read()) text += *message;
    co_return text;
  };
  auto statistics = co_await bed.agent->open_service("statistics");
  const std::string figures = co_await all(*statistics);
  for (const char* word : {"cpu ", "memory ", "disk ", "network "})
    said += ("\n" + figures).find(std::string("\n") + word) != std::string::npos ? word : "";
  auto sync = co_await bed.agent->open_service("sync " + bed.directory.path().string() + " /nonexistent");
  said += co_await all(*sync);
  auto clock = co_await bed.agent->open_service("clock");
  co_await clock->write("soon");
  const auto answer = co_await clock->read();
  said += answer.value_or("");
  co_await bed.end();
  const std::string path = bed.directory.path().string();
  said.replace(said.find(path), path.size(), "DIRECTORY");
  co_return said;
}
TEST(Agent, ServesFiguresDisksAndClock) {
  EXPECT_EQ(
      run(services()),
      "cpu memory disk network DIRECTORY ok\n/nonexistent error No such file or directory\nerror that is no time");
}

/// How many processes of this computer have the file open.
int holders(const fs::path& file) {
  int found = 0;
  for (const fs::path& process : list_folder("/proc"))
    for (std::error_code gone; const auto& one : fs::directory_iterator(process / "fd", gone)) {
      const fs::path target = fs::read_symlink(one, gone);
      found += target == file || target == file.string() + " (deleted)";
    }
  return found;
}

asio::awaitable<std::string> holding() {
  Bed bed(co_await asio::this_coro::executor);
  co_await bed.agent->wait_up();
  const fs::path file = bed.directory / "file", folder = bed.directory / "folder";
  write_atomically(file, "old");
  fs::create_directory(folder);
  auto hold = co_await bed.agent->open_service("hold");
  std::string said;
  auto until = [&](int wanted) -> asio::awaitable<void> {
    while (holders(file) != wanted) co_await sleep_for(5ms);
  };
  for (const fs::path& path : {folder, file, file, bed.directory / "missing"})
    co_await hold->write("+" + path.string());
  co_await until(1);
  said += holders(folder) == 0 ? "the file alone, " : "the folder too, ";
  fs::remove(file);
  said += holders(file) == 1 ? "after its removal, " : "";
  co_await hold->write("-" + file.string());
  co_await until(0);
  write_atomically(file, "new");
  co_await hold->write("+" + file.string());
  co_await until(1);
  hold.reset();
  co_await until(0);
  said += "until the end";
  co_await bed.end();
  co_return said;
}
TEST(Agent, HoldsFilesOpen) { EXPECT_EQ(run(holding(), 20s), "the file alone, after its removal, until the end"); }

asio::awaitable<StreamPtr> connect_unix(Bed& bed, std::string path) {
  for (;;) {
    Local::socket socket(bed.executor);
    co_await socket.async_connect(Local::endpoint(path), asio::use_awaitable);
    // A full queue is EAGAIN, after which Asio takes the socket, which is ready to be written to, for connected.
    error_code is_none;
    (void)socket.remote_endpoint(is_none);
    if (!is_none) co_return std::make_unique<SocketStream>(SocketStream::Socket(std::move(socket)));
    co_await sleep_for(5ms);
  }
}

asio::awaitable<std::string> taking() {
  Bed bed(co_await asio::this_coro::executor);
  co_await bed.agent->wait_up();
  const std::string path = (bed.directory / "made/for/it").string();
  auto listener = co_await bed.agent->listen("unix " + path);
  auto near = co_await connect_unix(bed, path);
  auto unwanted = co_await connect_unix(bed, path);
  auto far = co_await listener->take(co_await listener->next());
  co_await near->write(std::string_view("question"));
  co_await near->shutdown_write();
  std::string said = co_await read_to_end(*far);
  co_await far->write(std::string_view(" answer"));
  co_await far->shutdown_write();
  said += co_await read_to_end(*near);
  const auto arrival = co_await listener->next();
  co_await listener->drop(arrival);
  std::array<char, 8> space;
  said += ", dropped " + std::to_string(co_await unwanted->read_some(space));
  said += ", taken " + co_await failure_of(listener->take(arrival));
  auto waiting = co_await connect_unix(bed, path);
  co_await listener->next();
  listener.reset();
  said += ", over " + std::to_string(co_await waiting->read_some(space));
  said += fs::exists(path) ? " still there" : "";
  co_await bed.end();
  co_return said;
}
TEST(Agent, ListensAndHandsOverWhoConnects) {
  EXPECT_EQ(run(taking(), 20s),
            "question answer, dropped 0, taken guest_failed: who connected in the guest is gone: it is not waiting any "
            "more, over 0");
}

/// What comes back from `path` when it is asked by way of a listener of that kind.
asio::awaitable<std::string> asked_by(Agent& agent, Bed& bed, std::string path, StreamPtr near = nullptr) {
  auto listener = co_await agent.listen("kept " + path);
  if (!near) near = co_await connect_unix(bed, path);
  auto far = co_await listener->take(co_await listener->next());
  co_await far->write(std::string_view("answer"));
  co_return co_await read_exactly(*near, 6);
}

asio::awaitable<std::string> keeping() {
  Bed bed(co_await asio::this_coro::executor);
  co_await bed.agent->wait_up();
  const std::string path = (bed.directory / "kept").string();
  std::string said = co_await asked_by(*bed.agent, bed, path);
  co_await bed.agent->open_service("echo");  // an answer: the end of the listener has been heard before it
  struct stat first{}, second{};
  ::stat(path.c_str(), &first);
  auto early = co_await connect_unix(bed, path);  // while nobody listens for the host
  said += ", " + co_await asked_by(*bed.agent, bed, path, std::move(early));
  ::stat(path.c_str(), &second);
  said += first.st_ino == second.st_ino ? ", the same" : ", another";
  {
    auto listener = co_await bed.agent->listen("kept " + path);
    co_await listener->forget();
  }
  co_await bed.agent->open_service("echo");  // an answer: what was said before it has been heard
  said += fs::exists(path) ? ", still there" : ", gone";
  fs::create_directory(path);  // as Docker makes one of a path that is missing
  said += ", " + co_await asked_by(*bed.agent, bed, path);
  co_await bed.end();
  co_return said;
}
TEST(Agent, KeepsASocketThatIsToOutliveItsListener) {
  EXPECT_EQ(run(keeping(), 20s), "answer, answer, the same, gone, answer");
}

/// As systemd does it: a socket for sd_notify, and what was stored of the last agent as descriptors from 3 up.
asio::awaitable<std::string> storing() {
  const auto executor = co_await asio::this_coro::executor;
  TempDir directory;
  const std::string notify = (directory / "notify").string(), path = (directory / "kept").string();
  asio::local::datagram_protocol::socket systemd(executor, asio::local::datagram_protocol::endpoint(notify));
  auto start = [&](const std::string& prefix, std::vector<int> keep = {}) {
    Pair pair;
    Command command;
    command.keep = std::move(keep);
    command.argv = {"sh", "-c", prefix + "exec " COLIMA_LIKE_AGENT " --stdio"};
    command.environment = {"NOTIFY_SOCKET=" + notify};
    command.input = command.output = pair.theirs.get();
    return std::pair(Child::start(executor, command), Agent::start(executor, Transport(std::move(pair.ours))));
  };
  std::string said;
  UniqueFd stored;
  auto take = [&] {
    char text[256], space[CMSG_SPACE(sizeof(int))];
    iovec into{text, sizeof text};
    msghdr message{};
    message.msg_iov = &into;
    message.msg_iovlen = 1;
    message.msg_control = space;
    message.msg_controllen = sizeof space;
    const ssize_t got = ::recvmsg(systemd.native_handle(), &message, MSG_CMSG_CLOEXEC);
    said += std::string(text, std::max<ssize_t>(got, 0)).substr(0, 15) + " ";
    if (const cmsghdr* rights = CMSG_FIRSTHDR(&message); rights != nullptr) {
      int fd = -1;
      std::memcpy(&fd, CMSG_DATA(rights), sizeof fd);
      stored.reset(fd);
    }
  };
  auto [child, agent] = start("");
  co_await agent->wait_up();
  {
    const auto listener = co_await agent->listen("kept " + path);
  }
  take();
  take();
  child.kill(SIGKILL);
  agent->stop();
  co_await child.wait();
  Bed bed(executor);
  auto early = co_await connect_unix(bed, path);  // while there is no agent
  const std::string kept = std::to_string(stored.get());
  auto [next, other] = start("exec 3<&" + kept +
                                 "; LISTEN_FDS=1 LISTEN_PID=$$ LISTEN_FDNAMES=s1; "
                                 "export LISTEN_FDS LISTEN_PID LISTEN_FDNAMES; ",
                             {stored.get()});
  co_await other->wait_up();
  said += co_await asked_by(*other, bed, path, std::move(early));
  other->stop();
  co_await next.wait();
  co_await bed.end();
  co_return said;
}
TEST(Agent, HasSystemdKeepASocketForTheNextAgent) {
  EXPECT_EQ(run(storing(), 20s), "FDSTOREREMOVE=1 FDSTORE=1\nFDNAM answer");
}

/// The agent has mounts of its own, and so `at` is a path as it sees it.
asio::awaitable<std::string> covering() {
  const auto executor = co_await asio::this_coro::executor;
  Bed bed(executor);
  Pair pair;
  Command command;
  command.argv = {"unshare", "-m", "--propagation", "private", COLIMA_LIKE_AGENT, "--stdio"};
  command.input = command.output = pair.theirs.get();
  Child child = Child::start(executor, command);
  pair.theirs.reset();
  const auto agent = Agent::start(executor, Transport(std::move(pair.ours)));
  co_await agent->wait_up();
  // Two file systems, as in a guest: what is covered is of a share.
  TempDir share("/dev/shm");
  const std::string path = (bed.directory / "kept").string(), node = (share / "a node").string();
  const std::string seen = "/proc/" + std::to_string(child.pid()) + "/root" + node;
  std::string said;
  auto cover = co_await agent->open_service("cover " + path + " " + node);
  auto ask = [](MessageStream& of, std::string& into) -> asio::awaitable<void> {
    co_await of.write("look");
    into += (co_await of.read()).value_or("the end") + "; ";
  };
  co_await ask(*cover, said);
  auto listener = co_await agent->listen("kept " + path);
  co_await ask(*cover, said);
  std::ofstream(node) << "a file";
  co_await ask(*cover, said);
  fs::remove(node);
  std::optional<Local::acceptor> dead(std::in_place, executor, Local::endpoint(node));
  co_await ask(*cover, said);
  auto answers = [&]() -> asio::awaitable<void> {
    auto near = co_await connect_unix(bed, seen);
    auto far = co_await listener->take(co_await listener->next());
    co_await far->write(std::string_view("answer; "));
    said += co_await read_exactly(*near, 8);
  };
  co_await answers();
  fs::remove(node);  // the kernel takes the mount away, and a server has made another node there
  dead.emplace(executor, Local::endpoint(node));
  co_await ask(*cover, said);
  co_await answers();
  co_await cover->write("forget");
  said += (co_await cover->read()).value_or("the end") + "; ";
  struct stat bare{}, shown{};
  ::stat(node.c_str(), &bare);
  ::stat(seen.c_str(), &shown);
  said += bare.st_ino == shown.st_ino ? "bare" : "covered";
  agent->stop();
  co_await child.wait();
  co_await bed.end();
  boost::replace_all(said, path, "PATH");
  co_return said;
}
TEST(Agent, LaysASocketOverANodeOfAShare) {
  if (::geteuid() != 0) GTEST_SKIP() << "only root mounts";
  EXPECT_EQ(run(covering(), 20s),
            "error PATH: No such file or directory; error the guest does not see it: No such file or directory; "
            "error in the guest it is no socket; ok; answer; ok; answer; the end; bare");
}

asio::awaitable<std::string> crowd() {
  Bed bed(co_await asio::this_coro::executor);
  co_await bed.agent->wait_up();
  const std::string path = (bed.directory / "crowd").string();
  auto listener = co_await bed.agent->listen("unix " + path);
  std::vector<StreamPtr> near;
  constexpr int many = 200;  // more than the agent accepts before one is taken
  for (int i = 0; i < many; ++i) {
    near.push_back(co_await connect_unix(bed, path));
    co_await near.back()->write(std::string_view("x"));
  }
  std::string said;
  for (int i = 0; i < many; ++i) {
    auto far = co_await listener->take(co_await listener->next());
    said += co_await read_exactly(*far, 1);
  }
  co_await bed.end();
  co_return std::to_string(said.size());
}
TEST(Agent, TakesACrowdInTurns) { EXPECT_EQ(run(crowd(), 20s), "200"); }

asio::awaitable<std::string> listening_at_addresses() {
  Bed bed(co_await asio::this_coro::executor);
  co_await bed.agent->wait_up();
  using asio::ip::tcp;
  const std::uint16_t port =
      tcp::acceptor(bed.executor, tcp::endpoint(asio::ip::address_v4::loopback(), 0)).local_endpoint().port();
  const std::string number = std::to_string(port), where = "127.0.0.1 " + number;
  auto listener = co_await bed.agent->listen("tcp " + where);
  tcp::socket near(bed.executor);
  co_await near.async_connect(tcp::endpoint(asio::ip::address_v4::loopback(), port), asio::use_awaitable);
  const auto arrival = co_await listener->next();
  std::string said = arrival.address + (arrival.port == port ? ":port" : ":another port");
  said += ", twice " + co_await failure_of(bed.agent->listen("tcp " + where));
  said += ", file " + co_await failure_of(bed.agent->listen("unix " + (bed.directory / "").string()));
  auto answers = co_await bed.agent->open_service("listen udp " + where);
  using asio::ip::udp;
  udp::socket asking(bed.executor, udp::endpoint(asio::ip::address_v4::loopback(), 0));
  const udp::endpoint there(asio::ip::address_v4::loopback(), port);
  co_await asking.async_send_to(asio::buffer("a\nb", 3), there, asio::use_awaitable);
  const std::string question = (co_await answers->read()).value_or("");
  const std::string from = "127.0.0.1 " + std::to_string(asking.local_endpoint().port()) + "\n";
  said += question == from + "a\nb" ? ", asked" : ", not asked: " + question;
  co_await answers->write("no address\nlost");
  co_await answers->write(from + "answer");
  std::array<char, 32> space;
  const std::size_t got = co_await asking.async_receive(asio::buffer(space), asio::use_awaitable);
  said += ", " + std::string(space.data(), got);
  co_await bed.end();
  boost::replace_all(said, number, "PORT");
  boost::replace_all(said, bed.directory.path().string(), "DIRECTORY");
  co_return said;
}
TEST(Agent, ListensAtAddresses) {
  EXPECT_EQ(
      run(listening_at_addresses(), 20s),
      "127.0.0.1:port, twice guest_failed: the guest cannot listen at tcp 127.0.0.1 PORT: Address already in use, "
      "file guest_failed: the guest cannot listen at unix DIRECTORY/: Address already in use, asked, answer");
}

asio::awaitable<std::string> quiesced() {
  Bed bed(co_await asio::this_coro::executor);
  co_await bed.agent->wait_up();
  auto host = co_await bed.open();
  auto guest = co_await bed.accept();
  co_await bed.agent->quiesce();
  co_await guest->write(std::string_view("meanwhile"));
  bed.tasks.spawn("held", write_all(*host, "held"));
  co_await sleep_for(20ms);
  std::string said = bed.agent->usable() ? "usable" : "silent";
  bed.agent->resume();
  said += " " + co_await read_exactly(*host, 9);
  said += " " + co_await read_to_end(*guest);
  co_await bed.end();
  co_return said;
}
TEST(Agent, FallsSilentAndGoesOn) { EXPECT_EQ(run(quiesced()), "silent meanwhile held"); }

}  // namespace
}  // namespace cl::test
