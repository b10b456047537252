#include "vm/seed.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>

#include "src/base/child.hpp"
#include "src/base/error.hpp"
#include "src/base/file.hpp"
#include "tests/support/temp_dir.hpp"

namespace cl {
namespace {

SeedFacts facts() {
  SeedFacts facts;
  facts.instance_id = "colima-like-1234";
  facts.host_name = "colima-like-x";
  facts.host_address = "10.0.2.2";
  facts.authorized_keys = "ssh-ed25519 AAAAuser me\n";
  facts.host_private_key = "-----BEGIN KEY-----\nAAAAprivate\n-----END KEY-----\n";
  facts.host_public_key = "ssh-ed25519 AAAAhost guest\n";
  facts.data_owner = "0f0f0f0f-0000-4000-8000-000000000000\n";
  facts.shares = "virtiofs share0 rw /home/me\n";
  facts.ports = {40000, 41000};
  return facts;
}

std::string file(const std::vector<SeedFile>& files, const std::string& name) {
  for (const SeedFile& one : files)
    if (one.name == name) return one.bytes;
  return {};
}

std::vector<SeedFile> seed() { return seed_files(facts(), built_in_recipe(), cloud_guest_files()); }

TEST(Seed, TellsCloudInitWhoTheGuestIs) {
  EXPECT_EQ(file(seed(), "meta-data"), "instance-id: colima-like-1234\nlocal-hostname: colima-like-x\n");
  const std::string user = file(seed(), "user-data");
  EXPECT_TRUE(user.starts_with("#cloud-config\n"));
  for (const char* part :
       {"\n  - ssh-ed25519 AAAAuser me\n", "\n    AAAAprivate\n", "ed25519_public: ssh-ed25519 AAAAhost guest\n",
        "growpart:", "bootcmd:", "LABEL=CIDATA", "disable_root: false"})
    EXPECT_NE(user.find(part), std::string::npos) << part << " in\n" << user;
  EXPECT_EQ(user.find('\t'), std::string::npos);
}

TEST(Seed, TheSetUpIsAScriptWithEveryFileThatAForeignGuestNeeds) {
  const std::string setup = file(seed(), "setup");
  for (const char* part :
       {"/usr/lib/colima-like/data-disk", "/usr/lib/colima-like/ssh-port", "/usr/lib/colima-like/sshd_config",
        "/usr/lib/systemd/system/colima-like-ssh@.service", "/etc/systemd/system/docker.service.d/colima-like.conf",
        "put 600 /etc/colima-like/credentials/colima-like.hostkey", "AAAAprivate",
        "put_missing /etc/docker/daemon.json", "ports='40000 41000'",
        "HostKey /etc/colima-like/credentials/colima-like.hostkey", "systemctl mask --now sshd-vsock.socket"})
    EXPECT_NE(setup.find(part), std::string::npos) << part;
  EXPECT_EQ(setup.find("/run/credentials/"), std::string::npos) << "nobody passes systemd credentials there";
  test::TempDir directory;
  write_atomically(directory / "setup", setup);
  EXPECT_EQ(std::system(("sh -n " + (directory / "setup").string()).c_str()), 0);
}

// What nobody but the guest itself can do in time: containers that come back by themselves do not wait for the host.
TEST(Seed, TheGuestMountsItsSharesBeforeDockerStarts) {
  const std::string setup = file(seed(), "setup");
  for (const char* part :
       {"put 755 /usr/lib/colima-like/shares <<", "put 644 /usr/lib/systemd/system/colima-like-shares.service <<",
        "ConditionFileNotEmpty=/etc/colima-like/credentials/colima-like.shares\n",
        "done < /etc/colima-like/credentials/colima-like.shares\n",
        "After=colima-like-data.service colima-like-shares.service\n",
        "put 600 /etc/colima-like/credentials/colima-like.shares <<'COLIMA_LIKE_END_OF_FILE'\n"
        "virtiofs share0 rw /home/me\nCOLIMA_LIKE_END_OF_FILE\n"})
    EXPECT_NE(setup.find(part), std::string::npos) << part;
  EXPECT_EQ(setup.find("busybox timeout"), std::string::npos) << "not every distribution has it";
  SeedFacts without = facts();
  without.shares.clear();
  EXPECT_NE(file(seed_files(without, built_in_recipe(), cloud_guest_files()), "setup")
                .find("colima-like.shares <<'COLIMA_LIKE_END_OF_FILE'\nCOLIMA_LIKE_END_OF_FILE\n"),
            std::string::npos)
      << "those of an earlier boot are forgotten";
}

/// The guest's script, in a directory that stands for its root and with a mount that only says what it is told.
TEST(SharesScript, MountsWhatTheHostHasNotMountedBeforeIt) {
  const test::TempDir directory;
  const std::string root = directory.path();
  const Recipe ours = built_in_recipe();
  std::string script;
  for (const Recipe::File& one : ours.files())
    if (one.path == "rootfs/usr/lib/colima-like/shares") script = one.bytes;
  for (const std::string path : {"/run/credentials/@system/", "/proc/self/", "/run/colima-like"}) {
    ASSERT_NE(script.find(path), std::string::npos) << path;
    for (auto at = script.find(path); at != std::string::npos; at = script.find(path, at + root.size() + path.size()))
      script.insert(at, root);
  }
  write_atomically(directory / "script", "mount() { echo \"$*\"; }\n" + script);
  for (const char* folder : {"run/credentials/@system", "proc/self"}) fs::create_directories(directory / folder);
  write_atomically(directory / "proc/self/mountinfo",
                   "1 0 8:1 / / rw - ext4 /dev/vda rw\n2 1 0:30 / /home/me rw - virtiofs share0 rw\n");
  write_atomically(directory / "run/credentials/@system/colima-like.shares",
                   "virtiofs share0 rw /home/me\nvirtiofs share1 ro " + root + "/a b\n");
  const std::string output = directory / "output";
  EXPECT_EQ(std::system(("sh " + root + "/script > " + output + " 2>&1").c_str()), 0);
  EXPECT_EQ(read_file(output), "-t virtiofs -o ro share1 " + root + "/a b\n");
  EXPECT_TRUE(fs::is_directory(directory / "a b"));
}

TEST(Seed, IsTheSameForTheSameFacts) {
  EXPECT_EQ(fat_disk(seed()), fat_disk(seed()));
  SeedFacts other = facts();
  other.host_name = "y";
  EXPECT_NE(fat_disk(seed()), fat_disk(seed_files(other, built_in_recipe(), cloud_guest_files())));
}

/// What mtools and fsck.fat, who know nothing of us, think of it. Installed by scripts/setup --tests.
TEST(FatDisk, IsOneToOthers) {
  test::TempDir directory;
  const std::string disk = directory / "seed.img", copy = directory / "copy";
  std::vector<SeedFile> files{{"user-data", std::string(70'000, 'u') + "end"}, {"meta-data", "m"}, {"empty", ""}};
  write_atomically(disk, fat_disk(files));
  const std::string path = "PATH=$PATH:/usr/sbin:/sbin; ";
  if (std::system((path + "command -v mtype fsck.fat > /dev/null").c_str()) != 0)
    GTEST_SKIP() << "no mtools, dosfstools";
  EXPECT_EQ(std::system((path + "fsck.fat -n " + disk + " > " + copy).c_str()), 0) << read_file(copy);
  EXPECT_EQ(std::system((path + "mlabel -s -i " + disk + " :: > " + copy).c_str()), 0);
  EXPECT_NE(read_file(copy).find("CIDATA"), std::string::npos) << read_file(copy);
  for (const SeedFile& one : files) {
    ASSERT_EQ(std::system((path + "mtype -i " + disk + " ::" + one.name + " > " + copy).c_str()), 0) << one.name;
    EXPECT_TRUE(read_file(copy) == one.bytes) << one.name;
  }
}

TEST(FatDisk, WhatDoesNotFitIsRefused) {
  EXPECT_THROW(fat_disk({{"a", std::string(2 << 20, 'x')}}), Error);
  EXPECT_THROW(fat_disk({{"a-name-that-is-too-long", "x"}}), Error);
  EXPECT_THROW(fat_disk({{"", "x"}}), Error);
  EXPECT_THROW(fat_disk(std::vector<SeedFile>(40, SeedFile{"a", ""})), Error);
}

}  // namespace
}  // namespace cl
