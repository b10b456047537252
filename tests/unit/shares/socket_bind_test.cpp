#include "src/shares/socket_bind.hpp"

#include <gtest/gtest.h>

#include <boost/asio/io_context.hpp>
#include <boost/asio/local/stream_protocol.hpp>

#include "src/base/error.hpp"
#include "tests/support/run.hpp"
#include "tests/support/temp_dir.hpp"

namespace cl {
namespace {

namespace fs = std::filesystem;
using Acceptor = asio::local::stream_protocol::acceptor;
using test::run;

/// Folders of this host, shared and not, with sockets in them.
class SocketBinds : public testing::Test {
 protected:
  SocketBinds() {
    for (const char* folder : {"share", "share/sub", "other", "seen", "own/default"})
      fs::create_directories(root_ / folder);
    rules_.binds.shared = {{root_ / "share", root_ / "share", ""}, {root_ / "seen", "/data", ""}};
    rules_.binds.socket = root_ / "own/default/docker.sock";
    rules_.own = root_ / "own";
  }
  fs::path listen(const fs::path& name) {
    const fs::path path = root_ / name;
    sockets_.emplace_back(io_, asio::local::stream_protocol::endpoint(path.string()));
    return path;
  }
  /// What is found: "HOST at GUEST" and what is special about it; "nothing"; or why it is refused.
  std::string found(const fs::path& source) {
    try {
      const auto bind = run(socket_bind(source.string(), rules_));
      if (!bind) return "nothing";
      EXPECT_EQ(bind->source, source);
      return short_(bind->host.string() + " at " + bind->guest + (bind->in_share ? " in share" : "") +
                    (bind->foreign ? " foreign" : ""));
    } catch (const Error& error) {
      return short_(one_line(error));
    }
  }
  std::string short_(std::string text) const {
    const std::string root = root_.string();
    for (auto at = text.find(root); at != std::string::npos; at = text.find(root)) text.replace(at, root.size(), "~");
    return text;
  }

  test::TempDir directory_;
  const fs::path root_ = fs::canonical(directory_.path());
  SocketRules rules_;
  asio::io_context io_;
  std::vector<Acceptor> sockets_;
};

TEST_F(SocketBinds, AreTheSocketsOfThisHostThatAShareShows) {
  listen("share/s.sock");
  listen("seen/s.sock");
  std::ofstream(root_ / "share/file") << "x";
  EXPECT_EQ(found(root_ / "share/s.sock"), "~/share/s.sock at ~/share/s.sock in share");
  EXPECT_EQ(found("/data/s.sock"), "~/seen/s.sock at /data/s.sock in share");
  EXPECT_EQ(found(root_ / "share/sub/../s.sock"), "~/share/s.sock at ~/share/s.sock in share");
  for (const fs::path& no : {root_ / "share/file", root_ / "share", root_ / "share/missing", fs::path("volume")})
    EXPECT_EQ(found(no), "nothing") << no;
  rules_.binds.shared[0].problem = "it is away";
  EXPECT_EQ(found(root_ / "share/s.sock"), "nothing") << "the check of binds says so";
}

TEST_F(SocketBinds, AreWhereTheirLinksLead) {
  listen("share/sub/s.sock");
  listen("other/o.sock");
  fs::create_symlink("sub/s.sock", root_ / "share/link");
  fs::create_symlink(root_ / "other/o.sock", root_ / "share/out");
  EXPECT_EQ(found(root_ / "share/link"), "~/share/sub/s.sock at ~/share/sub/s.sock in share");
  EXPECT_EQ(found(root_ / "share/out"), "nothing") << "the check of binds refuses a link out of every share";
  fs::create_symlink("/var/run/docker.sock", root_ / "share/docker");
  EXPECT_EQ(found(root_ / "share/docker"), "nothing") << "that is the engine's own";
}

TEST_F(SocketBinds, OfNoShareAreForeignUnlessTheyAreTheAgent) {
  const fs::path agent = listen("other/agent.7");
  EXPECT_EQ(found(agent), "~/other/agent.7 at ~/other/agent.7 foreign");
  rules_.agent = agent;
  EXPECT_EQ(found(agent), " at ~/other/agent.7");
  fs::create_symlink(agent, root_ / "share/agent");
  EXPECT_EQ(found(root_ / "share/agent"), " at ~/other/agent.7") << "in the guest the link leads there, too";
}

TEST_F(SocketBinds, TheAgentHasANameOfItsOwn) {
  const std::string name(agent_socket_name);
  EXPECT_EQ(
      found(name),
      name + " is the ssh agent of this computer's user: SSH_AUTH_SOCK was not set at any 'start' of this machine");
  rules_.agent = root_ / "other/agent.7";
  EXPECT_EQ(found(name), name +
                             " is the ssh agent of this computer's user: ~/other/agent.7, which it was at the last "
                             "'start', is no socket now");
  listen("other/agent.7");
  EXPECT_EQ(found(name), " at " + name);
}

TEST_F(SocketBinds, OfOurOwnAreRefused) {
  listen("own/default/qmp.sock");
  listen("own/default/docker.sock");
  rules_.binds.shared.push_back({root_, root_, ""});
  EXPECT_EQ(found(root_ / "own/default/qmp.sock"),
            "~/own/default/qmp.sock is a socket of colima-like itself: who has it has the machine, and more");
  EXPECT_EQ(found(root_ / "own/default/docker.sock"), "nothing") << "the guest has its engine's there";
  fs::create_symlink("own/default/qmp.sock", root_ / "innocent");
  EXPECT_NE(found(root_ / "innocent").find("is a socket of colima-like itself"), std::string::npos);
}

TEST_F(SocketBinds, AreInTheOutermostShareWhoseNamesTheGuestMayChange) {
  const std::vector<SharedFolder> shared{{"/a/b", "/a/b", ""}, {"/a", "/a", ""}, {"/c", "/x", ""}};
  EXPECT_EQ(shared_root("/a/b/s.sock", shared), "/a");
  EXPECT_EQ(shared_root("/c/s.sock", shared), "/c");
  EXPECT_EQ(shared_root("/x/s.sock", shared), "");
}

TEST(BindSources, AreWhatContainersAndServicesMountFromOutside) {
  EXPECT_EQ(bind_sources(R"({"HostConfig":{"Binds":["/a:/b:ro","v:/c","/d"],
                             "Mounts":[{"Type":"bind","Source":"/e","Target":"/f"},{"Type":"volume","Source":"w"}]}})"),
            (std::vector<std::string>{"/a", "v", "/e"}));
  EXPECT_EQ(bind_sources(R"({"TaskTemplate":{"ContainerSpec":{"Mounts":[{"Type":"bind","Source":"/g"}]}}})"),
            std::vector<std::string>{"/g"});
  EXPECT_TRUE(bind_sources("{").empty());
}

}  // namespace
}  // namespace cl
