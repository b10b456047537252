#include <gtest/gtest.h>

#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>
#include <fstream>
#include <sstream>

#include "docker/context.hpp"
#include "src/base/child.hpp"
#include "tests/support/run.hpp"
#include "tests/support/temp_dir.hpp"

/// Contexts with the real docker CLI and a configuration of its own.
namespace cl::docker {
namespace {

using namespace std::chrono_literals;
using test::run;

class DockerContext : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!find_program("docker")) GTEST_SKIP() << "docker is not installed";
    fs::create_directory(config_);
    cli_.environment = {"DOCKER_CONFIG=" + config_.string(), "HOME=" + dir_.path().string(),
                        "DOCKER_HOST=tcp://192.0.2.1:2375", "DOCKER_CONTEXT=nonsense"};  // must not matter
  }
  void write_config(const std::string& text) { std::ofstream(config_ / "config.json") << text; }
  boost::json::object config() {
    return boost::json::parse(read_file_if_exists(config_ / "config.json").value_or("{}")).as_object();
  }
  std::string current() {
    const auto object = config();
    const auto* name = object.if_contains("currentContext");
    return name != nullptr ? std::string(name->as_string()) : "default";
  }
  /// What the docker CLI itself says.
  std::string docker(std::vector<std::string> arguments) {
    Command command;
    command.argv = {"docker"};
    command.argv.insert(command.argv.end(), arguments.begin(), arguments.end());
    command.environment = {"DOCKER_CONFIG=" + config_.string(), "DOCKER_HOST", "DOCKER_CONTEXT"};
    const Finished finished = run(cl::run(std::move(command), "", 30s), 40s);
    return finished.output + finished.errors;
  }
  /// "endpoint description", empty when there is no such context.
  std::string context(const std::string& name) {
    std::istringstream list(docker({"context", "ls", "--format", "{{.Name}}|{{.DockerEndpoint}} {{.Description}}"}));
    for (std::string line; std::getline(list, line);)
      if (line.starts_with(name + "|")) return line.substr(name.size() + 1);
    return {};
  }

  test::TempDir dir_;
  fs::path config_ = dir_ / "docker";
  Cli cli_;
};

TEST_F(DockerContext, IsCreatedAndActivatedAndRestored) {
  const auto first = run(activate(cli_, "colima-like", "colima-like: default", "/run/docker.sock"));
  ASSERT_TRUE(first);
  EXPECT_EQ(first->previous, "default");
  EXPECT_TRUE(first->changed);
  EXPECT_EQ(current(), "colima-like");
  EXPECT_EQ(context("colima-like"), "unix:///run/docker.sock colima-like: default");
  EXPECT_TRUE(run(restore(cli_, "colima-like", first->previous)));
  EXPECT_EQ(current(), "default");
  EXPECT_NE(context("colima-like"), "") << "a stopped profile keeps its context";
}

TEST_F(DockerContext, IsUpdatedWhenTheSocketMoved) {
  run(activate(cli_, "colima-like", "d", "/old.sock"));
  const auto again = run(activate(cli_, "colima-like", "d", "/old.sock"));
  EXPECT_EQ(again->previous, "colima-like");
  EXPECT_FALSE(again->changed);
  EXPECT_TRUE(run(activate(cli_, "colima-like", "d", "/new.sock"))->changed);
  EXPECT_EQ(context("colima-like"), "unix:///new.sock d");
  EXPECT_TRUE(run(activate(cli_, "colima-like", "e", "/new.sock"))->changed);
  EXPECT_EQ(context("colima-like"), "unix:///new.sock e");
}

TEST_F(DockerContext, TakesAnyPath) {
  for (const char* path : {"/run/a b,c/docker.sock", "/run/a \"b\"=c,d/docker.sock", "/run/a=b=c/docker.sock"}) {
    run(activate(cli_, "colima-like", "d", path));
    EXPECT_EQ(context("colima-like"), "unix://" + std::string(path) + " d");
    EXPECT_FALSE(run(activate(cli_, "colima-like", "d", path))->changed);
  }
}

TEST_F(DockerContext, ReturnsToTheOneBefore) {
  docker({"context", "create", "other", "--docker", "host=tcp://192.0.2.1:2375"});
  docker({"context", "use", "other"});
  const auto activated = run(activate(cli_, "colima-like", "d", "/s"));
  EXPECT_EQ(activated->previous, "other");
  EXPECT_TRUE(run(restore(cli_, "colima-like", "other")));
  EXPECT_EQ(current(), "other");
}

TEST_F(DockerContext, DoesNotOverruleAChoiceMadeSince) {
  docker({"context", "create", "other", "--docker", "host=tcp://192.0.2.1:2375"});
  run(activate(cli_, "colima-like", "d", "/s"));
  docker({"context", "use", "other"});
  EXPECT_FALSE(run(restore(cli_, "colima-like", "default")));
  EXPECT_EQ(current(), "other");
}

TEST_F(DockerContext, GoesToDefaultWhenTheOneBeforeIsGone) {
  docker({"context", "create", "other", "--docker", "host=tcp://192.0.2.1:2375"});
  docker({"context", "use", "other"});
  run(activate(cli_, "colima-like", "d", "/s"));
  docker({"context", "rm", "other"});
  EXPECT_TRUE(run(restore(cli_, "colima-like", "other")));
  EXPECT_EQ(current(), "default");
}

TEST_F(DockerContext, GoesBackToAnotherProfileOnlyWhileThatRuns) {
  const fs::path socket = dir_ / "first.sock";
  std::ofstream(socket).flush();
  run(activate(cli_, "colima-like", "d", socket));
  const auto second = run(activate(cli_, "colima-like-two", "d", dir_ / "second.sock"));
  EXPECT_EQ(second->previous, "colima-like");
  EXPECT_TRUE(run(restore(cli_, "colima-like-two", "colima-like")));
  EXPECT_EQ(current(), "colima-like");

  run(activate(cli_, "colima-like-two", "d", dir_ / "second.sock"));
  fs::remove(socket);
  EXPECT_TRUE(run(restore(cli_, "colima-like-two", "colima-like")));
  EXPECT_EQ(current(), "default");
}

TEST_F(DockerContext, IsRemovedAlsoWhenItIsCurrent) {
  run(activate(cli_, "colima-like", "d", "/s"));
  EXPECT_TRUE(run(remove(cli_, "colima-like")));
  EXPECT_EQ(current(), "default");
  EXPECT_EQ(context("colima-like"), "");
  EXPECT_FALSE(run(remove(cli_, "colima-like")));
}

TEST_F(DockerContext, KeepsTheUsersSettings) {
  write_config(R"({"auths":{"r.example":{"auth":"dTpw"}},"credsStore":"","psFormat":"{{.ID}}","detachKeys":"ctrl-x",
                   "HttpHeaders":{"X":"y"},"plugins":{"p":{"k":"v"}},"aliases":{"builder":"b"}})");
  const auto before = config();
  const auto activated = run(activate(cli_, "colima-like", "d", "/s"));
  run(restore(cli_, "colima-like", activated->previous));
  const auto after = config();
  for (const char* key : {"auths", "psFormat", "detachKeys", "HttpHeaders", "plugins", "aliases"}) {
    ASSERT_TRUE(after.contains(key)) << key;
    EXPECT_EQ(boost::json::serialize(after.at(key)), boost::json::serialize(before.at(key)));
  }
}

TEST_F(DockerContext, WorksWhenTheConfigurationNamesAContextThatIsGone) {
  write_config(R"({"currentContext":"gone"})");
  const auto activated = run(activate(cli_, "colima-like", "d", "/s"));
  ASSERT_TRUE(activated);
  EXPECT_EQ(activated->previous, "default");
  EXPECT_EQ(current(), "colima-like");
}

template <class T>
std::string error_of(asio::awaitable<T> work) {
  try {
    run(std::move(work));
  } catch (const Error& error) {
    return std::string(to_string(error.code())) + ": " + one_line(error);
  }
  return "no error";
}

TEST_F(DockerContext, LeavesAConfigurationAloneThatTheCliCannotRead) {
  write_config("precious, but not JSON");
  const std::string said = error_of(activate(cli_, "colima-like", "d", "/s"));
  EXPECT_NE(said.find("host_requirement: the docker CLI cannot read its own configuration: "), std::string::npos)
      << said;
  EXPECT_NE(said.find("config.json"), std::string::npos) << said;
  EXPECT_EQ(read_file(config_ / "config.json"), "precious, but not JSON");
}

TEST_F(DockerContext, SaysWhatTheCliSaidWhenItFails) {
  const std::string said = error_of(activate(cli_, "not a name", "d", "/s"));
  EXPECT_NE(said.find("host_requirement: 'docker -c default context create"), std::string::npos) << said;
  EXPECT_NE(said.find("not a name"), std::string::npos) << said;
}

}  // namespace
}  // namespace cl::docker
