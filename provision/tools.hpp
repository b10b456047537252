#pragma once

#include <filesystem>
#include <functional>
#include <string>

#include "provision/guest.hpp"

/// nerdctl, BuildKit and CNI's plugins in the guest, below /usr/local, where their releases put them.
namespace cl {

/// What send_tools() was told of the archive that the guest's came from; empty when it has none, or not all of one.
asio::awaitable<std::string> tools_in_guest(Guest& guest);

/// Puts those of a nerdctl-full archive of this host into the guest; `digest` is remembered there once all are in
/// place. `sent` is told the bytes so far. Throws Error{guest_failed} when it is no such archive, or the guest takes it
/// not.
asio::awaitable<void> send_tools(Guest& guest, std::filesystem::path archive, std::string digest,
                                 std::function<void(std::uint64_t)> sent);

}  // namespace cl
