#include "src/app/transfer.hpp"

#include <gtest/gtest.h>

#include "profiles/state.hpp"
#include "profiles/store.hpp"
#include "src/base/error.hpp"
#include "src/base/file.hpp"
#include "src/base/sparse.hpp"
#include "tests/support/temp_dir.hpp"

namespace cl {
namespace {

constexpr std::uintmax_t disk_size = std::uintmax_t{8} << 30;

class Transfer : public ::testing::Test {
 protected:
  Transfer()
      : home_{dir_.path() / "h", dir_.path() / "c"},
        from_(profile_paths(home_, "from")),
        to_(profile_paths(home_, "to")),
        file_(dir_.path() / "exported") {
    create_profile(from_);
    write_atomically(from_.config, "# mine\ncpus: 1\n");
    write_atomically(from_.own_template, "idle: 7m\n");
    write_atomically(from_.keys_directory / "id_ed25519", "secret");
    // 8 GiB with three islands: at the front, in the middle and at the very end.
    write_atomically(from_.data_disk, "front");
    fs::resize_file(from_.data_disk, disk_size);
    put(from_.data_disk, disk_size / 2, "middle");
    put(from_.data_disk, disk_size - 3, "end");
  }
  static void put(const fs::path& file, std::uintmax_t at, std::string_view bytes) {
    FILE* stream = std::fopen(file.c_str(), "r+");
    ASSERT_NE(stream, nullptr);
    ::fseeko(stream, static_cast<off_t>(at), SEEK_SET);
    std::fwrite(bytes.data(), 1, bytes.size(), stream);
    std::fclose(stream);
  }
  static std::string get(const fs::path& file, std::uintmax_t at, std::size_t size) {
    std::string bytes(size, '\0');
    FILE* stream = std::fopen(file.c_str(), "r");
    if (stream == nullptr) return "none";
    ::fseeko(stream, static_cast<off_t>(at), SEEK_SET);
    bytes.resize(std::fread(bytes.data(), 1, size, stream));
    std::fclose(stream);
    return bytes;
  }
  void expect_same_data(const ProfilePaths& paths) {
    EXPECT_EQ(read_file(paths.config), "# mine\ncpus: 1\n");
    EXPECT_EQ(read_file(paths.own_template), "idle: 7m\n");
    EXPECT_EQ(fs::file_size(paths.data_disk), disk_size);
    EXPECT_EQ(get(paths.data_disk, 0, 5), "front");
    EXPECT_EQ(get(paths.data_disk, disk_size / 2, 6), "middle");
    EXPECT_EQ(get(paths.data_disk, disk_size - 3, 3), "end");
    EXPECT_LT(allocated_bytes(paths.data_disk), 1U << 20) << "holes stay holes";
    EXPECT_FALSE(fs::exists(paths.keys_directory / "id_ed25519")) << "a new machine has its own keys";
    EXPECT_FALSE(fs::exists(paths.state));
    EXPECT_EQ(load_profile(paths, {}).cpus, 1);
  }
  Errc import_error() {
    try {
      import_profile(home_, "to", file_, true);
    } catch (const Error& error) {
      return error.code();
    }
    return Errc::internal;
  }
  test::TempDir dir_;
  Home home_;
  ProfilePaths from_, to_;
  fs::path file_;
};

TEST_F(Transfer, ACloneHasSettingsAndDataAndTheSameHoles) {
  clone_profile(from_, to_);
  expect_same_data(to_);
  EXPECT_EQ(list_profiles(home_), (std::vector<std::string>{"from", "to"}));
}

TEST_F(Transfer, WhatIsExportedComesBack) {
  export_profile(from_, file_);
  EXPECT_LT(fs::file_size(file_), 1U << 20);
  EXPECT_EQ(import_profile(home_, "to", file_, true).at("name"), "to");
  expect_same_data(to_);
  fs::remove_all(from_.directory);
  EXPECT_EQ(import_profile(home_, "", file_, true).at("name"), "from") << "under its own name";
  expect_same_data(from_);
}

// What a stranger's file may hold. It ran the script, with the home of whoever started it shared.
TEST_F(Transfer, WhatAFileAsksOfThisHostIsToldAndNotTakenOver) {
  write_atomically(from_.config,
                   "cpus: 1\nshares: ['/']\nforwards: ['reverse:9000:22']\nprovision:\n  - script: echo x >> "
                   "~/.bashrc\n    when: ready\n"
                   "network:\n  forward: all\nssh:\n  agent: true\n");
  fs::remove(from_.own_template);
  export_profile(from_, file_);
  const boost::json::object told = import_profile(home_, "to", file_, false);
  std::string keys;
  for (const boost::json::value& one : told.at("asks").as_array()) keys += std::string(one.at("key").as_string()) + " ";
  EXPECT_EQ(keys, "shares forwards provision network.forward ssh.agent ");
  const Profile taken = load_profile(to_, {});
  EXPECT_EQ(taken.cpus, 1);
  EXPECT_TRUE(taken.shares.empty());
  EXPECT_TRUE(taken.forwards.empty());
  EXPECT_TRUE(taken.provision.empty());
  EXPECT_FALSE(taken.ssh_agent);
  EXPECT_EQ(taken.network_forward, ForwardWish::published);
}

TEST_F(Transfer, SettingsThatAreNotValidAreRefusedUnlessTrusted) {
  write_atomically(from_.config, "cpus: none\nshares: {\n");
  export_profile(from_, file_);
  try {
    import_profile(home_, "to", file_, false);
    ADD_FAILURE() << "it was imported";
  } catch (const Error& error) {
    EXPECT_EQ(one_line(error).find("profile.yaml in the imported file is not valid: "), 0U) << one_line(error);
    EXPECT_NE(error.remedy().find("--trust"), std::string::npos);
  }
  EXPECT_FALSE(fs::exists(to_.directory));
}

TEST_F(Transfer, AFileThatAsksForNothingSharesNoFolderEither) {
  export_profile(from_, file_);
  EXPECT_TRUE(import_profile(home_, "to", file_, false).at("asks").as_array().empty());
  EXPECT_TRUE(load_profile(to_, {}).shares.empty());
}

TEST_F(Transfer, AnExportFollowsNoLinkThatSomebodyPutThere) {
  const fs::path victim = dir_.path() / "victim";
  write_atomically(victim, "mine");
  for (const char* name : {".partial", ""}) {
    fs::create_symlink(victim, file_.string() + name);
    if (*name == '\0') {
      EXPECT_THROW(export_profile(from_, file_), Error);
    } else {
      export_profile(from_, file_);
    }
    EXPECT_EQ(read_file(victim), "mine");
    fs::remove(file_.string() + name);
    fs::remove(file_);
  }
}

TEST_F(Transfer, ADamagedFileChangesNothing) {
  export_profile(from_, file_);
  const std::string good = read_file(file_);
  for (const std::size_t at : {std::size_t{3}, good.find("data.raw"), good.find("[0,") + 3, good.find("cpus: 1") + 6,
                               good.find("middle"), good.size() - 10}) {
    std::string bad = good;
    bad[at] = static_cast<char>(bad[at] ^ 1);
    write_atomically(file_, bad);
    EXPECT_EQ(import_error(), Errc::io) << at;
  }
  for (const std::size_t size : {std::size_t{0}, std::size_t{10}, good.size() / 2, good.size() - 1 - 64}) {
    write_atomically(file_, good.substr(0, size));
    EXPECT_EQ(import_error(), Errc::io) << size;
  }
  EXPECT_EQ(list_profiles(home_), std::vector<std::string>{"from"});
  for (const auto& entry : fs::directory_iterator(home_.profiles)) EXPECT_EQ(entry.path().filename(), "from");
}

TEST_F(Transfer, AForeignFileCannotWriteOutsideTheProfile) {
  for (const char* header :
       {R"({"name":"x","files":[{"name":"../../evil","size":1,"extents":[[0,1]]}]})",
        R"({"name":"x","files":[{"name":"keys","size":1,"extents":[]}]})",
        R"({"name":"x","files":[{"name":"data.raw","size":1,"extents":[[0,2]]}]})",
        R"({"name":"x","files":[{"name":"data.raw","size":8,"extents":[[4,2],[0,1]]}]})",
        R"({"name":"x","files":[{"name":"data.raw","size":-1,"extents":[]}]})", R"({"name":7})", "[", ""}) {
    write_atomically(file_, "colima-like export v1\n" + std::string(header) + "\nabc");
    EXPECT_EQ(import_error(), Errc::io) << header;
  }
}

TEST_F(Transfer, ARunningProfileAndATakenNameAreRefused) {
  EXPECT_THROW(clone_profile(from_, from_), Error);
  create_profile(to_);
  EXPECT_THROW(clone_profile(from_, to_), Error);
  export_profile(from_, file_);
  EXPECT_THROW(export_profile(from_, file_), Error) << "the file exists";
  EXPECT_EQ(import_error(), Errc::invalid_config);
  const auto other = profile_paths(home_, "other");
  const auto machine = FileLock::try_acquire(from_.machine_lock);
  EXPECT_THROW(clone_profile(from_, other), Error);
  EXPECT_FALSE(fs::exists(other.directory));
}

TEST_F(Transfer, TheDataOfADeletedProfileIsNotOverwritten) {
  make_private_directory(to_.directory);
  write_atomically(to_.data_disk, "precious");
  EXPECT_THROW(clone_profile(from_, to_), Error);
  EXPECT_EQ(read_file(to_.data_disk), "precious");
}

}  // namespace
}  // namespace cl
