#pragma once

#include <string_view>

namespace cl {

/// The agent for guests of an architecture ("x86_64", "aarch64"), as it was built with this program; empty when it was
/// not.
std::string_view agent_for(std::string_view architecture);
/// What those tell in their hello.
std::string_view agent_build();

}  // namespace cl
