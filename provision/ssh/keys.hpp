#pragma once

#include <filesystem>
#include <string>

#include "src/base/async.hpp"

namespace cl {

/// The keys of one profile: ours to log in with, and the guest's own, which is put into it and pinned.
struct KeySet {
  std::filesystem::path private_key, public_key;            ///< id_ed25519, id_ed25519.pub
  std::filesystem::path host_private_key, host_public_key;  ///< ssh_host_ed25519_key, ssh_host_ed25519_key.pub
  std::filesystem::path authorized_keys;                    ///< what the guest accepts: one line, id_ed25519.pub
  std::string host_key;                                     ///< the line of host_public_key, for SshLogin
};

/// Makes in `directory` (0700) what is missing of a KeySet, with ssh-keygen; ed25519, no passphrase, files 0600.
/// A private key that is there is never replaced: a guest has been told its public half, which is derived again when it
/// is missing. Killed at any moment, the next call completes the work; so one caller at a time (the profile's lock).
/// Throws Error{host_requirement} without ssh-keygen, Error{io} when a key file cannot be read or written.
asio::awaitable<KeySet> ensure_keys(std::filesystem::path directory);

}  // namespace cl
