#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace cl {

/// For an engine whose host is in a network of others: the body of a call that creates a container, with each published
/// port bound to 127.0.0.1 there; nothing when no port is bound to anything else. `target` is the call's. Throws
/// Error{invalid_config} for ports that the engine binds to every address whatever the call says: -P, a service's.
std::optional<std::string> with_ports_on_loopback(std::string_view target, const std::string& body);

/// The head of such a request, for a body of `size` bytes.
std::string head_for_body(std::string_view head, std::size_t size);

}  // namespace cl
