#pragma once

#include <cstdint>
#include <filesystem>
#include <vector>

/// Files with holes: a data disk of 60 GiB may hold 200 MB, and a copy of it must not take more.
namespace cl {

struct Extent {
  std::uint64_t offset = 0, length = 0;
  bool operator==(const Extent&) const = default;
};

/// Where an open file has data, ascending; the whole file on a file system that knows no holes. Throws Error{io}.
std::vector<Extent> data_extents(int fd);

/// Copies those bytes of an open file to the same place of another, whose path is for errors. Throws Error{io}.
void copy_extent(int from, int to, Extent extent, const std::filesystem::path& path);

/// Copies a file to a new one (0600) that has the same holes; as a reflink where the file system can. Made durable.
/// Throws Error{io}, also when `to` exists; what was written is then removed.
void copy_sparse(const std::filesystem::path& from, const std::filesystem::path& to);

}  // namespace cl
