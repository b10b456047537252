#include "vm/image/image.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>

#include "src/base/file.hpp"
#include "src/base/file_lock.hpp"
#include "src/base/unique_fd.hpp"
#include "tests/support/run.hpp"
#include "tests/support/temp_dir.hpp"

namespace cl {
namespace {

using namespace std::chrono_literals;
namespace fs = std::filesystem;

/// Writes what a recipe has to write, and counts its runs.
std::string good_script(const fs::path& counter) {
  return "set -e\necho run >> " + counter.string() +
         "\necho '@phase making it'\n"
         "echo \"root of $VARIANT\" > \"$OUT/root.raw\"\ntruncate -s 4M \"$OUT/root.raw\"\n"
         "echo kernel > \"$OUT/kernel\"\necho initrd > \"$OUT/initrd\"\n"
         "printf 'kernel_version=6.12\\ndocker_version=26\\ncmdline=root=/dev/vda rw\\n' > \"$OUT/manifest.txt\"\n";
}

Recipe recipe(std::string script) { return Recipe({{"build.sh", std::move(script)}, {"rootfs/etc/file", "text"}}); }

class Images : public ::testing::Test {
 protected:
  fs::path directory() const { return home_ / "images"; }
  ImageCache cache() const { return ImageCache(directory(), recipe(good_script(home_ / "runs"))); }
  Image build(ImageCache images) {
    ImageKey key = key_;
    BuildOptions options = options_;
    return test::run(images.build(std::move(key), std::move(options), {}));
  }
  std::optional<Image> find(ImageCache images) {
    ImageKey key = key_;
    return test::run(images.find(std::move(key)));
  }
  Error failure(ImageCache images) {
    try {
      build(std::move(images));
    } catch (const Error& error) {
      return error;
    }
    return Error(Errc::internal, "it was built");
  }
  std::size_t runs() const {
    const std::string all = read_file_if_exists(home_ / "runs").value_or("");
    return static_cast<std::size_t>(std::count(all.begin(), all.end(), '\n'));
  }
  /// What is in the cache beside locks.
  std::vector<std::string> content() const {
    std::vector<std::string> names;
    for (const auto& entry : fs::directory_iterator(directory()))
      if (entry.path().extension() != ".lock") names.push_back(entry.path().filename().string());
    return names;
  }
  static void overwrite(const fs::path& path, std::string_view bytes) {
    ::chmod(path.c_str(), 0600);
    UniqueFd fd(::open(path.c_str(), O_WRONLY));
    ASSERT_EQ(::write(fd.get(), bytes.data(), bytes.size()), static_cast<ssize_t>(bytes.size()));
  }

  test::TempDir home_;
  ImageKey key_{"x86_64"};
  BuildOptions options_{"http://mirror.invalid", 60s, ByteSize()};
};

TEST_F(Images, AreBuiltOnceAndFoundAfterwards) {
  EXPECT_FALSE(find(cache()));
  const Image built = build(cache());
  const auto found = find(cache());
  ASSERT_TRUE(found);
  build(cache());
  EXPECT_EQ(runs(), 1U);
  EXPECT_EQ(found->digest, built.digest);
  EXPECT_EQ(found->name, cache().name_of(key_));
  EXPECT_TRUE(found->name.starts_with("trixie-docker-x86_64-")) << found->name;
  EXPECT_EQ(found->kernel_arguments, "root=/dev/vda rw");
  EXPECT_EQ(found->versions.at("docker_version"), "26");
  EXPECT_EQ(read_file(found->kernel), "kernel\n");
  EXPECT_EQ(content(), std::vector<std::string>{found->name});
}

// Colima's R16: its test for a cached image never matched.
TEST_F(Images, ColimaDefectR16_AnImageThatIsThereIsNotMadeAgain) {
  const Image built = build(cache());
  EXPECT_EQ(build(cache()).root, built.root);
  EXPECT_EQ(runs(), 1U);
}

TEST_F(Images, AreReadOnlyAndPrivate) {
  const Image image = build(cache());
  struct stat facts{};
  ASSERT_EQ(::stat(image.root.c_str(), &facts), 0);
  EXPECT_EQ(facts.st_mode & 07777, 0400U);
  ASSERT_EQ(::stat(image.root.parent_path().c_str(), &facts), 0);
  EXPECT_EQ(facts.st_mode & 07777, 0700U);
}

TEST_F(Images, OfOtherVariantsAndRecipesAreOthers) {
  const std::string name = cache().name_of(key_);
  key_.variant = "plain";
  EXPECT_NE(cache().name_of(key_), name);
  key_.variant = "docker";
  ImageCache other(directory(), recipe("exit 1\n"));
  EXPECT_NE(other.name_of(key_), name);
  EXPECT_FALSE(find(other));
}

TEST_F(Images, AreFoundByDigestWhateverRecipeMadeThem) {
  const Image image = build(cache());
  ImageCache other(directory(), recipe("exit 1\n"));
  const auto found = test::run(other.find_digest(image.digest));
  ASSERT_TRUE(found);
  EXPECT_EQ(found->root, image.root);
  EXPECT_FALSE(test::run(other.find_digest("0000")));
}

TEST_F(Images, WithChangedContentAreNeverUsed) {
  const Image image = build(cache());
  overwrite(image.root, "changed");
  EXPECT_THROW(find(cache()), Error);
  EXPECT_THROW(test::run(cache().find_digest(image.digest)), Error);
  build(cache());
  EXPECT_EQ(runs(), 2U) << "a build replaces it";
  EXPECT_TRUE(find(cache()));
  EXPECT_EQ(content().size(), 1U);
}

TEST_F(Images, ThatWereOnlyTouchedAreHashedOnceAndKept) {
  const Image image = build(cache());
  const auto later = fs::last_write_time(image.root) + 1h;
  fs::last_write_time(image.root, later);
  int checks = 0;
  auto count = [&](std::string_view) { ++checks; };
  for (int i = 0; i < 2; ++i) {
    ImageKey key = key_;
    OnPhase on_phase = count;
    EXPECT_TRUE(test::run(cache().find(std::move(key), std::move(on_phase))));
  }
  EXPECT_EQ(checks, 1);
}

TEST_F(Images, WithMissingPartsOrAForgedManifestAreDamaged) {
  const Image image = build(cache());
  fs::rename(image.kernel, home_ / "kernel");
  EXPECT_THROW(find(cache()), Error);
  fs::rename(home_ / "kernel", image.kernel);
  EXPECT_TRUE(find(cache()));
  const fs::path manifest = image.root.parent_path() / "manifest.json";
  std::string text = read_file(manifest);
  text.replace(text.find(image.digest), 4, "ffff");
  write_atomically(manifest, text, 0400);
  EXPECT_THROW(find(cache()), Error);
  write_atomically(manifest, "{", 0400);
  EXPECT_THROW(find(cache()), Error);
}

TEST_F(Images, AFailedBuildLeavesOnlyItsLog) {
  ImageCache images(directory(), recipe("echo half > \"$OUT/root.raw\"; echo 'it broke' >&2; exit 7\n"));
  const Error error = failure(images);
  EXPECT_EQ(error.code(), Errc::io);
  EXPECT_NE(error.cause().find("it broke"), std::string::npos);
  const std::string log = images.name_of(key_) + ".build.log";
  EXPECT_EQ(content(), std::vector<std::string>{log});
  EXPECT_EQ(error.remedy(), "all messages are in " + (directory() / log).string());
  EXPECT_FALSE(find(images));
}

TEST_F(Images, ARecipeThatForgetsAFileIsNoImage) {
  ImageCache images(directory(), recipe("echo x > \"$OUT/root.raw\"; echo > \"$OUT/manifest.txt\"\n"));
  EXPECT_STREQ(failure(images).what(), "the image recipe wrote no kernel");
  EXPECT_FALSE(find(images));
}

TEST_F(Images, AreNotBuiltWithoutSpace) {
  options_.least_free_space = ByteSize::gib(1 << 20);
  EXPECT_EQ(failure(cache()).code(), Errc::host_requirement);
  EXPECT_EQ(runs(), 0U);
}

TEST_F(Images, WhatAKilledBuilderLeftIsSweptByTheNextBuild) {
  fs::create_directories(directory());
  ::chmod(directory().c_str(), 0700);
  const fs::path left = directory() / ("tmp-" + cache().name_of(key_) + "-AAAAAA");
  fs::create_directories(left / "image");
  write_atomically(left / "image/root.raw", "half");
  EXPECT_FALSE(find(cache())) << "a half image was taken for one";
  const Image image = build(cache());
  EXPECT_EQ(content(), std::vector<std::string>{image.name});
}

TEST_F(Images, AreBuiltOnceByTwoBuildersAtTheSameTime) {
  auto both = [&]() -> asio::awaitable<int> {
    auto executor = co_await asio::this_coro::executor;
    ImageCache first = cache(), second = cache();
    int waited = 0;
    auto count = [&](std::string_view phase) { waited += phase.starts_with("waiting for whoever"); };
    ImageKey key1 = key_, key2 = key_;
    BuildOptions options1 = options_, options2 = options_;
    auto one = first.build(std::move(key1), std::move(options1), count);
    auto two = second.build(std::move(key2), std::move(options2), count);
    auto group = asio::experimental::make_parallel_group(asio::co_spawn(executor, std::move(one), asio::deferred),
                                                         asio::co_spawn(executor, std::move(two), asio::deferred));
    auto [order, e1, image1, e2, image2] =
        co_await group.async_wait(asio::experimental::wait_for_all(), asio::use_awaitable);
    EXPECT_FALSE(e1 || e2);
    EXPECT_EQ(image1.digest, image2.digest);
    co_return waited;
  };
  EXPECT_EQ(test::run(both()), 1);
  EXPECT_EQ(runs(), 1U);
}

TEST_F(Images, ACancelledBuildLeavesNothing) {
  ImageCache images(directory(), recipe("echo half > \"$OUT/root.raw\"\necho '@phase here'\nexec sleep 1000\n"));
  auto work = [&]() -> asio::awaitable<bool> {
    auto executor = co_await asio::this_coro::executor;
    Event here(executor);
    OnPhase on_phase = [&](std::string_view phase) {
      if (phase == "here") here.set();
    };
    ImageKey key = key_;
    BuildOptions options = options_;
    auto building = images.build(std::move(key), std::move(options), std::move(on_phase));
    auto race = asio::experimental::make_parallel_group(asio::co_spawn(executor, std::move(building), asio::deferred),
                                                        asio::co_spawn(executor, here.wait(), asio::deferred));
    auto [order, failure, image, unused] =
        co_await race.async_wait(asio::experimental::wait_for_one(), asio::use_awaitable);
    co_return order[0] == 1 && failure;
  };
  EXPECT_TRUE(test::run(work()));
  EXPECT_TRUE(content().empty());
}

TEST_F(Images, AreListedWithWhatIsWrongWithThem) {
  EXPECT_TRUE(cache().list().empty());
  const Image image = build(cache());
  auto entries = cache().list();
  ASSERT_EQ(entries.size(), 1U);
  EXPECT_EQ(entries[0].digest, image.digest);
  EXPECT_TRUE(entries[0].problem.empty());
  EXPECT_GT(entries[0].allocated.count(), 0U);
  fs::remove(image.kernel);
  EXPECT_EQ(cache().list().at(0).problem, "kernel is missing");
}

TEST_F(Images, InUseAreNeverPruned) {
  const Image docker = build(cache());
  key_.variant = "plain";
  const Image plain = build(cache());
  EXPECT_GT(cache().prune({docker.digest}).count(), 0U);
  EXPECT_EQ(content(), std::vector<std::string>{docker.name});
  EXPECT_EQ(cache().prune({docker.digest}).count(), 0U);
  EXPECT_TRUE(fs::exists(docker.root));
}

TEST_F(Images, ThatCannotBeNamedStayWhileAnybodyMayNeedThem) {
  const Image image = build(cache());
  write_atomically(image.root.parent_path() / "manifest.json", "unreadable", 0400);
  cache().prune({image.digest});
  EXPECT_TRUE(fs::exists(image.root));
  cache().prune({});
  EXPECT_TRUE(content().empty());
}

TEST_F(Images, PruneLeavesARunningBuildAloneAndRemovesWhatADeadOneLeft) {
  fs::create_directories(directory());
  ::chmod(directory().c_str(), 0700);
  const std::string name = cache().name_of(key_);
  fs::create_directories(directory() / ("tmp-" + name + "-AAAAAA"));
  auto lock = FileLock::try_acquire(directory() / (name + ".lock"));
  cache().prune({});
  EXPECT_EQ(content().size(), 1U);
  lock.reset();
  cache().prune({});
  EXPECT_TRUE(content().empty());
}

TEST(Recipe, WhatIsBesideItMakesNoOtherImage) {
  test::TempDir directory;
  Recipe plain = recipe("exit 0"), furnished = recipe("exit 0");
  furnished.add_beside({"agent/x86_64", "program"});
  EXPECT_EQ(furnished.digest(), plain.digest());
  EXPECT_EQ(furnished.files().size(), plain.files().size());
  furnished.unpack(directory.path());
  EXPECT_EQ(read_file(directory / "agent/x86_64"), "program");
}

TEST(BuiltInRecipe, HoldsTheFilesOfTheGuestImage) {
  test::TempDir directory;
  const Recipe built_in = built_in_recipe();
  built_in.unpack(directory.path());
  EXPECT_TRUE(read_file(directory / "build.sh").starts_with("#!/bin/sh"));
  EXPECT_TRUE(fs::exists(directory / "customize.sh"));
  EXPECT_TRUE(fs::exists(directory / "rootfs"));
  EXPECT_EQ(built_in.digest().size(), 64U);
}

}  // namespace
}  // namespace cl
