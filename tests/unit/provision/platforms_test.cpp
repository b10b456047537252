#include "provision/platforms.hpp"

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <fstream>
#include <sstream>

#include "src/base/error.hpp"
#include "src/base/file.hpp"
#include "src/base/host.hpp"
#include "tests/support/temp_dir.hpp"

namespace cl {
namespace {

/// The number of `size` bytes at `at`, in the platform's order.
std::uint64_t number(const Platform& platform, const std::string& file, std::size_t at, std::size_t size) {
  std::uint64_t value = 0;
  for (std::size_t i = 0; i < size; ++i)
    value |= std::uint64_t{static_cast<unsigned char>(file.at(at + i))}
             << (8 * (platform.big_endian ? size - 1 - i : i));
  return value;
}

std::string output_of(const std::string& command) {
  FILE* pipe = ::popen(command.c_str(), "r");
  std::string text;
  for (int c; (c = std::fgetc(pipe)) != EOF;) text += static_cast<char>(c);
  ::pclose(pipe);
  return text;
}

TEST(TinyProgram, IsAStaticElfProgramOfItsPlatform) {
  for (const Platform& platform : platforms()) {
    const std::string file = tiny_program(platform);
    const bool wide = platform.bits == 64;
    EXPECT_LT(file.size(), 300U) << platform.name;
    EXPECT_EQ(file.substr(0, 4),
              "\x7f"
              "ELF");
    EXPECT_EQ(file[4], wide ? 2 : 1) << platform.name;
    EXPECT_EQ(file[5], platform.big_endian ? 2 : 1) << platform.name;
    EXPECT_EQ(number(platform, file, 16, 2), 2U) << platform.name << ": ET_EXEC";
    EXPECT_EQ(number(platform, file, 18, 2), platform.machine);
    const std::size_t entry = number(platform, file, 24, wide ? 8 : 4);
    const std::size_t segment = number(platform, file, wide ? 32 : 28, wide ? 8 : 4);
    EXPECT_EQ(number(platform, file, segment, 4), 1U) << platform.name << ": PT_LOAD";
    const std::size_t address = number(platform, file, segment + (wide ? 16 : 8), wide ? 8 : 4);
    const std::size_t size = number(platform, file, segment + (wide ? 32 : 16), wide ? 8 : 4);
    EXPECT_EQ(size, file.size()) << platform.name;
    EXPECT_EQ(file.substr(entry - address), platform.code) << platform.name << ": the entry is where the code is";
  }
}

TEST(TinyProgram, OfThisHostPrintsItsMachine) {
  const test::TempDir dir;
  const fs::path program = dir.path() / "program";
  std::ofstream(program, std::ios::binary) << tiny_program(platform_of(host_facts().arch));
  fs::permissions(program, fs::perms::owner_all);
  EXPECT_EQ(output_of(program.string()), output_of("uname -m"));
}

TEST(Binfmt, TheImageRegistersTheSameEntries) {
  const fs::path file = fs::path(COLIMA_LIKE_SOURCE) / "vm/guest_image/rootfs/usr/lib/binfmt.d/colima-like.conf";
  std::istringstream lines(read_file(file));
  std::vector<std::string> registered, wanted;
  for (std::string line; std::getline(lines, line);)
    if (!line.starts_with("#")) registered.push_back(line);
  for (const Platform& platform : platforms()) {
    const std::string arch(platform.arch);
    wanted.push_back(binfmt_line(platform, "qemu-" + arch, "/usr/bin/qemu-" + arch, "POCF"));
  }
  EXPECT_EQ(registered, wanted);
}

TEST(Binfmt, OneEntryNeverTakesAnothersPrograms) {
  auto bytes = [](const std::string& text) {
    std::vector<int> all;
    for (std::size_t at = 0; at < text.size(); at += 4) all.push_back(std::stoi(text.substr(at + 2, 2), nullptr, 16));
    return all;
  };
  for (const Platform& entry : platforms()) {
    const std::string both = binfmt_magic(entry);
    const auto magic = bytes(both.substr(0, both.find(':'))), mask = bytes(both.substr(both.find(':') + 1));
    ASSERT_EQ(magic.size(), 20U);
    ASSERT_EQ(mask.size(), 20U);
    for (const Platform& program : platforms()) {
      std::string file = tiny_program(program);
      file[7] = 3;  // an ABI of its own, as programs with GNU extensions have
      bool taken = true;
      for (std::size_t i = 0; i < magic.size(); ++i)
        taken = taken && (static_cast<unsigned char>(file[i]) & mask[i]) == (magic[i] & mask[i]);
      EXPECT_EQ(taken, entry.name == program.name) << entry.name << " and " << program.name;
    }
  }
}

TEST(ReadPlatform, TakesALineApart) {
  PlatformState state;
  EXPECT_TRUE(read_platform("@platform linux/arm64 qemu-user works", state));
  EXPECT_EQ(state, (PlatformState{"linux/arm64", "qemu-user", true, ""}));
  EXPECT_TRUE(read_platform("@platform linux/amd64 qemu-user works rosetta failed: exit code 133", state));
  EXPECT_EQ(state, (PlatformState{"linux/amd64", "qemu-user", true, "rosetta failed: exit code 133"}));
  EXPECT_TRUE(read_platform("@platform linux/s390x none fails qemu-user is not installed", state));
  EXPECT_EQ(state, (PlatformState{"linux/s390x", "none", false, "qemu-user is not installed"}));
  for (const char* other : {"", "@platform", "@platform linux/arm64", "@platform linux/arm64 qemu-user perhaps",
                            "platform linux/arm64 qemu-user works", "@step platforms"})
    EXPECT_FALSE(read_platform(other, state)) << other;
}

/// The guest's half, in a directory that stands for the guest's root: paths in the script begin there.
class PlatformsScript : public ::testing::Test {
 protected:
  PlatformsScript() {
    fs::create_directories(at("proc/sys/fs/binfmt_misc"));
    fs::create_directories(at("usr/bin"));
    std::ofstream(at("proc/sys/fs/binfmt_misc/register")) << "";
    std::ofstream(at("mountinfo")) << "1 0 0:1 / " << at("mnt/rosetta").string() << " rw - virtiofs rosetta rw\n";
    machine_ = host_facts().arch;
  }

  fs::path at(const std::string& path) const { return dir_.path() / path; }

  /// What the kernel would hold after a registration.
  void enable(const std::string& name, const std::string& flags) {
    std::ofstream(at("proc/sys/fs/binfmt_misc/" + name)) << "enabled\ninterpreter /x\nflags: " << flags << "\n";
  }
  void install_qemu(const std::string& arch) {
    std::ofstream(at("usr/bin/qemu-" + arch)) << "";
    fs::permissions(at("usr/bin/qemu-" + arch), fs::perms::owner_all);
  }

  std::vector<PlatformState> look(bool rosetta = false, const std::string& machine = {}) {
    std::string script = platforms_script({machine.empty() ? machine_ : machine, rosetta, why_not_});
    auto replace = [&script](const std::string& from, const std::string& to) {
      ASSERT_NE(script.find(from), std::string::npos) << from;
      for (std::size_t i = 0; (i = script.find(from, i)) != std::string::npos; i += to.size())
        script.replace(i, from.size(), to);
    };
    for (const char* path : {"/proc/sys/fs/binfmt_misc", "/run/colima-like", "/var/cache", "/mnt/rosetta",
                             "/run/binfmt.d", "/usr/bin/qemu-"})
      replace(path, dir_.path().string() + path);
    replace("/proc/self/mountinfo", at("mountinfo").string());
    std::ofstream(at("script")) << "set -u\n" << script << "\nbegin_platforms\nend_platforms\n";
    std::vector<PlatformState> all;
    std::istringstream lines(output_of("sh " + at("script").string() + " 2>" + at("errors").string()));
    for (std::string line; std::getline(lines, line);)
      if (PlatformState state; read_platform(line, state)) all.push_back(state);
    EXPECT_EQ(all.size(), platforms().size()) << read_file(at("errors"));
    return all;
  }
  static PlatformState of(const std::vector<PlatformState>& all, std::string_view arch) {
    const auto found = std::find_if(all.begin(), all.end(),
                                    [&](const PlatformState& one) { return one.platform == platform_of(arch).name; });
    return found == all.end() ? PlatformState{} : *found;
  }
  std::string last_registered() { return read_file(at("proc/sys/fs/binfmt_misc/register")); }

  test::TempDir dir_;
  std::string machine_, why_not_;
};

TEST_F(PlatformsScript, WithoutQemuSaysThatItIsNotInstalled) {
  const auto all = look();
  EXPECT_EQ(of(all, machine_).translator, "native");
  EXPECT_TRUE(of(all, machine_).works);
  for (const char* arch : {"riscv64", "s390x", "ppc64le"}) {
    EXPECT_EQ(of(all, arch).translator, "none");
    EXPECT_FALSE(of(all, arch).works);
    EXPECT_EQ(of(all, arch).why, "qemu-user is not installed in the machine");
  }
}

TEST_F(PlatformsScript, RegistersWhatTheMachineHasInPlaceOfAnEntryThatLacksFlags) {
  install_qemu("s390x");
  enable("qemu-s390x", "POF");
  look();
  EXPECT_EQ(last_registered(),
            binfmt_line(platform_of("s390x"), "qemu-s390x", at("usr/bin/qemu-s390x").string(), "POCF"));
}

TEST_F(PlatformsScript, LeavesAnEntryAloneThatHasThem) {
  install_qemu("s390x");
  enable("qemu-s390x", "POCF");
  look();
  EXPECT_EQ(last_registered(), "");
}

TEST_F(PlatformsScript, AnEntryWithoutAProgramThatRunsFailsAndSaysWhat) {
  // This host's kernel does not know the entry, so the program cannot run.
  enable("qemu-s390x", "POCF");
  const auto state = of(look(), "s390x");
  EXPECT_EQ(state.translator, "qemu-user");
  EXPECT_FALSE(state.works);
  EXPECT_FALSE(state.why.empty());
}

TEST_F(PlatformsScript, WhatIsFoundIsKeptUntilSomethingFails) {
  const fs::path kept = at("run/colima-like/platforms");
  look();
  std::string text = read_file(kept);
  EXPECT_NE(text.find(" fails "), std::string::npos);
  // All well: not looked at again.
  text.erase(text.find('\n') + 1);  // what it was looked at with
  for (const Platform& platform : platforms()) text += "@platform " + std::string(platform.name) + " kept works\n";
  std::ofstream(kept) << text;
  EXPECT_EQ(look().front().translator, "kept");
  // Another wish for Rosetta: looked at again.
  EXPECT_NE(look(true).front().translator, "kept");
}

TEST_F(PlatformsScript, ARosettaThatCannotBeHadIsTold) {
  // As if this were an ARM machine: x86_64 is foreign, and this host's CPU runs it if it is one of its own.
  const auto none = of(look(true, "aarch64"), "x86_64");
  EXPECT_NE(none.translator, "rosetta");
  EXPECT_NE(none.why.find("rosetta failed: its share has no program of that name"), std::string::npos) << none.why;
}

TEST_F(PlatformsScript, WhyTheHostHasNoRosettaIsShownWithWhatRunsInstead) {
  if (machine_ != "x86_64") GTEST_SKIP() << "the program would need a translator";
  enable("qemu-x86_64", "POCF");
  why_not_ = "it isn't installed";
  EXPECT_EQ(of(look(false, "aarch64"), "x86_64"), (PlatformState{"linux/amd64", "qemu-user", true, why_not_}));
}

TEST_F(PlatformsScript, ARosettaThatRunsIsRegisteredAfterQemuAndTold) {
  if (machine_ != "x86_64") GTEST_SKIP() << "the program would need a translator";
  install_qemu("x86_64");
  fs::create_directories(at("mnt/rosetta"));
  std::ofstream(at("mnt/rosetta/rosetta")) << "";
  fs::permissions(at("mnt/rosetta/rosetta"), fs::perms::owner_all);
  enable("qemu-x86_64", "POCF");
  const auto state = of(look(true, "aarch64"), "x86_64");
  EXPECT_EQ(state, (PlatformState{"linux/amd64", "rosetta", true, ""}));
  const std::string line = last_registered();
  EXPECT_TRUE(line.starts_with(":rosetta:M::")) << line;
  EXPECT_TRUE(line.ends_with("/mnt/rosetta/rosetta:OCF")) << line;
  EXPECT_EQ(read_file(at("run/binfmt.d/rosetta.conf")), line + "\n");
}

}  // namespace
}  // namespace cl
