#include "vm/qemu/accel.hpp"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/stat.h>

#include <cstdlib>

#include "src/base/file.hpp"
#include "tests/support/run.hpp"
#include "tests/support/temp_dir.hpp"

namespace cl {
namespace {

using namespace std::chrono_literals;

/// Stand-in emulators in a PATH of their own: what a probe sees is their output and their end.
class AccelProbe : public ::testing::Test {
 protected:
  void SetUp() override {
    const char* path = std::getenv("PATH");
    old_path_ = path != nullptr ? path : "";
    ::setenv("PATH", (home_.path().string() + ":" + old_path_).c_str(), 1);
    request_.arch = "x86_64";
    request_.host.os = "linux";
    request_.host.arch = "x86_64";
    request_.kernel = home_ / "kernel";
    request_.image_digest = "digest of the image";
    request_.cache_file = home_ / "accel.json";
    request_.kvm_device = home_ / "kvm";
    request_.progress = [this](std::string_view) { ++probes_; };
    write_atomically(request_.kvm_device, "");
  }
  void TearDown() override { ::setenv("PATH", old_path_.c_str(), 1); }

  void emulator(const std::string& script) const {
    write_atomically(home_ / "qemu-system-x86_64", "#!/bin/sh\n" + script, 0755);
  }
  AccelChoice choose() const { return test::run(choose_accel(request_)); }
  std::string refusal() const {
    try {
      choose();
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), Errc::host_requirement);
      return error.cause();
    }
    return "it was chosen";
  }

  test::TempDir home_;
  AccelRequest request_;
  int probes_ = 0;
  std::string old_path_;
};

constexpr const char* good = "echo '[    1.2] Kernel panic - not syncing: VFS: Unable to mount root fs'\n";
constexpr const char* aborting = "echo 'qemu: failed to set MSR 0x10a' >&2\nkill -ABRT $$\n";

TEST_F(AccelProbe, TakesKvmWhenTheKernelReachesItsEnd) {
  emulator(good);
  const AccelChoice choice = choose();
  EXPECT_EQ(choice.accel, Accel::kvm);
  EXPECT_EQ(choice.why, "KVM ran the guest's kernel to its end");
}

TEST_F(AccelProbe, FallsBackToEmulationAndSaysWhyWhenQemuAborts) {
  emulator(aborting);
  const AccelChoice choice = choose();
  EXPECT_EQ(choice.accel, Accel::tcg);
  EXPECT_NE(choice.why.find("signal 6 (qemu: failed to set MSR 0x10a)"), std::string::npos) << choice.why;
}

TEST_F(AccelProbe, KillsAGuestThatLoops) {
  emulator("echo $$ > " + (home_ / "pid").string() + "\nexec sleep 1000\n");
  request_.limit = 200ms;
  const AccelChoice choice = choose();
  EXPECT_EQ(choice.accel, Accel::tcg);
  EXPECT_NE(choice.why.find("did not reach its end in 0.2 s"), std::string::npos) << choice.why;
  if (const auto pid = read_file_if_exists(home_ / "pid"))  // a busy host may not even have come so far
    EXPECT_NE(::kill(std::stoi(*pid), 0), 0) << "the probe still runs";
}

TEST_F(AccelProbe, RemembersItsVerdict) {
  emulator(aborting);
  const AccelChoice first = choose(), second = choose();
  EXPECT_EQ(probes_, 1);
  EXPECT_EQ(first.why, second.why);
}

TEST_F(AccelProbe, IsMadeAgainWhenSomethingThatMattersChanged) {
  emulator(aborting);
  choose();
  request_.image_digest = "another image";
  choose();
  EXPECT_EQ(probes_, 2);
  ::chmod(request_.kvm_device.c_str(), 0640);
  choose();
  EXPECT_EQ(probes_, 3);
  emulator(good);  // a new QEMU
  EXPECT_EQ(choose().accel, Accel::kvm);
  EXPECT_EQ(probes_, 4);
}

TEST_F(AccelProbe, AnImageWithoutAKernelFileIsBootedFromItsDisk) {
  request_.kernel.clear();
  request_.disk = home_ / "root,raw";
  request_.boot = "bios";
  emulator("echo \"$@\" > " + (home_ / "arguments").string() +
           "\necho '[    0.0] Linux version 6.12'\necho '[    1.2] Freeing unused kernel image'\nexec sleep 1000\n");
  const AccelChoice choice = choose();
  EXPECT_EQ(choice.accel, Accel::kvm);
  EXPECT_EQ(choice.why, "KVM ran the image's kernel to its end");
  const std::string arguments = read_file(home_ / "arguments");
  EXPECT_NE(arguments.find("snapshot=on,file=" + (home_ / "root,,raw").string()), std::string::npos) << arguments;
  EXPECT_EQ(arguments.find("-kernel"), std::string::npos) << arguments;
}

TEST_F(AccelProbe, ADiskWhoseKernelHangsOrPanicsFallsBack) {
  request_.kernel.clear();
  request_.disk = home_ / "root.raw";
  request_.boot = "bios";
  request_.disk_limit = 300ms;
  emulator("echo '[    0.0] Linux version 6.12'\nexec sleep 1000\n");
  EXPECT_NE(choose().why.find("did not reach its end in 0.3 s"), std::string::npos);
  emulator(aborting);
  EXPECT_NE(choose().why.find("signal 6"), std::string::npos);
}

TEST_F(AccelProbe, SurvivesACacheThatCannotBeRead) {
  emulator(good);
  for (const char* nonsense : {"", "{", "[]", "{\"x\": 1}"}) {
    write_atomically(request_.cache_file, nonsense);
    EXPECT_EQ(choose().accel, Accel::kvm) << nonsense;
  }
  EXPECT_EQ(probes_, 4);
}

TEST_F(AccelProbe, IsNotMadeWithoutTheDevice) {
  std::filesystem::remove(request_.kvm_device);
  const AccelChoice choice = choose();
  EXPECT_EQ(choice.accel, Accel::tcg);
  EXPECT_NE(choice.why.find("this host has no "), std::string::npos) << choice.why;
  EXPECT_EQ(probes_, 0);
}

TEST_F(AccelProbe, IsNotMadeForAnotherArchitectureOrWhenEmulationIsAskedFor) {
  request_.arch = "aarch64";
  EXPECT_EQ(choose().why,
            "the guest is aarch64 and this host x86_64; the guest is emulated, which is several times slower");
  request_.arch = "x86_64";
  request_.wish = AccelWish::tcg;
  EXPECT_EQ(choose().accel, Accel::tcg);
  EXPECT_EQ(probes_, 0);
}

TEST_F(AccelProbe, RefusesKvmThatWasAskedForAndDoesNotWork) {
  emulator(aborting);
  request_.wish = AccelWish::kvm;
  EXPECT_NE(refusal().find("KVM cannot run a Linux guest on this host"), std::string::npos);
  request_.wish = AccelWish::hvf;
  EXPECT_EQ(refusal(), "HVF is for macOS hosts");
}

TEST_F(AccelProbe, TriesHvfOnMacWithoutADevice) {
  emulator(good);
  request_.host.os = "macos";
  std::filesystem::remove(request_.kvm_device);
  EXPECT_EQ(choose().accel, Accel::hvf);
}

TEST(JudgeProbe, WantsTheKernelsEndAndQemus) {
  EXPECT_EQ(judge_probe("Linux version 6.12\nKernel panic - not syncing: VFS: no root", true), ProbeVerdict::usable);
  EXPECT_EQ(judge_probe("Linux version 6.12\n", true), ProbeVerdict::ended_early);
  EXPECT_EQ(judge_probe("Kernel panic - not syncing: Attempted to kill init", true), ProbeVerdict::ended_early);
  EXPECT_EQ(judge_probe("", false), ProbeVerdict::no_end);
}

}  // namespace
}  // namespace cl
