#pragma once

#include <cstddef>
#include <string_view>

namespace cl {

/// How many ports the body of a call that creates a container or a service publishes. One number at several addresses
/// is one port; 0 for what is not understood.
std::size_t asked_ports(std::string_view body);

/// Throws Error{invalid_config} for one that could never run, since it publishes more ports than may be open at once.
/// It is told at creation: the engine would first set up each of them, which takes minutes for some thousands.
void check_asked_ports(std::string_view body, std::size_t limit);

}  // namespace cl
