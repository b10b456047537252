#include "vm/vz/cpio.hpp"

#include <gtest/gtest.h>

#include <sys/stat.h>

#include <cstdlib>

#include "src/base/child.hpp"
#include "src/base/file.hpp"
#include "tests/support/run.hpp"
#include "tests/support/temp_dir.hpp"

namespace cl {
namespace {

const std::vector<CpioFile> files{{"colima-like.hostkey", "a key\n"}, {"empty", ""}, {"odd", "12345"}};

TEST(Cpio, EveryPartBeginsAtAMultipleOfFourBytes) {
  const std::string archive = cpio_archive("credentials", files);
  EXPECT_EQ(archive.size() % 4, 0U);
  std::size_t entries = 0;
  for (auto at = archive.find("070701"); at != std::string::npos; at = archive.find("070701", at + 1)) {
    EXPECT_EQ(at % 4, 0U);
    ++entries;
  }
  EXPECT_EQ(entries, files.size() + 2);  // the directory and the trailer
  EXPECT_EQ(append_cpio("abcde", "archive"), std::string("abcde\0\0\0archive", 15));
  EXPECT_EQ(append_cpio("abcd", "archive"), "abcdarchive");
}

TEST(Cpio, IsReadByAnotherProgram) {
  test::TempDir directory;
  if (!find_program("busybox")) GTEST_SKIP() << "no busybox to read it with";
  write_atomically(directory / "archive", cpio_archive("credentials", files));
  auto work = [&]() -> asio::awaitable<Finished> {
    Command command;
    command.argv = {"busybox", "cpio", "-i", "-d"};
    command.directory = directory / "";
    co_return co_await run(command, read_file(directory / "archive"), std::chrono::seconds(10));
  };
  const Finished finished = test::run(work());
  EXPECT_TRUE(finished.status.ok()) << finished.errors;
  for (const CpioFile& file : files) {
    const auto path = directory / "credentials" / file.name;
    EXPECT_EQ(read_file(path), file.content) << file.name;
    struct stat facts{};
    ASSERT_EQ(::stat(path.c_str(), &facts), 0);
    EXPECT_EQ(facts.st_mode & 0777U, 0400U);
  }
}

}  // namespace
}  // namespace cl
