#pragma once

#include <boost/json/object.hpp>

#include "src/base/async.hpp"

namespace cl {

/// What `version --json` tells: the version and commit, how it was built, the libraries in it, and the QEMU of this
/// host for its own architecture, as docs/schemas/version.json describes it. It asks QEMU for its version, which takes
/// some 20 ms.
asio::awaitable<boost::json::object> about();

}  // namespace cl
