#include "provision/steps.hpp"

#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>

#include "src/base/file.hpp"
#include "tests/support/temp_dir.hpp"

namespace cl {

extern const std::string_view provision_script;

namespace {

TEST(StepReader, TellsEachStepInWordsAndWhatChanged) {
  StepReader reader;
  EXPECT_EQ(reader.line("@step docker-install"), "");
  EXPECT_EQ(reader.line("@doing docker-install"), "installing Docker in the guest");
  EXPECT_EQ(reader.line("Get:1 http://deb.debian.org"), "");
  EXPECT_EQ(reader.line("@done docker-install changed"), "");
  EXPECT_EQ(reader.line("@step docker-start"), "");
  EXPECT_EQ(reader.line("@done docker-start unchanged"), "");
  ASSERT_EQ(reader.finished().size(), 2U);
  EXPECT_TRUE(reader.finished()[0].changed);
  EXPECT_FALSE(reader.finished()[1].changed);
}

TEST(StepReader, AFailureNamesTheStepAndShowsItsLastLinesOnly) {
  StepReader reader;
  reader.line("@step docker-install");
  reader.line("old news");
  reader.line("@done docker-install unchanged");
  reader.line("@step docker-start");
  for (int i = 0; i < 40; ++i) reader.line("line " + std::to_string(i));
  const Error error = reader.failure(1, "and stderr\n");
  EXPECT_EQ(error.code(), Errc::guest_failed);
  EXPECT_STREQ(error.what(), "Docker failed to start in the guest");
  EXPECT_EQ(error.cause().find("old news"), std::string::npos);
  EXPECT_EQ(error.cause().find("line 3\n"), std::string::npos);
  EXPECT_NE(error.cause().find("line 39\nand stderr"), std::string::npos) << error.cause();
  EXPECT_FALSE(error.remedy().empty());
}

TEST(StepReader, AScriptThatDiesSilentlyStillSaysSomething) {
  StepReader reader;
  EXPECT_NE(reader.failure(137, "").cause().find("137"), std::string::npos);
}

TEST(StepReader, RefusesStepsAndPlatformsWithoutEnd) {
  StepReader steps, platforms;
  int told = 0;
  EXPECT_THROW(
      for (; told < 1000; ++told) {
        steps.line("@step docker-start");
        steps.line("@done docker-start changed");
      },
      Error);
  EXPECT_EQ(told, 64);
  EXPECT_EQ(steps.finished().size(), 64u);
  EXPECT_THROW(for (told = 0; told < 1000; ++told) platforms.line("@platform linux/arm64 qemu works"), Error);
  EXPECT_EQ(told, 64);
  StepReader named;
  named.line("@step " + std::string(10'000, 'x'));
  named.line("@done x");
  EXPECT_EQ(named.finished()[0].name.size(), 64u);
}

TEST(StepReader, EndlessOutputIsBounded) {
  StepReader reader;
  reader.line("@step docker-install");
  for (int i = 0; i < 100000; ++i) reader.line(std::string(100, 'x'));
  EXPECT_LT(reader.failure(1, "").cause().size(), 4000U);
}

/// The part of the script that installs, on a guest whose programs are files of a directory, and whose apt writes down
/// what it is told.
class InstallScript : public ::testing::Test {
 protected:
  InstallScript() {
    fs::create_directory(bin());
    program("apt-get", "echo \"$*\" >> \"$log\"");
    program("apt-cache", "case $2 in docker-cli) exit 100 ;; esac");
  }
  const fs::path& dir() const { return dir_.path(); }
  fs::path bin() const { return dir_ / "bin"; }
  void program(const std::string& name, const std::string& text = "") {
    std::ofstream(bin() / name) << "#!/bin/sh\n" << text << "\n";
    fs::permissions(bin() / name, fs::perms::owner_all);
  }
  void is_a_distributions() { std::ofstream(dir_ / "set-up") << ""; }

  /// What apt installed, in one go; "nothing" when it was not run at all. `steps_` is what the script said.
  std::string install(const std::string& call, bool works = true, const std::string& runtime = "docker") {
    std::string part(provision_script);
    const auto begin = part.find("foreign=/etc/"), end = part.find("# start NAME");
    EXPECT_LT(begin, end);
    part = part.substr(begin, end - begin);
    for (const std::string_view of_guest : {"/etc/colima-like/", "/etc/initramfs-tools/", "/run/colima-like/"})
      for (auto at = part.find(of_guest); at != std::string::npos; at = part.find(of_guest))
        part.replace(at, of_guest.size(), dir_.path().string() + "//");
    std::ofstream(dir_ / "script") << "set -u\nruntime=" << runtime
                                   << "\nstep() { :; }\ndoing() { echo \"$1\"; }\ndone_() { echo \"$1 $2\"; }\n"
                                   << part << call << "\n";
    const std::string log = dir_ / "log", said = dir_ / "said";
    fs::remove(log);
    const std::string command = "env -i PATH=" + bin().string() + " log=" + log + " /bin/sh " +
                                (dir_ / "script").string() + " > " + said + " 2>&1";
    EXPECT_EQ(std::system(command.c_str()) == 0, works) << read_file(said);
    steps_ = read_file(said);
    const std::string told = read_file_if_exists(log).value_or("");
    if (told.empty()) return "nothing";
    const std::string before = "install -y --no-install-recommends ";
    const auto at = told.find(before);
    EXPECT_EQ(at, told.rfind(before)) << told;
    return at == std::string::npos ? told : told.substr(at + before.size());
  }

  std::string steps_;

 private:
  test::TempDir dir_;
};

TEST_F(InstallScript, ADistributionsGuestGetsWhatOurImagesHaveTogetherWithDocker) {
  is_a_distributions();
  EXPECT_EQ(install("install docker dockerd docker.io '?docker-cli'"),
            "docker.io sshfs dnsmasq-base qemu-user-static\n");
  EXPECT_EQ(steps_, "docker-install\ndocker-install changed\n");
  program("apt-cache", "case $2 in qemu-user-static) exit 100 ;; esac");
  EXPECT_EQ(install("install docker dockerd docker.io"), "docker.io sshfs dnsmasq-base qemu-user-binfmt\n");
}

TEST_F(InstallScript, WhatIsThereAlreadyNeedsNoNetwork) {
  is_a_distributions();
  program("dockerd");
  program("sshfs");
  EXPECT_EQ(install("install docker dockerd docker.io"), "dnsmasq-base qemu-user-static\n") << "Docker came along";
  EXPECT_EQ(steps_, "tools-install\ntools-install changed\n");
  EXPECT_EQ(install("install tools true", true, "none"), "qemu-user-static\n") << "without a runtime";
  program("dnsmasq");
  for (const char* name : {"qemu-s390x", "qemu-s390x-static"}) {
    program(name);
    EXPECT_EQ(install("install docker dockerd docker.io"), "nothing");
    EXPECT_EQ(steps_, "docker-install unchanged\n");
    fs::remove(bin() / name);
  }
}

TEST_F(InstallScript, WithoutANetworkTheEngineThatIsThereStartsAllTheSame) {
  is_a_distributions();
  program("apt-get", "exit 100");
  program("dockerd");
  install("install docker dockerd docker.io");
  EXPECT_EQ(steps_, "tools-install\ntools-install unchanged\n");
  fs::remove(bin() / "dockerd");
  install("install docker dockerd docker.io", false);
  EXPECT_EQ(steps_, "docker-install\n");
}

TEST_F(InstallScript, NoInitramfsIsMadeForWhatIsInstalled) {
  is_a_distributions();
  const std::string conf = dir().string() + "//update-initramfs.conf";
  std::ofstream(conf) << "update_initramfs=yes\n";
  program("mkdir");
  program("mount", "echo mounted over \"$3\" >> \"$log\"");
  program("umount", "[ -e \"$log.umounted\" ] || echo \"$1\" given back >> \"$log\"; : > \"$log.umounted\"; exit 1");
  install("install tools true");
  const std::string log = read_file(dir() / "log");
  const auto before = log.find("mounted over " + conf), installed = log.find(" install -y "),
             after = log.find(conf + " given back");
  EXPECT_LT(before, installed) << log;
  EXPECT_LT(installed, after) << log;
  EXPECT_NE(after, std::string::npos) << log;
}

TEST_F(InstallScript, OurOwnGuestGetsTheRuntimeAlone) {
  EXPECT_EQ(install("install docker dockerd docker.io"), "docker.io\n");
  program("dockerd");
  EXPECT_EQ(install("install docker dockerd docker.io"), "nothing");
  EXPECT_EQ(install("install tools true"), "nothing");
}

}  // namespace
}  // namespace cl
