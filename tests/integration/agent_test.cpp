#include <fcntl.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ip/udp.hpp>
#include <boost/asio/write.hpp>
#include <fstream>
#include <set>

#include "tests/integration/agent_bed.hpp"

// What the agent serves.
namespace cl::test {
namespace {

std::string pattern(std::size_t size) {
  std::string text(size, '\0');
  std::uint32_t number = 1;
  for (char& c : text) c = static_cast<char>((number = number * 1664525 + 1013904223) >> 24);
  return text;
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
