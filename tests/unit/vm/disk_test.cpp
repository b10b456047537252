#include "vm/disk.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>

#include "src/base/file.hpp"
#include "src/base/unique_fd.hpp"
#include "tests/support/run.hpp"
#include "tests/support/temp_dir.hpp"

namespace cl {
namespace {

constexpr std::string_view owner = "0a1b2c3d-1111-2222-3333-444455556666";
constexpr std::string_view other_owner = "ffffffff-1111-2222-3333-444455556666";
constexpr std::string_view owner_bytes{"\x0a\x1b\x2c\x3d\x11\x11\x22\x22\x33\x33\x44\x44\x55\x55\x66\x66", 16};

class Disks : public ::testing::Test {
 protected:
  std::filesystem::path data() const { return home_ / "data.raw"; }
  std::filesystem::path image() const { return home_ / "root.raw"; }
  std::filesystem::path overlay() const { return home_ / "root.qcow2"; }

  void poke(std::size_t at, std::string_view bytes) const {
    UniqueFd fd(::open(data().c_str(), O_WRONLY));
    ASSERT_EQ(::pwrite(fd.get(), bytes.data(), bytes.size(), static_cast<off_t>(at)),
              static_cast<ssize_t>(bytes.size()));
  }
  /// What mke2fs leaves at the places we look at.
  void format(std::string_view uuid_bytes) const {
    poke(1024 + 0x38, "\x53\xef");
    poke(1024 + 0x68, uuid_bytes);
  }
  Errc refusal(std::string_view wanted, ByteSize size = ByteSize::mib(16)) const {
    const std::string before = std::filesystem::exists(data()) ? read_file(data()) : "";
    try {
      ensure_data_disk(data(), wanted, size);
    } catch (const Error& error) {
      EXPECT_FALSE(error.remedy().empty());
      EXPECT_EQ(read_file(data()), before) << "a refused disk was touched";
      return error.code();
    }
    return Errc::internal;
  }
  std::string overlay_refusal() const {
    try {
      check_overlay(overlay(), image());
    } catch (const Error& error) {
      return error.cause();
    }
    return "";
  }

  test::TempDir home_;
};

TEST_F(Disks, ARawRootBeginsAsItsImageAndGrowsWithoutTakingSpace) {
  write_atomically(image(), "the image");
  std::filesystem::resize_file(image(), 8 << 20);
  create_raw_root(image(), home_ / "own.raw", ByteSize::mib(64));
  EXPECT_EQ(std::filesystem::file_size(home_ / "own.raw"), 64U << 20);
  EXPECT_TRUE(read_file(home_ / "own.raw").starts_with(std::string_view("the image\0", 10)));
  EXPECT_LT(allocated_bytes(home_ / "own.raw"), 1U << 20);
  write_atomically(image(), "another image");  // the disk is its own
  EXPECT_TRUE(read_file(home_ / "own.raw").starts_with("the image"));
  create_raw_root(image(), home_ / "own.raw", ByteSize::mib(64));  // and is replaced as a whole
  EXPECT_TRUE(read_file(home_ / "own.raw").starts_with("another image"));
  EXPECT_FALSE(std::filesystem::exists(home_ / "own.raw.new"));
  try {
    create_raw_root(image(), home_ / "small.raw", ByteSize::bytes(4));
    ADD_FAILURE() << "smaller than its image";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Errc::invalid_config);
  }
}

TEST_F(Disks, ADataDiskIsCreatedSparseWithItsOwnersHeader) {
  EXPECT_EQ(inspect_data_disk(data()).kind, DataDiskKind::missing);
  ensure_data_disk(data(), owner, ByteSize::gib(20));
  const DataDisk disk = inspect_data_disk(data());
  EXPECT_EQ(disk.kind, DataDiskKind::ours);
  EXPECT_EQ(disk.owner, owner);
  EXPECT_FALSE(disk.formatted);
  EXPECT_EQ(disk.size, ByteSize::gib(20));
  EXPECT_LT(disk.allocated, ByteSize::mib(1));
}

TEST_F(Disks, TheHeaderIsWhatTheGuestCompares) {
  ensure_data_disk(data(), owner, ByteSize::mib(1));
  std::string expected = "colima-like data disk v1\nowner=0a1b2c3d-1111-2222-3333-444455556666\n";
  expected.resize(1024, '\0');
  EXPECT_EQ(read_file(data()).substr(0, 1024), expected);
}

TEST_F(Disks, ADataDiskIsLeftAloneWhenItFits) {
  ensure_data_disk(data(), owner, ByteSize::mib(16));
  poke(8192, "containers");
  const std::string before = read_file(data());
  ensure_data_disk(data(), owner, ByteSize::mib(16));
  EXPECT_EQ(read_file(data()), before);
}

TEST_F(Disks, ADataDiskGrowsAndKeepsItsContent) {
  ensure_data_disk(data(), owner, ByteSize::mib(16));
  poke(8192, "containers");
  ensure_data_disk(data(), owner, ByteSize::mib(32));
  EXPECT_EQ(inspect_data_disk(data()).size, ByteSize::mib(32));
  EXPECT_EQ(read_file(data()).substr(8192, 10), "containers");
}

TEST_F(Disks, ADataDiskNeverShrinks) {
  ensure_data_disk(data(), owner, ByteSize::mib(16));
  EXPECT_EQ(refusal(owner, ByteSize::mib(8)), Errc::invalid_config);
}

TEST_F(Disks, AFormattedDataDiskTellsItsFileSystem) {
  ensure_data_disk(data(), owner, ByteSize::mib(16));
  format(owner_bytes);
  const DataDisk disk = inspect_data_disk(data());
  EXPECT_EQ(disk.kind, DataDiskKind::ours);
  EXPECT_TRUE(disk.formatted);
  EXPECT_EQ(disk.uuid, owner);
}

TEST_F(Disks, ADiskWhoseHeaderMke2fsClearedIsStillItsOwners) {
  ensure_data_disk(data(), owner, ByteSize::mib(16));
  format(owner_bytes);
  poke(0, std::string(1024, '\0'));
  EXPECT_EQ(inspect_data_disk(data()).kind, DataDiskKind::unmarked);
  EXPECT_NO_THROW(ensure_data_disk(data(), owner, ByteSize::mib(16)));
  EXPECT_EQ(refusal(other_owner), Errc::io);
}

TEST_F(Disks, ADiskOfAnotherOwnerIsRefused) {
  ensure_data_disk(data(), other_owner, ByteSize::mib(16));
  EXPECT_EQ(refusal(owner), Errc::io);
}

TEST_F(Disks, AnothersFileSystemUnderOurHeaderIsRefused) {
  ensure_data_disk(data(), owner, ByteSize::mib(16));
  format("another uuid, 16");
  EXPECT_EQ(refusal(owner), Errc::io);
}

TEST_F(Disks, ForeignFilesAreRefusedAndNotTouched) {
  for (const std::string& content :
       {std::string(), std::string("a letter"), std::string(8192, '\0'), std::string(8192, 'x'),
        "colima-like data disk v1\nowner=" + std::string(8192, 'y')}) {
    write_atomically(data(), content);
    EXPECT_EQ(inspect_data_disk(data()).kind, DataDiskKind::foreign);
    EXPECT_EQ(refusal(owner), Errc::io) << content.size();
  }
}

TEST_F(Disks, AHeaderWithAnythingAfterItIsNotOurs) {
  ensure_data_disk(data(), owner, ByteSize::mib(16));
  poke(1000, "x");
  EXPECT_EQ(refusal(owner), Errc::io);
}

TEST_F(Disks, WhatAnInterruptedCreationLeftIsReplaced) {
  write_atomically(data().string() + ".new", "half a disk");
  ensure_data_disk(data(), owner, ByteSize::mib(16));
  EXPECT_EQ(inspect_data_disk(data()).kind, DataDiskKind::ours);
  EXPECT_FALSE(std::filesystem::exists(data().string() + ".new"));
}

TEST_F(Disks, AnOwnerMustBeAUuid) {
  for (const char* bad : {"", "default", "0A1B2C3D-1111-2222-3333-444455556666", "0a1b2c3d-1111-2222-3333-44445555666"})
    EXPECT_THROW(ensure_data_disk(data(), bad, ByteSize::mib(16)), Error) << bad;
  EXPECT_FALSE(std::filesystem::exists(data()));
}

TEST_F(Disks, WhatAKilledFormattingLeavesIsKnown) {
  ensure_data_disk(data(), owner, ByteSize::gib(1));
  EXPECT_FALSE(is_half_formatted(data(), owner)) << "with its header it is as good as new";
  poke(0, std::string(1024, '\0'));
  EXPECT_TRUE(is_half_formatted(data(), owner)) << "nothing was written yet";
  // As the guest does it.
  const std::string path = "PATH=$PATH:/usr/sbin:/sbin; ", disk = data();
  if (std::system((path + "command -v mke2fs > /dev/null").c_str()) != 0) GTEST_SKIP() << "no mke2fs";
  const std::string make = path + "mke2fs -q -F -t ext4 -b 4096 -U " + std::string(owner) + " -m 0 " +
                           "-E nodiscard,lazy_itable_init=1,lazy_journal_init=1 " + disk;
  ASSERT_EQ(std::system(make.c_str()), 0);
  EXPECT_FALSE(is_half_formatted(data(), owner)) << "it is done";
  poke(0, std::string(4096, '\0'));
  EXPECT_TRUE(is_half_formatted(data(), owner)) << "all but the superblock";
  EXPECT_FALSE(is_half_formatted(data(), other_owner));
  poke(4096 + 7 * 64, "x");  // the last group's descriptor
  EXPECT_FALSE(is_half_formatted(data(), owner));
}

TEST_F(Disks, NothingElseIsTakenForAHalfFormattedOne) {
  EXPECT_FALSE(is_half_formatted(data(), owner)) << "there is no file";
  for (const std::size_t at : {0U, 510U, 4095U, 4096U, 65'600U, (16U << 20) - 1}) {
    write_atomically(data(), "");
    std::filesystem::resize_file(data(), 16 << 20);
    EXPECT_TRUE(is_half_formatted(data(), owner));
    poke(at, "x");
    EXPECT_FALSE(is_half_formatted(data(), owner)) << at;
  }
  write_atomically(data(), std::string(100, '\0'));
  EXPECT_FALSE(is_half_formatted(data(), owner)) << "too short";
  write_atomically(data(), std::string(17 << 20, '\0'));
  EXPECT_FALSE(is_half_formatted(data(), owner)) << "too much in it";
  write_atomically(home_ / "elsewhere", std::string(1 << 20, '\0'));
  std::filesystem::remove(data());
  std::filesystem::create_symlink(home_ / "elsewhere", data());
  EXPECT_FALSE(is_half_formatted(data(), owner)) << "a link";
}

class Overlays : public Disks {
 protected:
  void SetUp() override { write_atomically(image(), std::string(1 << 20, 'i')); }
  void create(ByteSize size = ByteSize::mib(4)) const {
    const std::filesystem::path on = image(), at = overlay();
    test::run(create_overlay(on, at, size));
  }
};

TEST_F(Overlays, LieOnTheImageTheyWereMadeFor) {
  EXPECT_EQ(check_overlay(overlay(), image()), OverlayState::missing);
  create();
  EXPECT_EQ(check_overlay(overlay(), image()), OverlayState::usable);
  EXPECT_EQ(check_overlay(overlay(), home_ / "other.raw"), OverlayState::other_image);
  const auto header = parse_qcow2_header(read_file(overlay()));
  ASSERT_TRUE(header);
  EXPECT_EQ(header->size, ByteSize::mib(4).count());
  EXPECT_EQ(header->backing_file, image().string());
  EXPECT_EQ(header->backing_format, "raw");
}

TEST_F(Overlays, ReplaceAnOlderOneAndLeaveNothingBeside) {
  write_atomically(overlay(), "something old");
  create();
  EXPECT_EQ(check_overlay(overlay(), image()), OverlayState::usable);
  EXPECT_FALSE(std::filesystem::exists(overlay().string() + ".new"));
}

TEST_F(Overlays, AreNotSmallerThanTheirImage) {
  try {
    create(ByteSize::bytes(1 << 19));
    ADD_FAILURE() << "it was made";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Errc::invalid_config);
  }
  EXPECT_FALSE(std::filesystem::exists(overlay()));
}

TEST_F(Overlays, ThatReadAnotherFileAreRefused) {
  write_atomically(overlay(), "no qcow2 at all");
  EXPECT_EQ(overlay_refusal(), "it is no qcow2");
  create();
  std::string bytes = read_file(overlay());
  const auto format = bytes.find("raw", 104);
  ASSERT_NE(format, std::string::npos);
  bytes.replace(format, 3, "vdi");
  write_atomically(overlay(), bytes);
  EXPECT_EQ(overlay_refusal(), "its image has the format 'vdi'");
  bytes[79] = 4;  // incompatible feature bit 2: an external data file
  write_atomically(overlay(), bytes);
  EXPECT_EQ(overlay_refusal(), "its content lies in another file");
}

TEST_F(Overlays, HeadersCutAnywhereAreNoCrash) {
  create();
  const std::string bytes = read_file(overlay()).substr(0, 1024);
  for (std::size_t length = 0; length < bytes.size(); ++length) parse_qcow2_header(bytes.substr(0, length));
  for (std::size_t at = 0; at < 512; ++at) {
    std::string broken = bytes;
    broken[at] = static_cast<char>(broken[at] ^ 0xff);
    parse_qcow2_header(broken);
  }
  EXPECT_TRUE(parse_qcow2_header(bytes));
  EXPECT_FALSE(parse_qcow2_header(bytes.substr(0, 103)));
}

}  // namespace
}  // namespace cl
