#include <gtest/gtest.h>

#include <csignal>

int main(int argc, char** argv) {
  std::signal(SIGPIPE, SIG_IGN);  // as src/main.cpp does: a peer that is gone is an error to handle, not our end
  testing::InitGoogleTest(&argc, argv);
  return RUN_ALL_TESTS();
}
