#include "docker/context.hpp"

#include <gtest/gtest.h>

#include "tests/support/run.hpp"

namespace cl::docker {
namespace {

TEST(ContextName, IsThatOfTheProgramForTheDefaultProfile) {
  EXPECT_EQ(context_name("default"), "colima-like");
  EXPECT_EQ(context_name("work"), "colima-like-work");
}

TEST(HiddenBy, SaysNothingForAnEnvironmentThatDoesNotHide) {
  const std::string socket = "/home/me/.colima-like/default/docker.sock";
  EXPECT_FALSE(hidden_by({}, "colima-like", socket));
  EXPECT_FALSE(hidden_by({"PATH=/bin", "DOCKER_HOSTS=x", "DOCKER_HOST="}, "colima-like", socket));
  EXPECT_FALSE(hidden_by({"DOCKER_HOST=unix://" + socket}, "colima-like", socket));
  EXPECT_FALSE(hidden_by({"DOCKER_CONTEXT=colima-like"}, "colima-like", socket));
  EXPECT_FALSE(hidden_by({"DOCKER_HOST=unix://" + socket, "DOCKER_CONTEXT=other"}, "colima-like", socket))
      << "DOCKER_HOST wins, and it is ours";
}

TEST(HiddenBy, NamesTheVariableThatWins) {
  EXPECT_EQ(hidden_by({"DOCKER_CONTEXT=other", "DOCKER_HOST=tcp://1.2.3.4:2375"}, "colima-like", "/s"),
            "DOCKER_HOST=tcp://1.2.3.4:2375 is set, so docker does not use the context colima-like; "
            "'unset DOCKER_HOST' to use it");
  EXPECT_EQ(hidden_by({"DOCKER_CONTEXT=other"}, "colima-like", "/s"),
            "DOCKER_CONTEXT=other is set, so docker does not use the context colima-like; "
            "'unset DOCKER_CONTEXT' to use it");
}

TEST(Context, IsLeftAloneWithoutADockerCli) {
  Cli none;
  none.program = "/nonexistent/docker";
  EXPECT_FALSE(test::run(activate(none, "colima-like", "d", "/s")));
  EXPECT_FALSE(test::run(restore(none, "colima-like", "default")));
  EXPECT_FALSE(test::run(remove(none, "colima-like")));
}

}  // namespace
}  // namespace cl::docker
