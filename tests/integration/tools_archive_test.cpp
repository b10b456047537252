#include <gtest/gtest.h>

#include <cstdlib>

#include "src/app/tools.hpp"
#include "src/base/file.hpp"
#include "tests/integration/fault_server.hpp"
#include "tests/support/run.hpp"
#include "tests/support/temp_dir.hpp"
#include "vm/hash.hpp"

// nerdctl's archive, from a web server or this host to where it is sent from.

namespace cl {
namespace {

using namespace std::chrono_literals;
using test::FaultServer;

class Tools : public ::testing::Test {
 protected:
  Tools() { write_atomically(file(), std::string(300'000, 'n') + "erdctl"); }
  std::string file() const { return directory_ / "nerdctl-full.tar.gz"; }
  fs::path cache() const { return directory_ / "cache"; }
  ToolsRelease release(const std::string& location) const {
    const auto found = tools_release(location + "#sha256:" + test::run(file_digest(file(), "sha256")), "x86_64");
    EXPECT_TRUE(found);
    return *found;
  }
  fs::path provide(ToolsRelease wanted) {
    return test::run(provide_tools(cache(), std::move(wanted), [](std::string_view) {}), 60s);
  }
  Error failure(ToolsRelease wanted) {
    try {
      provide(std::move(wanted));
    } catch (const Error& error) {
      return error;
    }
    return Error(Errc::internal, "it is there");
  }

  test::TempDir directory_;
};

TEST_F(Tools, AreDownloadedOnceAndAgainWhenTheFileIsDamaged) {
  FaultServer server(file());
  const ToolsRelease wanted = release(server.url("file"));
  const fs::path place = provide(wanted);
  EXPECT_EQ(read_file(place), read_file(file()));
  EXPECT_EQ(place.parent_path(), cache() / "archives");
  EXPECT_EQ(provide(wanted), place);
  EXPECT_EQ(server.requests(), "GET /file\n") << "the second time it is there";
  write_atomically(place, "something else");
  EXPECT_EQ(read_file(provide(wanted)), read_file(file()));
  EXPECT_EQ(server.requests(), "GET /file\nGET /file\n");
  EXPECT_EQ(prune_tools(cache(), {wanted.digest.hex}), 0U) << "a machine got them from it";
  EXPECT_GE(prune_tools(cache(), {}), 300'000U);
  EXPECT_FALSE(file_exists(place));
}

TEST_F(Tools, OfThisHostAreTakenAsTheyAreWithTheirDigest) {
  ToolsRelease wanted = release(file());
  EXPECT_EQ(provide(wanted), file());
  EXPECT_FALSE(fs::exists(cache())) << "nothing is copied";
  write_atomically(file(), "another one");
  EXPECT_NE(one_line(failure(wanted)).find("is not the file that was asked for"), std::string::npos);
  fs::remove(file());
  EXPECT_EQ(failure(wanted).code(), Errc::not_found);
}

TEST_F(Tools, AFileThatIsNotTheReleaseIsRefused) {
  FaultServer server(file());
  ToolsRelease wanted = release(server.url("file"));
  wanted.digest.hex.replace(0, 1, wanted.digest.hex[0] == '0' ? "1" : "0");
  EXPECT_EQ(failure(wanted).code(), Errc::protocol);
  EXPECT_TRUE(fs::is_empty(cache() / "downloads"));
}

TEST(ToolsRelease, IsOneForEachArchitectureAndAMirrorIsAskedFirst) {
  ::setenv("COLIMA_LIKE_NERDCTL_MIRROR", "https://mirror.test/nerdctl/", 1);
  const auto amd64 = tools_release("auto", "x86_64"), arm64 = tools_release("auto", "aarch64");
  ::unsetenv("COLIMA_LIKE_NERDCTL_MIRROR");
  ASSERT_TRUE(amd64 && arm64);
  EXPECT_NE(amd64->digest, arm64->digest);
  EXPECT_TRUE(parse_digest(amd64->digest.str()) && parse_digest(arm64->digest.str()));
  ASSERT_EQ(arm64->locations.size(), 2U);
  EXPECT_TRUE(arm64->locations[0].starts_with("https://mirror.test/nerdctl/v")) << arm64->locations[0];
  EXPECT_TRUE(arm64->locations[1].ends_with("-linux-arm64.tar.gz")) << arm64->locations[1];
  EXPECT_TRUE(amd64->pinned_by_us) << "a machine runs without it";
  EXPECT_FALSE(tools_release("none", "x86_64"));
  EXPECT_FALSE(tools_release("auto", "riscv64"));
}

}  // namespace
}  // namespace cl
