#pragma once

#include <optional>
#include <string>
#include <vector>

#include "profiles/profile.hpp"

/// What a profile's settings mean in the guest: files, as pure functions.
namespace cl {

/// A file that the guest must have; without the setting, what was there before comes back.
struct GuestFile {
  std::string path;
  std::string content;  ///< ends with a newline
  std::string reader;   ///< who must notice a change: "docker", "podman", "containerd", "trust" (CA certificates),
                        ///< "names", "egress" (each boot) or "none"
};

/// What the settings need of the host.
struct HostSide {
  std::string address;       ///< of the host, as the guest reaches it
  std::string certificates;  ///< PEM of registries.certificates, all together
};

/// Nothing for a profile with the defaults whose host has the address that the image knows.
std::vector<GuestFile> guest_files(const Profile& profile, const HostSide& host);

/// dockerd's daemon.json: the user's keys, and ours where they have none; lists of both. The image's own when the
/// settings say nothing and the host has the address that the image knows.
std::string daemon_json(const Profile& profile, const HostSide& host);

/// A proxy's URL as the guest must say it: a host that means "this very machine" there is the host's address.
std::string proxy_for_guest(const std::string& url, const std::string& host_address);

/// The profile's proxies as the guest and its containers must say them.
struct GuestProxies {
  std::string http, https;  ///< empty: none of that kind
  std::string none;         ///< what is reached without them
};
std::optional<GuestProxies> guest_proxies(const Profile& profile, const std::string& host_address);

/// The shell function `put_settings` that provision.sh calls, which hands each file to its `put READER PATH`.
std::string settings_script(const std::vector<GuestFile>& files);

/// The shell functions `after_boot` and `ready` that provision.sh calls, which hand each script to its `script`.
std::string own_scripts(const std::vector<Script>& scripts);

/// The certificates of the host's files ("host" is its own store), blocks of PEM alone.
/// Throws Error{not_found} or {invalid_config} that names the file.
std::string read_certificates(const std::vector<std::string>& files);

}  // namespace cl
