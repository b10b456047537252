#pragma once

#include <string>

#include "src/base/byte_size.hpp"

namespace cl {

/// What a user can decide about a profile. Plain values; every default of the product is here and nowhere else.
/// The keys' names, meanings and rules are the table in profiles/keys.cpp.
struct Profile {
  int cpus = 2;
  ByteSize memory = ByteSize::gib(2);
  ByteSize disk = ByteSize::gib(60);  ///< the containers' data disk; a sparse file
  std::string arch = "host";          ///< "host", "x86_64" or "aarch64"
  std::string accel = "auto";         ///< "auto", "kvm", "hvf" or "tcg"
  std::string image = "docker";       ///< "docker", or "plain": Docker is then installed over SSH
  bool operator==(const Profile&) const = default;
};

/// One broken rule. All of them are reported at once, so that a user fixes everything in one go.
struct Problem {
  std::string where;    ///< "cpus", or "profile.yaml:3:7"
  std::string message;  ///< "must be a whole number from 1 to 8, not -3"
};

}  // namespace cl
