#include "src/daemon/services/runtime_watch.hpp"

#include <gtest/gtest.h>

namespace cl {
namespace {

TEST(RuntimeWatch, TellsAServiceThatFailedOrWasStoppedFromOneThatComesOrGoes) {
  EXPECT_EQ(unit_problem("docker.service", "docker.service failed failed exit-code"),
            "docker.service has failed (exit-code)");
  EXPECT_EQ(unit_problem("docker.service", "docker.service inactive dead success"), "docker.service is stopped");
  EXPECT_EQ(unit_problem("docker.service", "docker.service active running success"), "");
  EXPECT_EQ(unit_problem("docker.service", "docker.service activating auto-restart exit-code"), "");
  EXPECT_EQ(unit_problem("docker.service", "docker.service deactivating stop-sigterm success"), "");
  EXPECT_EQ(unit_problem("podman.socket", "podman.socket active listening success"), "");
  EXPECT_EQ(unit_problem("docker.service", "nonsense"), "");
  EXPECT_EQ(unit_problem("docker.service", "x;reboot failed failed exit-code"), "") << "nobody asked for that";
  EXPECT_EQ(unit_problem("docker.service", "docker.service failed failed \xff;x"), "docker.service has failed");
}

}  // namespace
}  // namespace cl
