#include "vm/qemu/memory_file.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <string>

#include "src/base/file.hpp"
#include "src/base/sparse.hpp"
#include "tests/support/run.hpp"
#include "tests/support/temp_dir.hpp"

namespace cl {
namespace {

#ifdef __linux__

std::string bytes_at(int fd, std::uint64_t offset, std::size_t length) {
  std::string bytes(length, '\0');
  EXPECT_EQ(::pread(fd, bytes.data(), length, static_cast<off_t>(offset)), static_cast<ssize_t>(length));
  return bytes;
}

TEST(MemoryFile, ComesBackWithItsHolesAndWithoutWhatFollowsIt) {
  test::TempDir directory;
  const auto size = ByteSize::mib(64);
  const std::string page(4096, 'x'), devices = "what the devices are";
  const auto memory = std::make_shared<const UniqueFd>(make_memory_file(size));
  ASSERT_EQ(::pwrite(memory->get(), page.data(), page.size(), 0), 4096);
  ASSERT_EQ(::pwrite(memory->get(), page.data(), page.size(), 33 << 20), 4096);
  const auto path = directory.path() / "memory";
  write_atomically(path, "");
  fs::resize_file(path, size.count());
  {
    const UniqueFd file(::open(path.c_str(), O_WRONLY));
    ASSERT_EQ(::pwrite(file.get(), devices.data(), devices.size(), static_cast<off_t>(size.count())),
              static_cast<ssize_t>(devices.size()));
  }
  test::run(write_memory(memory, path));
  EXPECT_LT(allocated_bytes(path), 1u << 20) << "what the guest never touched takes no space";

  const auto again = std::make_shared<const UniqueFd>(make_memory_file(size));
  test::run(read_memory(path, again));
  EXPECT_EQ(size_of_memory(again->get()), size.count()) << "the devices are no memory";
  EXPECT_EQ(bytes_at(again->get(), 0, 4096), page);
  EXPECT_EQ(bytes_at(again->get(), 4096, 4096), std::string(4096, '\0'));
  EXPECT_EQ(bytes_at(again->get(), 33 << 20, 4096), page);
  std::uint64_t held = 0;
  for (const Extent& extent : data_extents(again->get())) held += extent.length;
  EXPECT_LT(held, 1u << 20);
}

TEST(MemoryFile, IsFoundInTheProcessThatHasIt) {
  EXPECT_FALSE(memory_file_of(::getpid()));
  const UniqueFd memory = make_memory_file(ByteSize::mib(1));
  ASSERT_EQ(::pwrite(memory.get(), "here", 4, 0), 4);
  const UniqueFd found = memory_file_of(::getpid());
  ASSERT_TRUE(found);
  EXPECT_EQ(bytes_at(found.get(), 0, 4), "here");
}

#endif

}  // namespace
}  // namespace cl
