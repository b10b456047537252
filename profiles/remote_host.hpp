#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "profiles/profile.hpp"

/// A profile whose engine is on a host that SSH reaches (vm.driver: host): there is no machine that its settings could
/// shape, and what it may do there is less.
namespace cl {

/// What is wrong with an item of the key `hosts`: a name of ssh's own configuration, or ssh://[USER@]HOST[:PORT].
std::optional<std::string> wrong_remote_host(std::string_view text);

/// Rules of the whole profile: one host, Docker.
std::vector<Problem> check_remote_host(const Profile& profile);

/// Gives `profile` what it means there: published ports on loopback, no shares, no sleep. A key that `asked` for
/// something that a host has of its own is a problem that says what works instead.
void settle_remote_host(Profile& profile, const std::function<bool(std::string_view key)>& asked,
                        std::vector<Problem>& problems);

/// The profile's host, as ssh takes it.
std::string remote_host(const Profile& profile);

}  // namespace cl
