#include <fcntl.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <atomic>
#include <boost/json.hpp>
#include <fstream>
#include <thread>

#include "src/base/file.hpp"
#include "src/base/unique_fd.hpp"
#include "tests/e2e/sandbox.hpp"

// Unix sockets of this host in containers of one machine; the tests build on each other, in this order.

namespace cl::e2e {
namespace {

/// A program of this host that answers "NAME heard WHAT" on a socket, until it is destroyed; its node then stays.
class Server {
 public:
  Server(const fs::path& path, std::string name) : name_(std::move(name)) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    path.string().copy(address.sun_path, sizeof address.sun_path - 1);
    std::error_code ignored;
    fs::remove(path, ignored);
    socket_.reset(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    EXPECT_EQ(::bind(socket_.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0) << path;
    EXPECT_EQ(::listen(socket_.get(), 64), 0);
    thread_ = std::thread([this] { serve(); });
  }
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;
  ~Server() {
    ::shutdown(socket_.get(), SHUT_RDWR);
    thread_.join();
  }
  int connections() const { return connections_; }

 private:
  void serve() {
    for (;;) {
      const UniqueFd client(::accept4(socket_.get(), nullptr, nullptr, SOCK_CLOEXEC));
      if (!client) return;
      ++connections_;
      std::string said = name_ + " heard ";
      char space[1000];
      for (ssize_t got = 0; (got = ::read(client.get(), space, sizeof space)) > 0;)
        said.append(space, static_cast<std::size_t>(got));
      ::send(client.get(), said.data(), said.size(), MSG_NOSIGNAL);
    }
  }
  std::string name_;
  UniqueFd socket_;
  std::atomic<int> connections_{0};
  std::thread thread_;
};

class HostSockets : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    box = new Sandbox;
    fs::create_directories(user() / "work");
    agent = box->root() / "agent.sock";  // in no share
    auto running = std::shared_ptr<Process>(box->start({"ssh-agent", "-D", "-a", agent.string()}));
    box->on_exit([running] { running->signal(SIGKILL); });
    EXPECT_TRUE(eventually(20s, [] { return fs::exists(agent); }));
    box->set("SSH_AUTH_SOCK=" + agent.string());
    EXPECT_OK(
        box->run({"ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "a key", "-f", (box->root() / "key").string()}));
    EXPECT_OK(box->run({"ssh-add", (box->root() / "key").string()}));
    const Result started = box->cl({"start"}, {}, 1800s);
    intact = started.code == 0;
    EXPECT_OK(started);
    if (!intact) return;
    fs::copy_file(COLIMA_LIKE_ASK_SOCKET, box->busybox_tree() / "bin/ask_socket");
    box->import_busybox("box");
  }
  static void TearDownTestSuite() {
    server.reset();
    delete box;
  }
  void SetUp() override { ASSERT_TRUE(intact) << "an earlier step failed, this one stands on it"; }
  void TearDown() override { intact = intact && !HasFatalFailure(); }

  static fs::path user() { return box->root() / "user"; }
  static fs::path path() { return user() / "work/s.sock"; }
  static Result docker(std::vector<std::string> args, std::string_view input = {}) {
    return box->docker(std::move(args), input);
  }
  /// What a container reads that has `source` as /s and asks there.
  static Result asked(const fs::path& source, std::string_view question = "hello") {
    return docker({"run", "--rm", "-i", "-v", source.string() + ":/s", "box", "ask_socket", "/s"}, question);
  }
  /// Likewise the container that runs since the second test.
  static std::string asked_by_who_stays() {
    const Result answer = docker({"exec", "-i", "stays", "ask_socket", "/s"}, "again");
    return answer.out + answer.err;
  }
  static std::string keys_in_the_guest() {
    return box->cl({"ssh", "--", "SSH_AUTH_SOCK=/run/host-services/ssh-auth.sock ssh-add -l"}).out;
  }

  static Sandbox* box;
  static bool intact;
  static fs::path agent;
  static std::unique_ptr<Server> server;
};
Sandbox* HostSockets::box = nullptr;
bool HostSockets::intact = false;
fs::path HostSockets::agent;
std::unique_ptr<Server> HostSockets::server;

TEST_F(HostSockets, AreNotThereBeforeAContainerAsks) {
  server = std::make_unique<Server>(path(), "first");
  const Result guest = box->cl({"ssh", "--", "ls -A /run/colima-like/sockets /run/host-services"});
  EXPECT_EQ(guest.out, "") << guest;
  EXPECT_FALSE(box->status().contains("host_sockets"));
}

TEST_F(HostSockets, OfASharedFolderAnswerInAContainer) {
  const Result answer = asked(path());
  ASSERT_OK(answer);
  EXPECT_EQ(answer.out, "first heard hello");
  ASSERT_OK(docker({"run", "-d", "--name", "stays", "--restart", "always", "--init", "-v", path().string() + ":/s",
                    "box", "sleep", "1000000"}));
  EXPECT_EQ(asked_by_who_stays(), "first heard again");
  const auto status = box->status();
  const auto& sockets = status.at("host_sockets").as_array();
  ASSERT_EQ(sockets.size(), 1u);
  EXPECT_EQ(sockets[0].at("path").as_string(), path().string());
  EXPECT_FALSE(sockets[0].as_object().contains("problem")) << boost::json::serialize(sockets[0]);
  const Result mounted = docker(
      {"run", "--rm", "-i", "--mount", "type=bind,src=" + path().string() + ",dst=/s", "box", "ask_socket", "/s"},
      "mount");
  EXPECT_EQ(mounted.out, "first heard mount") << mounted;
}

TEST_F(HostSockets, TheAgentSignsInContainersAndInTheGuest) {
  // A request for the keys, and what is known of its answer: a length, 12, and one key.
  const std::string request("\0\0\0\1\13", 5);
  for (const fs::path& source : {fs::path("/run/host-services/ssh-auth.sock"), agent}) {
    const Result answer =
        docker({"run", "--rm", "-i", "-v", source.string() + ":/s", "box", "ask_socket", "/s", "10"}, request);
    ASSERT_OK(answer);
    ASSERT_GT(answer.out.size(), 9u);
    EXPECT_EQ(answer.out.substr(4, 5), std::string("\14\0\0\0\1", 5));
    EXPECT_NE(answer.out.find("a key"), std::string::npos);
  }
  EXPECT_NE(keys_in_the_guest().find("a key (ED25519)"), std::string::npos) << keys_in_the_guest();
}

TEST_F(HostSockets, AServerThatMadeItsSocketAnewIsReached) {
  server.reset();
  const Result nobody = asked(path());
  EXPECT_EQ(nobody.out, "") << "nobody listens";
  EXPECT_EQ(asked_by_who_stays().find("heard"), std::string::npos);
  server = std::make_unique<Server>(path(), "second");
  EXPECT_EQ(asked_by_who_stays(), "second heard again");
  const Result answer = asked(path());
  EXPECT_EQ(answer.out, "second heard hello") << answer;
  ASSERT_OK(docker({"restart", "-t", "0", "stays"}));
  EXPECT_EQ(asked_by_who_stays(), "second heard again");
}

TEST_F(HostSockets, OutliveASuspendTheAgentAndTheDaemon) {
  ASSERT_OK(box->cl({"suspend"}));
  EXPECT_EQ(asked_by_who_stays(), "second heard again");
  EXPECT_NE(keys_in_the_guest().find("a key (ED25519)"), std::string::npos);
  ASSERT_OK(box->cl({"ssh", "--", "pkill -9 -o -f 'colima-like.agent.*--ports'"}));
  EXPECT_TRUE(eventually(60s, [] { return asked_by_who_stays() == "second heard again"; })) << asked_by_who_stays();
  box->kill_daemons();
  ASSERT_OK(box->cl({"start"}));
  EXPECT_EQ(asked_by_who_stays(), "second heard again");
}

TEST_F(HostSockets, AContainerThatComesBackWithABootFindsThem) {
  ASSERT_OK(box->cl({"restart"}, {}, boot_limit));
  EXPECT_EQ(asked_by_who_stays(), "second heard again");
}

TEST_F(HostSockets, AreRefusedByNameWhereTheyCannotBe) {
  const fs::path outside = box->root() / "outside.sock";
  const Server other(outside, "other");
  const Result foreign = asked(outside);
  EXPECT_NE(foreign.code, 0);
  EXPECT_NE(foreign.err.find(outside.string() + " is a socket of this computer, and in no folder that is shared"),
            std::string::npos)
      << foreign;
  ASSERT_OK(box->cl({"config", "set", "host_sockets", "false"}));
  ASSERT_OK(box->cl({"apply"}));
  const Result off = asked(path());
  EXPECT_NE(off.code, 0);
  EXPECT_NE(off.err.find("the setting host_sockets is false"), std::string::npos) << off;
  EXPECT_EQ(asked_by_who_stays().find("heard"), std::string::npos);
  EXPECT_EQ(other.connections(), 0);
  ASSERT_OK(box->cl({"config", "unset", "host_sockets"}));
  ASSERT_OK(box->cl({"apply"}));
  EXPECT_EQ(asked(path()).out, "second heard hello");
}

}  // namespace
}  // namespace cl::e2e
