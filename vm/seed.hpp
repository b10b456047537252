#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "vm/image/recipe.hpp"

/// The seed disk of a machine that boots a distribution's cloud image: cloud-init's NoCloud.
namespace cl {

/// Who the guest is to be. Keys are the content of their files.
struct SeedFacts {
  std::string instance_id;  ///< the same at each boot: another would make cloud-init begin anew
  std::string host_name;
  std::string host_address;  ///< of this host, as the guest reaches it; empty: its default gateway
  std::string authorized_keys, host_private_key, host_public_key;
  std::string data_owner;                   ///< UUID in the data disk's header
  std::string shares;                       ///< host folders that it mounts by itself, a line each; may be empty
  std::pair<int, int> ports{32768, 60999};  ///< near ends of the guest's own connections
};

/// A file in the root directory of the seed disk.
struct SeedFile {
  std::string name;  ///< 1 to 13 characters of ASCII
  std::string bytes;
};

/// user-data, meta-data, and setup: the script that user-data runs. `ours` is the recipe of our own image and `foreign`
/// what a cloud image needs beside some files of it. Pure.
std::vector<SeedFile> seed_files(const SeedFacts& facts, const Recipe& ours, const Recipe& foreign);

/// A FAT12 file system of 1 MiB with the label CIDATA and these files. The same input gives the same bytes. Pure.
/// Throws Error{internal} when they do not fit.
std::string fat_disk(const std::vector<SeedFile>& files);

}  // namespace cl
