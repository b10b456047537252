#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <boost/algorithm/string/replace.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ip/udp.hpp>
#include <boost/asio/local/datagram_protocol.hpp>
#include <cstring>
#include <vector>

#include "tests/integration/agent_bed.hpp"

// Sockets of the guest that listen for the host.
namespace cl::test {
namespace {

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

}  // namespace
}  // namespace cl::test
