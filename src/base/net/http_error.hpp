#pragma once

#include <string>
#include <string_view>

#include "src/base/error.hpp"

namespace cl {

/// A whole answer to a client of the engine's API, which makes the docker CLI print "Error response from daemon: WHAT:
/// CAUSE. REMEDY". `status` is such as "503 Service Unavailable". The connection ends with it.
std::string http_error(std::string_view status, const Error& error);
/// The same with another message.
std::string http_error(std::string_view status, std::string_view message);

}  // namespace cl
