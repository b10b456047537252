#pragma once

#include <string_view>
#include <vector>

namespace cl {

/// The program for guests of an architecture, as it was built with this one.
struct EmbeddedAgent {
  std::string_view architecture;  ///< as uname says it: "x86_64", "aarch64"
  std::string_view sha256;        ///< of its bytes, 64 hex digits
  std::string_view bytes;
};

/// Those that were built: both, or where there was no cross compiler this computer's own.
std::vector<EmbeddedAgent> embedded_agents();
/// What they tell in their hello.
std::string_view agent_build();

}  // namespace cl
