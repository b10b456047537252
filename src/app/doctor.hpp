#pragma once

#include <boost/json/array.hpp>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "profiles/paths.hpp"
#include "profiles/shares.hpp"
#include "profiles/state.hpp"
#include "src/base/async.hpp"
#include "src/base/host.hpp"
#include "src/base/net/host_networks.hpp"

/// What `colima-like doctor` looks at. It changes nothing: it writes no file, starts no machine and wakes none.
namespace cl {

enum class Verdict { ok, warning, problem };
std::string_view to_string(Verdict verdict) noexcept;

/// One line of the report.
struct Finding {
  std::string subject;  ///< "qemu", "space", ...
  Verdict verdict = Verdict::ok;
  std::string text;
  std::string remedy;  ///< for what is not ok
};

/// The host and the profile, each check on its own: a failing one does not keep the others from being made.
struct Examination {
  std::vector<Finding> host;
  std::vector<Finding> profile;  ///< of a machine that runs or should
};
asio::awaitable<Examination> examine(Home home, std::string profile);

/// For the command line: {"host": [...], "profile": [...]}, each with subject, verdict, text, and remedy if any.
asio::awaitable<boost::json::object> doctor(Home home, std::string profile);

// The judgements, pure.

/// Space on the file system of `place`, where machines or images are kept.
Finding judge_space(const std::string& place, std::uint64_t free);
/// A home directory with these permission bits, which belongs to us or not.
Finding judge_home(const std::string& place, unsigned mode, bool ours);
/// Who runs this program. Nothing is to be said of an ordinary user.
std::optional<Finding> judge_user(unsigned uid);
/// An image that was made then (2025-01-31T12:00:00Z; another text says nothing), at `now`, in seconds since 1970: what
/// has been mended in Debian since is not in it.
Finding judge_image_age(const std::string& name, const std::string& created, std::int64_t now);
/// The library that speaks SSH, and why its process cannot be confined; empty: it can.
Finding judge_ssh(const std::string& library, const std::string& why_not);
/// One for each clash, else one that says that there is none. `name` is the profile's.
std::vector<Finding> judge_networks(const std::string& name, const Profile& profile, const HostFacts& host,
                                    const std::vector<HostNetwork>& networks);
/// What is hidden of these shares, and `why_not` where that cannot be.
Finding judge_hidden(const std::vector<Share>& plan, const std::string& why_not);
/// What the daemon says of the profile.
Finding judge_state(const Observed& seen);
std::vector<Finding> judge_platforms(const std::vector<PlatformState>& platforms);

}  // namespace cl
