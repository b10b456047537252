#include <gtest/gtest.h>
#include <sys/stat.h>

#include <algorithm>
#include <cstdlib>

#include "src/base/file.hpp"
#include "tests/integration/fault_server.hpp"
#include "tests/support/run.hpp"
#include "tests/support/temp_dir.hpp"
#include "vm/hash.hpp"
#include "vm/image/disk_files.hpp"
#include "vm/image/image.hpp"

// From a file on a web server, or on this host, to an image in the cache.

namespace cl {
namespace {

using namespace std::chrono_literals;
using test::FaultServer;

class Fetches : public ::testing::Test {
 protected:
  Fetches() {
    // A PC's boot sector, and something in the middle of 32 MiB.
    std::string disk(32 << 20, '\0');
    disk.replace(0, 4, "boot");
    disk.replace(510, 2, "\x55\xaa");
    disk.replace(20 << 20, 6, "middle");
    write_atomically(raw(), disk);
  }
  std::string raw() const { return directory_ / "disk.raw"; }
  std::string qcow2() const { return directory_ / "disk.qcow2"; }
  void run(const std::string& command) { ASSERT_EQ(std::system(command.c_str()), 0) << command; }
  void make_qcow2(const std::string& options = "") {
    run("qemu-img convert -f raw -O qcow2 " + options + " " + raw() + " " + qcow2());
  }
  ImageCache cache() const { return ImageCache(directory_ / "images", Recipe({{"build.sh", "exit 1"}})); }
  ImageSource source(const std::string& location, const std::string& file) {
    return {"my disk.qcow2", "x86_64", {location}, {"sha512", test::run(file_digest(file, "sha512"))}};
  }
  Image fetch(ImageSource from) {
    ImageCache images = cache();
    FetchOptions options;
    options.first_pause = 5ms;
    return test::run(
        images.fetch(std::move(from), options, [this](std::string_view text) { said_ += std::string(text) + "\n"; }),
        60s);
  }
  Error failure(ImageSource from) {
    try {
      fetch(std::move(from));
    } catch (const Error& error) {
      return error;
    }
    return Error(Errc::internal, "it was made");
  }
  /// What is in a directory beside locks.
  std::vector<std::string> content(const fs::path& directory) const {
    std::vector<std::string> names;
    if (fs::exists(directory))
      for (const auto& entry : fs::directory_iterator(directory))
        if (entry.path().extension() != ".lock") names.push_back(entry.path().filename().string());
    return names;
  }
  void expect_nothing_left() {
    EXPECT_EQ(content(directory_ / "images"), std::vector<std::string>());
    EXPECT_EQ(content(directory_ / "downloads"), std::vector<std::string>());
  }

  test::TempDir directory_;
  std::string said_;
};

TEST_F(Fetches, AQcow2BecomesARawDiskThatIsReadOnly) {
  make_qcow2("-c");
  FaultServer server(qcow2());
  const ImageSource from = source(server.url("file"), qcow2());
  const Image image = fetch(from);
  EXPECT_TRUE(read_file(image.root) == read_file(raw()));
  EXPECT_LT(allocated_bytes(image.root), 4U << 20) << "sparse";
  struct stat facts{};
  ASSERT_EQ(::stat(image.root.c_str(), &facts), 0);
  EXPECT_EQ(facts.st_mode & 0777U, 0400U);
  EXPECT_EQ(image.name, "my-disk.qcow2-x86_64-" + from.digest.hex.substr(0, 12));
  EXPECT_EQ(image.boot, "bios");
  EXPECT_EQ(image.seed, "cloud-init");
  EXPECT_FALSE(image.provisioned);
  EXPECT_TRUE(image.kernel.empty());
  EXPECT_EQ(image.source, from.locations[0] + "#" + from.digest.str());
  EXPECT_EQ(content(directory_ / "images"), std::vector<std::string>{image.name});
  EXPECT_EQ(content(directory_ / "downloads"), std::vector<std::string>());
  EXPECT_EQ(fetch(from).digest, image.digest);
  EXPECT_EQ(server.requests(), "GET /file\n") << "the second time it is there";
  const auto listed = cache().list();
  ASSERT_EQ(listed.size(), 1U);
  EXPECT_EQ(listed[0].source, image.source);
  EXPECT_EQ(listed[0].problem, "");
}

TEST_F(Fetches, ARawDiskOnThisHostIsCopied) {
  const Image image = fetch(source(raw(), raw()));
  EXPECT_TRUE(read_file(image.root) == read_file(raw()));
  ImageSource other = source(raw(), raw());
  other.digest.hex.replace(0, 1, other.digest.hex[0] == '0' ? "1" : "0");
  const Error error = failure(other);
  EXPECT_NE(one_line(error).find("is not the file that was asked for"), std::string::npos) << one_line(error);
  EXPECT_EQ(failure(ImageSource{"x", "x86_64", {"/nowhere/x.raw"}, other.digest}).code(), Errc::not_found);
}

TEST_F(Fetches, OfTwoAtTheSameTimeOneWorks) {
  make_qcow2();
  FaultServer server(qcow2());
  const ImageSource from = source(server.url("slow=600000"), qcow2());
  ImageCache images = cache();
  std::string first, second;
  auto both = [&]() -> asio::awaitable<void> {
    auto executor = co_await asio::this_coro::executor;
    auto one = [&images, from](std::string& name) -> asio::awaitable<void> {
      ImageSource mine = from;
      const Image image = co_await images.fetch(std::move(mine), FetchOptions{}, {});
      name = image.name;
    };
    auto group = asio::experimental::make_parallel_group(asio::co_spawn(executor, one(first), asio::deferred),
                                                         asio::co_spawn(executor, one(second), asio::deferred));
    auto [order, a, b] = co_await group.async_wait(asio::experimental::wait_for_all(), asio::use_awaitable);
    if (a) std::rethrow_exception(a);
    if (b) std::rethrow_exception(b);
  };
  test::run(both(), 60s);
  EXPECT_EQ(first, second);
  EXPECT_FALSE(first.empty());
  EXPECT_EQ(std::count(server.requests().begin(), server.requests().end(), '\n'), 1) << server.requests();
}

TEST_F(Fetches, ADiskThatLeadsToOtherFilesOfThisHostIsRefused) {
  write_atomically(directory_ / "secret", std::string(1 << 20, 's'));
  run("qemu-img create -q -f qcow2 -F raw -b " + (directory_ / "secret").string() + " " + qcow2());
  {
    FaultServer server(qcow2());
    const Error error = failure(source(server.url("file"), qcow2()));
    EXPECT_EQ(error.code(), Errc::invalid_config);
    EXPECT_NE(one_line(error).find("an overlay on another file"), std::string::npos) << one_line(error);
    expect_nothing_left();
  }
  fs::remove(qcow2());
  run("qemu-img create -q -f qcow2 -o data_file=" + (directory_ / "data").string() + ",data_file_raw=on " + qcow2() +
      " 1M");
  FaultServer server(qcow2());
  const Error error = failure(source(server.url("file"), qcow2()));
  EXPECT_NE(one_line(error).find("lies in another file"), std::string::npos) << one_line(error);
  expect_nothing_left();
}

TEST_F(Fetches, NoProgramOpensADiskThatIsRefused) {
  make_qcow2();
  // As above, by hand: a name where none is looked for when the pointer is zero.
  std::string bytes = read_file(qcow2());
  bytes.replace(8, 8, std::string("\0\0\0\0\0\0\x02\0", 8));
  bytes.replace(16, 4, std::string("\0\0\0\x0b", 4));
  bytes.replace(512, 11, "/etc/passwd");
  write_atomically(qcow2(), bytes);
  const std::string path = std::getenv("PATH");
  // A qemu-img that leaves a trace.
  write_atomically(directory_ / "qemu-img", "#!/bin/sh\ntouch " + (directory_ / "opened").string() + "\nexit 1\n",
                   0700);
  ::setenv("PATH", (directory_.path().string() + ":" + path).c_str(), 1);
  const Error error = failure(source(qcow2(), qcow2()));
  ::setenv("PATH", path.c_str(), 1);
  EXPECT_NE(one_line(error).find("/etc/passwd"), std::string::npos) << one_line(error);
  EXPECT_FALSE(fs::exists(directory_ / "opened"));
}

TEST_F(Fetches, WhatIsNoDiskIsRefusedByWhatItIs) {
  for (const auto& [bytes, what] : {std::pair<std::string, std::string>{"<!DOCTYPE html><html>", "web page"},
                                    {std::string("\xfd") + "7zXZ rest", "compressed by xz"},
                                    {std::string(4096, '\0'), "neither a qcow2 nor a raw disk"}}) {
    write_atomically(directory_ / "odd", bytes);
    const Error error = failure(source(directory_ / "odd", directory_ / "odd"));
    EXPECT_EQ(error.code(), Errc::invalid_config);
    EXPECT_NE(one_line(error).find(what), std::string::npos) << one_line(error);
    expect_nothing_left();
  }
}

TEST_F(Fetches, ADiskOfAnotherArchitectureIsRefused) {
  ImageSource from = source(raw(), raw());
  from.arch = "aarch64";
  const Error error = failure(from);
  EXPECT_EQ(error.code(), Errc::invalid_config);
  EXPECT_NE(one_line(error).find("no image for aarch64 machines"), std::string::npos) << one_line(error);
  expect_nothing_left();
}

TEST_F(Fetches, AnUnpackingThatIsKilledLeavesNoImageAndThePart) {
  make_qcow2();
  const ImageSource from = source(qcow2(), qcow2());
  write_atomically(directory_ / "qemu-img",
                   "#!/bin/sh\nPATH='" + std::string(std::getenv("PATH")) +
                       "'\n[ $1 != measure ] || exec qemu-img \"$@\"\ntouch " + (directory_ / "begun").string() +
                       "\nexec sleep 5\n",
                   0700);
  const pid_t child = ::fork();
  if (child == 0) {
    ::setenv("PATH", (directory_.path().string() + ":" + std::getenv("PATH")).c_str(), 1);
    try {
      fetch(from);
    } catch (...) {
    }
    ::_exit(0);
  }
  for (int i = 0; i < 1000 && !fs::exists(directory_ / "begun"); ++i) ::usleep(10'000);  // until it unpacks
  ::kill(child, SIGKILL);
  ::waitpid(child, nullptr, 0);
  ASSERT_TRUE(fs::exists(directory_ / "begun"));
  for (const ImageEntry& entry : cache().list()) ADD_FAILURE() << entry.name;
  EXPECT_FALSE(content(directory_ / "downloads").empty());
  const Image image = fetch(from);
  EXPECT_EQ(content(directory_ / "images"), std::vector<std::string>{image.name}) << "what it left is swept";
}

TEST_F(Fetches, PruneTakesPartsThatNobodyGoesOnWith) {
  FaultServer server(raw());
  ImageSource from = source(server.url("status=500"), raw());
  from.locations = {server.url("drop=100-noranges")};
  EXPECT_EQ(failure(from).code(), Errc::io);
  EXPECT_EQ(content(directory_ / "downloads").size(), 2U);
  EXPECT_GT(cache().prune({}).count(), 0U);
  expect_nothing_left();
}

TEST_F(Fetches, ADamagedImageIsMadeAgain) {
  const ImageSource from = source(raw(), raw());
  const Image image = fetch(from);
  ::chmod(image.root.c_str(), 0600);
  std::string bytes = read_file(image.root);
  bytes[20 << 20] = 'M';
  write_atomically(image.root, bytes);
  ImageCache images = cache();
  ImageSource same = from;
  EXPECT_THROW(test::run(images.find_source(std::move(same))), Error);
  EXPECT_EQ(fetch(from).digest, image.digest);
}

}  // namespace
}  // namespace cl
