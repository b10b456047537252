#include <gtest/gtest.h>

#include <csignal>
#include <string_view>

#include "src/base/confine.hpp"

namespace cl::test {
/// Set by who links it (ssh_lab.cpp).
int (*session_process)(const char* version) = nullptr;
}  // namespace cl::test

int main(int argc, char** argv) {
  if (argc > 2 && std::string_view(argv[1]) == "confine") return cl::run_confined(argc, argv);  // as src/main.cpp
  if (argc == 3 && std::string_view(argv[1]) == "ssh-session" && cl::test::session_process != nullptr)
    return cl::test::session_process(argv[2]);
  std::signal(SIGPIPE, SIG_IGN);  // as src/main.cpp does: a peer that is gone is an error to handle, not our end
  testing::InitGoogleTest(&argc, argv);
  return RUN_ALL_TESTS();
}
