#include "src/daemon/preparation.hpp"

#include <gtest/gtest.h>

#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>
#include <cstdlib>
#include <fstream>

#include "profiles/keys.hpp"
#include "src/app/images.hpp"
#include "src/base/file.hpp"
#include "tests/fakes/failing_files.hpp"
#include "tests/support/run.hpp"
#include "tests/support/temp_dir.hpp"
#include "vm/disk.hpp"
#include "vm/hash.hpp"

namespace cl {
namespace {

namespace json = boost::json;

/// Boots that are prepared and never done, of a driver with raw root disks, which needs no QEMU for it.
class Preparation : public ::testing::Test {
 protected:
  Preparation() {
    home_.profiles = directory_ / "home";
    home_.cache = directory_ / "cache";
    make_private_directory(home_.cache);
    paths_ = profile_paths(home_, "default");
    for (const fs::path& path : {home_.profiles, paths_.directory, paths_.log_directory}) make_private_directory(path);
    state_.profile.image = "debian-13";
    state_.profile.disk = ByteSize::mib(64);
    ::setenv("https_proxy", "http://127.0.0.1:1", 1);  // nothing may be asked for on a network
  }
  ~Preparation() override { ::unsetenv("https_proxy"); }

  Image downloaded(const std::string& content) {
    std::string disk(1 << 20, '\0');
    disk.replace(0, content.size(), content);
    disk.replace(510, 2, "\x55\xaa");
    const fs::path file = directory_ / "disk.raw";
    write_atomically(file, disk);
    const std::string arch = resolved_arch(state_.profile, host_facts());
    ImageSource source{"debian-13", arch, {file.string()}, {"sha256", test::run(file_digest(file, "sha256"))}};
    return test::run(image_cache(home_).fetch(std::move(source), FetchOptions{}, {}));
  }
  /// What the cache knows of an image is what `change` makes of it.
  template <class Change>
  void rewrite(const Image& image, Change change) {
    const fs::path manifest = image.root.parent_path() / "manifest.json";
    json::value all = json::parse(read_file(manifest));
    change(all.as_object());
    write_atomically(manifest, json::serialize(all));
  }
  bool root_begins_with(const std::string& content) const {
    std::string begin(content.size(), '\0');
    std::ifstream(paths_.raw_root_disk).read(begin.data(), static_cast<std::streamsize>(begin.size()));
    return begin == content;
  }
  BootPlan prepare(BootOptions options = {}) {
    DriverTraits driver;
    driver.raw_root = true;
    driver.always_hvf = true;
    auto work = [this, driver, options]() -> asio::awaitable<BootPlan> {
      const auto executor = co_await asio::this_coro::executor;
      const auto job = std::make_shared<Job>(executor, Job::Kind::start);
      co_return co_await prepare_boot(home_, paths_, state_, driver, *job, options);
    };
    return test::run(work());
  }

  test::TempDir directory_;
  Home home_;
  ProfilePaths paths_;
  State state_;
};

TEST_F(Preparation, ADiskThatIsNotOursIsLeftAloneAfterAFirstStartThatFailed) {
  downloaded("boot");
  prepare();
  ASSERT_FALSE(state_.data_ready);
  std::string partitions(1 << 20, '\0'), btrfs(1 << 20, '\0');
  partitions.replace(446, 4, "part").replace(510, 2, "\x55\xaa");
  btrfs.replace(65'536 + 64, 8, "_BHRfS_M");  // it has nothing before its superblock
  for (const std::string& disk : {"LUKS\xba\xbe" + std::string(8192, 'x'), "XFSB" + std::string(8192, '\0'),
                                  "QFI\xfb" + std::string(8192, '\0'), partitions, btrfs, std::string("a letter")}) {
    write_atomically(paths_.data_disk, disk);
    try {
      prepare();
      ADD_FAILURE() << "it was taken";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), Errc::io) << one_line(error);
      EXPECT_NE(error.remedy().find("it was not touched"), std::string::npos) << one_line(error);
    }
    EXPECT_TRUE(read_file(paths_.data_disk) == disk) << disk.substr(0, 4) << ": it was touched";
  }
}

TEST_F(Preparation, ADiskThatAKilledFormattingLeftIsMadeAgain) {
  downloaded("boot");
  prepare();
  write_atomically(paths_.data_disk, std::string(1 << 20, '\0'));  // mke2fs has cleared the header
  prepare();
  const DataDisk disk = inspect_data_disk(paths_.data_disk);
  EXPECT_EQ(disk.kind, DataDiskKind::ours);
  EXPECT_EQ(disk.owner, state_.data_owner);
  EXPECT_EQ(disk.size, state_.profile.disk);
  // Once the guest has mounted it, it holds data, and nothing explains that.
  state_.data_ready = true;
  write_atomically(paths_.data_disk, std::string(1 << 20, '\0'));
  EXPECT_THROW(prepare(), Error);
  EXPECT_EQ(fs::file_size(paths_.data_disk), 1U << 20);
}

TEST_F(Preparation, ADataDiskThatIsGoneIsNotReplacedUnasked) {
  downloaded("boot");
  prepare();
  state_.data_ready = true;
  const std::string owner = state_.data_owner;
  const fs::path away = directory_ / "external" / "data.raw", kept = directory_ / "kept.raw";
  fs::rename(paths_.data_disk, kept);
  fs::create_symlink(away, paths_.data_disk);
  try {
    prepare();
    ADD_FAILURE() << "an empty one was made";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Errc::not_found);
    EXPECT_STREQ(error.what(), "the data disk of profile 'default' is gone");
    EXPECT_EQ(error.cause(), "there is no file at " + paths_.data_disk.string() + ", a link to " + away.string());
  }
  EXPECT_FALSE(fs::exists(away));
  EXPECT_EQ(state_.data_owner, owner);
  fs::remove(paths_.data_disk);
  prepare({.allow_new_data = true});
  EXPECT_EQ(inspect_data_disk(paths_.data_disk).kind, DataDiskKind::ours);
  EXPECT_FALSE(state_.data_ready);
  // It was found again.
  state_.data_ready = true;
  fs::rename(kept, paths_.data_disk);
  prepare();
  EXPECT_EQ(inspect_data_disk(paths_.data_disk).owner, owner);
}

TEST_F(Preparation, WhatIsThereIsNotWrittenAgainSoAFullDiskKeepsNobodyFromResuming) {
  downloaded("boot");
  prepare();
  const test::FailingFiles full(directory_.path(), 1, ENOSPC, test::FailingFiles::Mode::from_on);
  EXPECT_NO_THROW(prepare());
  EXPECT_EQ(full.calls(), 0);
}

TEST_F(Preparation, ARawRootDiskKeepsItsImageThoughANewerOneIsThere) {
  const Image old = downloaded("old");
  rewrite(old, [](json::object& manifest) { manifest["created"] = "2000-01-01T00:00:00Z"; });
  prepare();
  EXPECT_EQ(state_.image_digest, old.digest);
  ASSERT_NE(downloaded("recent").digest, old.digest);
  prepare();
  EXPECT_EQ(state_.image_digest, old.digest);
  EXPECT_TRUE(root_begins_with("old"));
  // The next machine has the newer one.
  fs::remove(paths_.raw_root_disk);
  prepare();
  EXPECT_TRUE(root_begins_with("recent"));
}

TEST_F(Preparation, ARawRootDiskIsAsLargeAsItsImageAtLeast) {
  downloaded("small");
  prepare();
  EXPECT_EQ(fs::file_size(paths_.raw_root_disk), ByteSize::gib(16).count());
  fs::remove(paths_.raw_root_disk);
  fs::remove_all(home_.cache);
  make_private_directory(home_.cache);
  const Image large = downloaded("large");
  constexpr std::uint64_t size = ByteSize::gib(17).count();
  // As if it had been so large when it was hashed.
  const auto time = fs::last_write_time(large.root);
  fs::resize_file(large.root, size);
  fs::last_write_time(large.root, time);
  rewrite(large, [](json::object& manifest) { manifest["files"].as_object()["root.raw"].as_object()["size"] = size; });
  prepare();
  EXPECT_EQ(fs::file_size(paths_.raw_root_disk), size);
}

}  // namespace
}  // namespace cl
