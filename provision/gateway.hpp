#pragma once

#include <string>

#include "provision/guest.hpp"

namespace cl {

/// The guest's default gateway, where the host is that; waits some seconds for one. Empty when none came.
asio::awaitable<std::string> default_gateway(Guest& guest);

}  // namespace cl
