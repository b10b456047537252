#include "src/app/images.hpp"

#include <gtest/gtest.h>

#include <cstdlib>

#include "src/base/file.hpp"
#include "tests/support/run.hpp"
#include "tests/support/temp_dir.hpp"
#include "vm/hash.hpp"
#include "vm/image/build.hpp"
#include "vm/qemu/accel.hpp"

namespace cl {
namespace {

/// Which image a setting means, in a cache with small images in it and a PATH with nothing in it.
class ProvideImage : public ::testing::Test {
 protected:
  ProvideImage() {
    home_.profiles = directory_ / "home";
    home_.cache = directory_ / "cache";
    make_private_directory(home_.cache);
    path_ = std::getenv("PATH");
    // Nothing may be asked for on a network.
    ::setenv("https_proxy", "http://127.0.0.1:1", 1);
  }
  ~ProvideImage() override {
    ::setenv("PATH", path_.c_str(), 1);
    ::unsetenv("https_proxy");
  }
  void hide_programs() { ::setenv("PATH", (directory_ / "programs").c_str(), 1); }

  /// As if it had been built by our recipe.
  std::string built() {
    const Recipe recipe({{"build.sh",
                          "echo root > \"$OUT/root.raw\"; echo kernel > \"$OUT/kernel\"; "
                          "echo cmdline=rw > \"$OUT/manifest.txt\"\n"}});
    ImageCache images(directory_ / "other", recipe);
    ImageKey key{"x86_64"};
    BuildOptions options{"http://mirror.invalid", std::chrono::seconds(30), ByteSize()};
    const Image image = test::run(images.build(key, options, {}));
    const std::string name = image_cache(home_).name_of(key);
    make_private_directory(home_.cache / "images");
    fs::rename(directory_ / "other" / image.name, home_.cache / "images" / name);
    return name;
  }
  Image downloaded(const std::string& title, const std::string& content = "boot") {
    std::string disk(1 << 20, '\0');
    disk.replace(0, content.size(), content);
    disk.replace(510, 2, "\x55\xaa");
    const fs::path file = directory_ / "disk.raw";
    write_atomically(file, disk);
    ImageSource source{title, "x86_64", {file.string()}, {"sha256", test::run(file_digest(file, "sha256"))}};
    return test::run(image_cache(home_).fetch(std::move(source), FetchOptions{}, {}));
  }
  std::string name_of(const std::string& setting, const std::string& used = "") {
    WantedImage wanted{setting, "x86_64", used, false};
    return test::run(provide_image(home_, std::move(wanted), [](std::string_view) {})).name;
  }

  test::TempDir directory_;
  Home home_;
  std::string path_;
};

TEST_F(ProvideImage, AutoTakesWhatIsThere) {
  const Image debian = downloaded("debian-13");
  hide_programs();
  EXPECT_EQ(name_of("auto"), debian.name);
  ::setenv("PATH", path_.c_str(), 1);
  const std::string docker = built();
  EXPECT_EQ(name_of("auto"), docker);
  EXPECT_EQ(name_of("docker"), docker);
  EXPECT_EQ(name_of("auto", debian.digest), debian.name) << "the machine's root disk stands on it";
  EXPECT_EQ(name_of("debian-13"), debian.name);
}

TEST_F(ProvideImage, WhatIsInTheCacheIsSeenWithoutReadingIt) {
  auto seen = [this](const std::string& setting, const std::string& arch = "x86_64") {
    const auto entry = cached_image(home_, setting, arch);
    return entry ? entry->name + entry->problem : "";
  };
  EXPECT_EQ(seen("auto"), "");
  const Image debian = downloaded("debian-13");
  EXPECT_EQ(seen("auto"), debian.name);
  EXPECT_EQ(seen("auto", "aarch64"), "");
  EXPECT_EQ(seen("debian-13"), debian.name);
  EXPECT_EQ(seen("ubuntu-24.04"), "");
  EXPECT_EQ(seen("/any/name.raw" + debian.source.substr(debian.source.rfind('#'))), debian.name);
  EXPECT_EQ(seen("docker"), "");
  const std::string docker = built();
  EXPECT_EQ(seen("docker"), docker);
  EXPECT_EQ(seen("plain"), "");
}

TEST_F(ProvideImage, AutoBuildsWhereMmdebstrapIs) {
  hide_programs();
  make_private_directory(directory_ / "programs");
  // The recipe is run by sh, which is all it finds, and says that it cannot go on.
  fs::create_symlink("/bin/sh", directory_ / "programs" / "sh");
  write_atomically(directory_ / "programs" / "mmdebstrap", "#!/bin/sh\nexit 1\n", 0700);
  try {
    name_of("auto");
    ADD_FAILURE() << "it was built";
  } catch (const Error& error) {
    EXPECT_EQ(std::string(error.what()).find("download"), std::string::npos) << one_line(error);
  }
}

TEST_F(ProvideImage, AMachineThatBootsSlowlyIsToldBefore) {
  HostFacts host = host_facts();
  host.os = "linux";
  host.arch = "x86_64";
  Profile profile;
  profile.driver = DriverWish::qemu;
  profile.accel = AccelWish::tcg;
  auto said = [&](const std::string& image) {
    profile.image = image;
    return slow_image(home_, profile, host);
  };
  EXPECT_NE(said("debian-13").find("--image docker"), std::string::npos) << said("debian-13");
  EXPECT_NE(said("/x.raw#sha256:" + std::string(64, '0')), "");
  EXPECT_EQ(said("docker"), "");
  host.os = "macos";
  EXPECT_NE(said("auto").find("debian-13"), std::string::npos) << "it cannot be built here, and so is downloaded";
  built();
  EXPECT_EQ(said("auto"), "") << "there is one that was built";
  profile.driver = DriverWish::vz;
  EXPECT_EQ(said("debian-13"), "");
}

TEST_F(ProvideImage, WhetherHardwareRunsItIsWhatEarlierStartsFoundOut) {
  if (!fs::exists("/dev/kvm")) GTEST_SKIP() << "no /dev/kvm here";
  HostFacts host = host_facts();
  Profile profile;
  profile.driver = DriverWish::qemu;
  profile.image = "debian-13";
  const fs::path verdicts = home_.cache / "accel.json";
  write_atomically(verdicts, R"({"a": {"usable": false, "why": "no"}, "b": {"usable": true}})");
  const std::string with_hardware = slow_image(home_, profile, host);
  write_atomically(verdicts, R"({"a": {"usable": false, "why": "no"}})");
  EXPECT_NE(slow_image(home_, profile, host), "");
  if (kvm_problem("/dev/kvm").empty()) EXPECT_EQ(with_hardware, "");
}

TEST_F(ProvideImage, ARecipeThatIsRefusedNamespacesSaysSo) {
  const Recipe refusing({{"build.sh", "echo 'user namespaces do not work here (x): EPERM' >&2; exit 3\n"}});
  ImageCache images(directory_ / "other", refusing);
  BuildOptions options{"http://mirror.invalid", std::chrono::seconds(30), ByteSize()};
  try {
    test::run(images.build(ImageKey{"x86_64"}, options, {}));
    ADD_FAILURE() << "it was built";
  } catch (const Error& error) {
    EXPECT_TRUE(refuses_namespaces(error)) << one_line(error);
  }
}

TEST_F(ProvideImage, WhatAHostLacksToBuildAnImageIsToldWithARemedy) {
  make_private_directory(directory_ / "programs");
  write_atomically(directory_ / "programs" / "mmdebstrap", "#!/bin/sh\n", 0700);
  hide_programs();
  HostFacts host = host_facts();
  host.os = "linux";
  auto lack = [&host](const std::string& arch) {
    const auto error = cannot_build(arch, host);
    if (error) EXPECT_NE(error->remedy(), "");
    return std::string(error ? error->what() : "");
  };
  EXPECT_EQ(lack(host.arch), "");
  EXPECT_EQ(lack("vax"), "this host does not run vax programs, and so builds no vax images");
  host.os = "macos";
  EXPECT_EQ(lack(host.arch), "guest images are built on Linux hosts alone");
}

TEST_F(ProvideImage, ACatalogImageThatIsThereStaysTheMachinesOwn) {
  const Image old = downloaded("debian-13", "old");
  downloaded("ubuntu-24.04", "other");
  const Image recent = downloaded("debian-13", "recent");
  EXPECT_EQ(name_of("debian-13", old.digest), old.name);
  const std::string any = name_of("debian-13");
  EXPECT_TRUE(any == recent.name || any == old.name) << "made in the same second";
}

TEST_F(ProvideImage, NonsenseIsRefused) {
  EXPECT_THROW(name_of("windows"), Error);
  WantedImage wanted{"debian-13", "riscv64", "", false};
  EXPECT_THROW(test::run(provide_image(home_, std::move(wanted), [](std::string_view) {})), Error);
}

}  // namespace
}  // namespace cl
