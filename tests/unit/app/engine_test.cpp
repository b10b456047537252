#include "src/app/engine.hpp"

#include <gtest/gtest.h>

#include <boost/json/parse.hpp>

namespace cl {
namespace {

namespace json = boost::json;

TEST(DiskUse, CountsAsDockerDoes) {
  const auto uses = disk_use_of(json::parse(R"({
    "LayersSize": 1000,
    "Images": [{"Size": 700, "SharedSize": 200, "Containers": 1}, {"Size": 500, "SharedSize": 200, "Containers": 0}],
    "Containers": [{"SizeRw": 30, "State": "running"}, {"SizeRw": 12, "State": "exited"}, {"State": "created"}],
    "Volumes": [{"UsageData": {"Size": 40, "RefCount": 1}}, {"UsageData": {"Size": 5, "RefCount": 0}},
                {"UsageData": {"Size": -1, "RefCount": -1}}],
    "BuildCache": [{"Size": 9, "InUse": false, "Shared": false}, {"Size": 4, "InUse": true, "Shared": false},
                   {"Size": 100, "InUse": false, "Shared": true}]})")
                                    .as_object());
  const std::vector<DiskUse> wanted{
      {"images", 2, 1000, 500}, {"containers", 3, 42, 12}, {"volumes", 3, 45, 5}, {"build cache", 3, 13, 9}};
  EXPECT_EQ(uses, wanted);
}

TEST(DiskUse, TakesWhatIsMissingForNothing) {
  for (const char* answer : {"{}", R"({"Images": null, "Volumes": 3, "Containers": [7], "LayersSize": "x"})"})
    for (const DiskUse& use : disk_use_of(json::parse(answer).as_object())) {
      EXPECT_EQ(use.bytes, 0U) << answer;
      EXPECT_EQ(use.count, 0U) << answer;
      EXPECT_EQ(use.reclaimable, 0U) << answer;
    }
}

}  // namespace
}  // namespace cl
