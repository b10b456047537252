#include "src/app/other_tools.hpp"

#include <gtest/gtest.h>

#include <boost/asio/io_context.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <set>

#include "src/base/file.hpp"
#include "tests/support/temp_dir.hpp"

namespace cl {
namespace {

/// This computer, with the programs and folders that a test names; sockets are real ones.
struct Host : OtherTools {
  std::set<std::string, std::less<>> here;
  bool is_here(std::string_view name) const override { return here.contains(name); }
};

/// ~/.docker as docker's client and buildx write it.
class OtherToolsLeft : public testing::Test {
 protected:
  void write(const fs::path& file, const std::string& text) {
    fs::create_directories((dir_ / file).parent_path());
    write_atomically(dir_ / file, text);
  }
  void context(const std::string& name, const std::string& host) {
    write("contexts/meta/of-" + name + "/meta.json", R"({"Name":")" + name +
                                                         R"(","Metadata":{},"Endpoints":{"docker":{"Host":")" + host +
                                                         R"(","SkipTLSVerify":false}}})");
  }
  void builder(const std::string& name, const std::string& endpoint) {
    write("buildx/instances/" + name, R"({"Name":")" + name + R"(","Driver":"docker-container","Nodes":[{"Name":")" +
                                          name + R"(0","Endpoint":")" + endpoint +
                                          R"(","Platforms":null}],"Dynamic":false})");
  }
  std::vector<Finding> all() const { return judge_other_tools({dir_.path(), dir_ / "buildx"}, host_); }
  /// The one finding there is.
  Finding only() const {
    const auto found = all();
    EXPECT_EQ(found.size(), 1U);
    return found.empty() ? Finding{} : found.front();
  }
  std::string there(const std::string& file) const { return "unix://" + (dir_ / file).string(); }

  test::TempDir dir_;
  Host host_;
};

TEST_F(OtherToolsLeft, NothingIsSaidOfAnEmptyFolderAndOfWhatCannotBeRead) {
  EXPECT_TRUE(all().empty());
  write("config.json", "{ not json");
  write("contexts/meta/x/meta.json", "[]");
  write("buildx/instances/x", "");
  fs::create_directories(dir_ / "buildx/current");
  EXPECT_TRUE(all().empty());
}

TEST_F(OtherToolsLeft, AContextOfAToolThatIsGoneIsNamedWithItsRemoval) {
  context("colima", there(".colima/default/docker.sock"));
  const Finding left = only();
  EXPECT_EQ(left.verdict, Verdict::warning);
  EXPECT_NE(left.text.find("'colima' leads to unix://"), std::string::npos) << left.text;
  EXPECT_NE(left.text.find("left of Colima, which is not installed"), std::string::npos) << left.text;
  EXPECT_EQ(left.remedy, "docker context rm colima");
  write("config.json", R"({"currentContext":"colima"})");
  EXPECT_EQ(only().remedy, "docker context rm --force colima") << "docker refuses to remove the one that it uses";
}

TEST_F(OtherToolsLeft, EachToolIsKnownByItsSocketsAndByItsNames) {
  const std::vector<std::array<std::string, 3>> known{
      {"x", "/.colima/default/docker.sock", "Colima"},
      {"y", "/.lima/docker/sock/docker.sock", "Lima"},
      {"desktop-linux", "/.docker/desktop/docker.sock", "Docker Desktop"},
      {"orbstack", "/.orbstack/run/docker.sock", "OrbStack"},
      {"rancher-desktop", "/.rd/docker.sock", "Rancher Desktop"},
      {"podman-machine", "/else/api.sock", "Podman"}};
  for (const auto& [name, path, tool] : known) {
    context(name, there(path.substr(1)));
    EXPECT_NE(only().text.find("left of " + tool + ","), std::string::npos) << only().text;
    fs::remove_all(dir_ / "contexts");
  }
}

TEST_F(OtherToolsLeft, OneThatIsInstalledAndOffIsAWarningOnlyWhereDockerUsesIt) {
  host_.here = {"orb"};
  context("orbstack", there(".orbstack/run/docker.sock"));
  EXPECT_EQ(only().verdict, Verdict::ok);
  EXPECT_NE(only().text.find("OrbStack does not run"), std::string::npos) << only().text;
  write("config.json", R"({"currentContext":"orbstack"})");
  EXPECT_EQ(only().verdict, Verdict::warning);
  EXPECT_NE(only().remedy.find("start OrbStack"), std::string::npos) << only().remedy;
}

TEST_F(OtherToolsLeft, ASocketThatIsAnsweredAndAnotherComputerAreLeftAlone) {
  boost::asio::io_context io;
  const std::string path = (dir_ / "docker.sock").string();
  boost::asio::local::stream_protocol::acceptor listens(io, path);
  context("colima", "unix://" + path);
  context("far", "ssh://build@far");
  builder("b", "colima");
  builder("c", "far");
  builder("d", "default");
  builder("k", "kubernetes:///k?deployment=");
  EXPECT_TRUE(all().empty());
  listens.close();  // its file stays, as after a crash
  ASSERT_TRUE(fs::exists(path));
  EXPECT_EQ(all().size(), 2U) << "the context and the builder behind it";
}

TEST_F(OtherToolsLeft, AMachineOfOursThatIsStoppedIsNotLeftOverAndOneWhoseProfileIsGoneIs) {
  fs::create_directories(dir_ / "home/work");
  context("colima-like-work", there("home/work/docker.sock"));
  builder("b", "colima-like-work");
  EXPECT_TRUE(all().empty());
  fs::remove_all(dir_ / "home");
  EXPECT_EQ(only().remedy, "docker context rm colima-like-work");
  EXPECT_NE(only().text.find("of a profile that is gone"), std::string::npos) << only().text << " and not of Colima";
}

TEST_F(OtherToolsLeft, ABuilderBehindNobodyIsNamedAndSoIsThatBuildsUseIt) {
  builder("fast", "unix:///nowhere/.orbstack/run/docker.sock");
  EXPECT_EQ(only().verdict, Verdict::warning);
  EXPECT_EQ(only().remedy, "docker buildx rm fast");
  EXPECT_EQ(only().text.find("by which docker builds"), std::string::npos);
  write("buildx/current", R"({"Key":"another","Name":"fast","Global":false})");
  EXPECT_EQ(only().text.find("by which docker builds"), std::string::npos) << "chosen for another context";
  write("buildx/current", R"({"Key":"default","Name":"fast","Global":false})");
  EXPECT_NE(only().text.find("by which docker builds"), std::string::npos) << only().text;
  write("buildx/current", R"({"Key":"another","Name":"fast","Global":true})");
  EXPECT_NE(only().text.find("by which docker builds"), std::string::npos) << only().text;
}

TEST_F(OtherToolsLeft, ABuilderOfAContextThatWasRemovedIsNamed) {
  builder("desk", "desktop-linux");
  EXPECT_NE(only().text.find("the context 'desktop-linux', which is not there; it is left of Docker Desktop"),
            std::string::npos)
      << only().text;
}

TEST_F(OtherToolsLeft, AChosenBuilderThatIsNotThereIsNamed) {
  write("buildx/current", R"({"Key":"default","Name":"fast","Global":false})");
  EXPECT_EQ(only().remedy, "docker buildx use default");
  write("buildx/current", R"({"Key":"unix:///var/run/docker.sock","Name":"","Global":false})");
  EXPECT_TRUE(all().empty());
}

TEST_F(OtherToolsLeft, AHelperForPasswordsThatIsNotInstalledIsNamedOnce) {
  write("config.json", R"({"credsStore":"desktop","credHelpers":{"a.test":"desktop","b.test":"pass"}})");
  host_.here = {"docker-credential-pass"};
  EXPECT_NE(only().text.find("docker-credential-desktop"), std::string::npos) << only().text;
  EXPECT_NE(only().remedy.find("take 'desktop' out"), std::string::npos) << only().remedy;
  host_.here.insert("docker-credential-desktop");
  EXPECT_TRUE(all().empty());
}

TEST_F(OtherToolsLeft, APluginThatLeadsNowhereIsNamed) {
  write("cli-plugins/docker-scan", "#!/bin/sh\n");
  fs::create_symlink("docker-scan", dir_ / "cli-plugins/docker-scout");
  EXPECT_TRUE(all().empty());
  fs::create_symlink("/Applications/Docker.app/docker-compose", dir_ / "cli-plugins/docker-compose");
  EXPECT_NE(only().text.find("docker has no docker compose by it"), std::string::npos) << only().text;
}

}  // namespace
}  // namespace cl
