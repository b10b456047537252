#include "vm/hash.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "src/base/file.hpp"
#include "src/base/unique_fd.hpp"
#include "tests/support/run.hpp"
#include "tests/support/temp_dir.hpp"

namespace cl {
namespace {

/// A file of `size` with `bytes` at `at`; the rest is a hole, or zeros that are really written.
void make_file(const std::filesystem::path& path, std::size_t size, std::size_t at, std::string_view bytes,
               bool sparse) {
  UniqueFd fd(::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600));
  if (!sparse) {
    const std::string zeros(size, '\0');
    ASSERT_EQ(::pwrite(fd.get(), zeros.data(), size, 0), static_cast<ssize_t>(size));
  }
  ASSERT_EQ(::ftruncate(fd.get(), static_cast<off_t>(size)), 0);
  ASSERT_EQ(::pwrite(fd.get(), bytes.data(), bytes.size(), static_cast<off_t>(at)), static_cast<ssize_t>(bytes.size()));
}

std::string digest(const std::filesystem::path& path) { return test::run(sparse_file_digest(path)); }

TEST(Hash, KnowsTheStandardsExample) {
  EXPECT_EQ(sha256_hex("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

TEST(SparseFileDigest, DoesNotDependOnHoles) {
  test::TempDir directory;
  make_file(directory / "sparse", 3 << 20, 1 << 20, "in the middle", true);
  make_file(directory / "full", 3 << 20, 1 << 20, "in the middle", false);
  EXPECT_LT(allocated_bytes(directory / "sparse"), allocated_bytes(directory / "full"));
  EXPECT_EQ(digest(directory / "sparse"), digest(directory / "full"));
}

TEST(SparseFileDigest, DependsOnContentPlaceAndSize) {
  test::TempDir directory;
  make_file(directory / "a", 1 << 20, 0, "text", true);
  make_file(directory / "content", 1 << 20, 0, "tExt", true);
  make_file(directory / "place", 1 << 20, 1 << 17, "text", true);
  make_file(directory / "size", (1 << 20) + 1, 0, "text", true);
  for (const char* other : {"content", "place", "size"}) EXPECT_NE(digest(directory / "a"), digest(directory / other));
}

TEST(SparseFileDigest, FailsForAMissingFile) {
  test::TempDir directory;
  EXPECT_THROW(digest(directory / "missing"), Error);
}

}  // namespace
}  // namespace cl
