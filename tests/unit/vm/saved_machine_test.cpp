#include "vm/saved_machine.hpp"

#include <gtest/gtest.h>

#include <boost/json.hpp>
#include <fstream>

#include "src/base/file.hpp"
#include "tests/support/temp_dir.hpp"

namespace cl {
namespace {

class SavedMachines : public ::testing::Test {
 protected:
  void SetUp() override {
    for (const auto& disk : facts_.disks) write_atomically(disk, "disk");
    saved_.prepare();
    write_atomically(saved_.memory(), "memory");
    saved_.commit(facts_);
  }
  void append(const std::filesystem::path& path) { std::ofstream(path, std::ios::app) << "x"; }
  std::string why() { return saved_.unusable(facts_).value_or(""); }
  /// Replaces a value of the marker.
  void edit_marker(const char* key, boost::json::value value) {
    auto marker = boost::json::parse(read_file(saved_.marker())).as_object();
    marker[key] = std::move(value);
    write_atomically(saved_.marker(), boost::json::serialize(marker));
  }

  test::TempDir home_;
  SavedFacts facts_{"qemu", "version and arguments", "sha256:image", {home_ / "root.qcow2", home_ / "data.raw"}};
  SavedMachine saved_{home_ / "suspended"};
};

TEST_F(SavedMachines, CanBeResumedWhenNothingHasChanged) {
  EXPECT_TRUE(saved_.exists());
  EXPECT_EQ(why(), "");
  facts_.hypervisor.clear();  // not known yet
  EXPECT_EQ(why(), "");
}

TEST_F(SavedMachines, AreClosedToOthers) {
  const auto none = std::filesystem::perms::group_all | std::filesystem::perms::others_all;
  for (const auto& path : {home_ / "suspended", saved_.marker(), saved_.memory()})
    EXPECT_EQ(std::filesystem::status(path).permissions() & none, std::filesystem::perms::none) << path;
}

TEST_F(SavedMachines, AreVoidWhenADiskWasWritten) {
  append(facts_.disks[1]);
  EXPECT_EQ(why(), "the disk data.raw has changed since");
}

TEST_F(SavedMachines, AreVoidWhenADiskWasReplacedByItsCopy) {
  std::filesystem::copy_file(facts_.disks[0], home_ / "copy");
  std::filesystem::rename(home_ / "copy", facts_.disks[0]);
  EXPECT_EQ(why(), "the disk root.qcow2 has changed since");
}

TEST_F(SavedMachines, AreVoidWhenADiskIsGone) {
  std::filesystem::remove(facts_.disks[0]);
  EXPECT_NE(why().find("root.qcow2"), std::string::npos) << why();
}

TEST_F(SavedMachines, AreVoidWhenTheMemoryWasTouchedCutOrLost) {
  append(saved_.memory());
  EXPECT_EQ(why(), "the saved memory has changed since");
  std::filesystem::resize_file(saved_.memory(), 3);
  EXPECT_EQ(why(), "the saved memory has changed since");
  std::filesystem::remove(saved_.memory());
  EXPECT_TRUE(why().starts_with("what was saved is damaged")) << why();
}

TEST_F(SavedMachines, AreVoidInAnotherHypervisorDriverOrImage) {
  SavedFacts other = facts_;
  other.hypervisor = "another version";
  EXPECT_EQ(saved_.unusable(other), "the hypervisor's version or arguments have changed");
  other = facts_;
  other.driver = "vz";
  EXPECT_EQ(saved_.unusable(other), "another driver saved it");
  other = facts_;
  other.image = "sha256:other";
  EXPECT_EQ(saved_.unusable(other), "the guest image has changed");
}

TEST_F(SavedMachines, AreVoidAfterTheHostHasBootedAndInAnotherFormat) {
  edit_marker("host_boot", "earlier");
  EXPECT_EQ(why(), "this computer was started anew since");
  edit_marker("format", 2);
  EXPECT_EQ(why(), "another version of colima-like saved it");
}

TEST_F(SavedMachines, AreVoidWithADamagedMarkerWhereverItIsCut) {
  const std::string whole = read_file(saved_.marker());
  for (std::size_t size = 0; size + 2 < whole.size(); ++size) {
    write_atomically(saved_.marker(), whole.substr(0, size));
    EXPECT_TRUE(why().starts_with("what was saved is damaged")) << size << ": " << why();
  }
}

TEST_F(SavedMachines, AreUsedUpOnce) {
  saved_.use_up();
  EXPECT_FALSE(saved_.exists());
  EXPECT_NE(why(), "");
  EXPECT_TRUE(std::filesystem::exists(saved_.memory())) << "the hypervisor may still read it";
  const auto aside = saved_.set_aside();
  EXPECT_EQ(read_file(aside), "memory");
  saved_.prepare();
  EXPECT_FALSE(std::filesystem::exists(aside));
}

TEST_F(SavedMachines, LeaveNothingWhenDiscarded) {
  saved_.discard();
  EXPECT_FALSE(std::filesystem::exists(home_ / "suspended"));
  saved_.discard();
}

}  // namespace
}  // namespace cl
