#include "vm/vz/command_line.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>

#include "src/base/file.hpp"
#include "tests/support/temp_dir.hpp"
#include "vm/vz/binary.hpp"
#include "vm/vz/machine.hpp"

namespace cl {
namespace {

BootPlan typical() {
  BootPlan plan;
  plan.name = "default";
  plan.arch = "aarch64";
  plan.accel = Accel::hvf;
  plan.kernel = "/img/kernel";
  plan.initrd = "/img/initrd";
  plan.kernel_arguments = "root=/dev/vda rw range=\"1 2\" a=b,c";
  plan.root_disk = "/p/root.raw";
  plan.data_disk = "/p/data.raw";
  plan.credentials = {{"colima-like.data", "/p/seed/data"}};
  plan.run_directory = "/p/run";
  plan.console_log = "/p/log/console.log";
  return plan;
}

const VfkitHost host{"/opt/homebrew/bin/vfkit", false};

std::string joined(const BootPlan& plan, const VfkitHost& on = host) {
  std::string text;
  for (const std::string& word : vfkit_command_line(plan, on)) {
    text += !text.empty() && word.starts_with("-") ? "\n" : text.empty() ? "" : " ";
    text += word;
  }
  return text;
}

std::string failure(const BootPlan& plan) {
  try {
    vfkit_command_line(plan, host);
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Errc::invalid_config);
    EXPECT_NE(error.remedy(), "");
    return one_line(error);
  }
  return {};
}

TEST(VfkitCommandLine, BootsAKernelDirectly) {
  EXPECT_EQ(joined(typical()), R"(/opt/homebrew/bin/vfkit
--cpus 2
--memory 2048
--log-level info
--restful-uri unix:///p/run/vfkit.sock
--kernel /img/kernel
--initrd /p/run/initrd
--kernel-cmdline root=/dev/vda rw range="1 2" a=b,c console=hvc0 colima_like.vsock
--device virtio-blk,path=/p/root.raw,deviceId=colima-like-root
--device virtio-blk,path=/p/data.raw,deviceId=colima-like-data
--device virtio-net,nat,mac=52:54:00:3b:5b:de
--device virtio-vsock,port=22,socketURL=/p/run/vsock.sock,connect
--device virtio-serial,logFilePath=/p/log/console.log
--device virtio-rng)");
}

TEST(VfkitCommandLine, BootsACloudImageByFirmwareWhoseVariablesAreMadeOnce) {
  BootPlan plan = typical();
  plan.kernel.clear();
  plan.initrd.clear();
  plan.seed_disk = "/p/seed.iso";
  const std::string text = joined(plan);
  EXPECT_NE(text.find("\n--bootloader efi,variable-store=/p/efi.nvram\n"), std::string::npos) << text;
  EXPECT_NE(text.find("\n--device virtio-blk,path=/p/seed.iso,readonly\n"), std::string::npos) << text;
  EXPECT_EQ(text.find("--kernel"), std::string::npos);
  VfkitHost first = host;
  first.make_variable_store = true;
  EXPECT_NE(joined(plan, first).find("variable-store=/p/efi.nvram,create\n"), std::string::npos);
}

TEST(VfkitCommandLine, AddsSharesAndRosetta) {
  BootPlan plan = typical();
  plan.shares = {{"m0", "/Users/u", false}, {"m1", "/Users/v w=x", true}};
  plan.rosetta = true;
  const std::string text = joined(plan);
  EXPECT_NE(text.find("\n--device virtio-fs,sharedDir=/Users/u,mountTag=m0\n"), std::string::npos);
  EXPECT_NE(text.find("\n--device virtio-fs,sharedDir=/Users/v w=x,mountTag=m1\n"), std::string::npos);
  EXPECT_NE(text.find("\n--device rosetta,mountTag=rosetta"), std::string::npos);
}

TEST(VfkitCommandLine, TakesTheImagesInitrdAsItIsWithoutCredentials) {
  BootPlan plan = typical();
  plan.credentials.clear();
  EXPECT_NE(joined(plan).find("--initrd /img/initrd\n"), std::string::npos);
}

TEST(VfkitCommandLine, RefusesCommasThatVfkitWouldReadAsItsOwn) {
  BootPlan plan = typical();
  plan.root_disk = "/p,q/root.raw";
  EXPECT_NE(failure(plan).find("comma"), std::string::npos);
  plan = typical();
  plan.shares = {{"m0", "/Users/a, b", false}};
  EXPECT_EQ(failure(plan), "the path of a share has a comma: /Users/a, b: vfkit separates its options by commas");
  plan = typical();
  plan.kernel = "/img,1/kernel";  // not part of a list: it may
  EXPECT_EQ(failure(plan), "");
}

TEST(VfkitCommandLine, RefusesSocketsThatAUrlWouldWriteOtherwise) {
  for (const char* run : {"/a b/run", "/a#b/run", "/a?b/run", "/a%b/run", "/\xc3\xa4/run", "/a,b/run"}) {
    BootPlan plan = typical();
    plan.run_directory = run;
    EXPECT_NE(failure(plan).find("cannot use the path"), std::string::npos) << run;
  }
  BootPlan plan = typical();
  plan.run_directory = "/" + std::string(110, 'x');
  EXPECT_NE(failure(plan).find("too long"), std::string::npos);
}

class VfkitPlan : public testing::Test {
 protected:
  void SetUp() override {
    plan_ = typical();
    plan_.kernel = directory_ / "kernel";
    std::string image(64, '\0');
    image.replace(0x38, 4, "ARMd");
    write_atomically(plan_.kernel, image);
    for (auto* disk : {&plan_.root_disk, &plan_.data_disk}) {
      *disk = directory_ / disk->filename();
      write_atomically(*disk, std::string(512, '\0'));
    }
  }
  std::string failure(const std::string& arch = "aarch64") const {
    try {
      check_vfkit_plan(plan_, arch);
    } catch (const Error& error) {
      return one_line(error);
    }
    return {};
  }
  test::TempDir directory_;
  BootPlan plan_;
};

TEST_F(VfkitPlan, IsGood) { EXPECT_EQ(failure(), ""); }

TEST_F(VfkitPlan, OfAnotherArchitectureIsRefused) {
  EXPECT_EQ(failure("x86_64"), "vz runs no aarch64 machine on this x86_64 host");
}

TEST_F(VfkitPlan, WithADiskThatVfkitDiesOfIsRefused) {
  write_atomically(plan_.data_disk, "");
  EXPECT_NE(failure().find("is empty"), std::string::npos);
  write_atomically(plan_.data_disk, "QFI\xfb and more");
  EXPECT_NE(failure().find("qcow2"), std::string::npos);
  std::filesystem::remove(plan_.data_disk);
  EXPECT_NE(failure().find("is missing"), std::string::npos);
}

TEST_F(VfkitPlan, WithACompressedKernelIsRefusedOnAppleSilicon) {
  write_atomically(plan_.kernel, std::string("\x1f\x8b") + std::string(100, 'z'));
  EXPECT_NE(failure().find("uncompressed"), std::string::npos);
  plan_.arch = "x86_64";
  EXPECT_EQ(failure("x86_64"), "");
}

TEST_F(VfkitPlan, WithASharedFolderThatIsNotThereIsRefused) {
  plan_.shares = {{"m0", directory_ / "nowhere", false}};
  EXPECT_NE(failure().find("does not exist"), std::string::npos);
}

TEST(VfkitVersion, IsReadWithAndWithoutItsLetter) {
  VfkitBinary vfkit;
  EXPECT_TRUE(parse_vfkit_version("vfkit version: v0.6.4\n", vfkit));
  EXPECT_EQ(vfkit.version, "0.6.4");
  EXPECT_EQ(vfkit.patch, 4);
  EXPECT_TRUE(parse_vfkit_version("vfkit version: 1.10.0-3-gdeadbeef\n", vfkit));
  EXPECT_EQ(vfkit.minor, 10);
  for (const char* text : {"vfkit version: unknown\n", "vfkit version: v0.6\n", "", "krunkit 1.2.1"})
    EXPECT_FALSE(parse_vfkit_version(text, vfkit)) << text;
}

TEST(VfkitExit, IsToldApart) {
  EXPECT_TRUE(vfkit_exit_reason(ExitStatus{0, 0}, "").clean);
  EXPECT_FALSE(vfkit_exit_reason(ExitStatus{1, 0}, "reboot: Power down").clean);
  EXPECT_EQ(vfkit_exit_reason(ExitStatus{0, 9}, "").text, "vfkit was killed by signal 9");
  // One that was taken over has no exit status for us.
  EXPECT_TRUE(vfkit_exit_reason(std::nullopt, "x\n[   12.3] reboot: Power down").clean);
  EXPECT_TRUE(vfkit_exit_reason(std::nullopt, "x\n[   80.659751] systemd-shutdown[1]: Powering off.").clean);
  EXPECT_FALSE(vfkit_exit_reason(std::nullopt, "x\n[   80.659751] systemd-shutdown[1]: Rebooting.").clean);
  EXPECT_FALSE(vfkit_exit_reason(std::nullopt, "login:").clean);
}

}  // namespace
}  // namespace cl
