#include <gtest/gtest.h>

#include "src/base/file.hpp"
#include "src/cli/help.hpp"

namespace cl::cli {
namespace {

TEST(Docs, TheCommandLinesPageIsMadeOfTheTable) {
  const std::string page = read_file(fs::path(COLIMA_LIKE_SOURCE) / "docs/cli.md");
  EXPECT_TRUE(page == reference()) << "docs/cli.md is older than src/cli/table.cpp. Make it anew, and look at the "
                                      "difference:\n  build/test/src/colima-like reference > docs/cli.md; git diff";
}

}  // namespace
}  // namespace cl::cli
