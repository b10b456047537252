#include "vm/lifecycle.hpp"

#include <gtest/gtest.h>

#include <set>
#include <utility>

namespace cl {
namespace {

constexpr VmState states[] = {VmState::stopped, VmState::starting, VmState::running, VmState::degraded,
                              VmState::stopping};

TEST(Lifecycle, GoesFromStoppedToRunningAndBack) {
  VmState state = VmState::stopped;
  for (const VmEvent event :
       {VmEvent::start, VmEvent::ready, VmEvent::health_lost, VmEvent::health_back, VmEvent::stop, VmEvent::exited}) {
    const auto to = next(state, event);
    ASSERT_TRUE(to) << to_string(state) << " refuses " << to_string(event);
    state = *to;
  }
  EXPECT_EQ(state, VmState::stopped);
}

TEST(Lifecycle, RefusesWhatIsNotListed) {
  EXPECT_FALSE(next(VmState::stopped, VmEvent::stop));
  EXPECT_FALSE(next(VmState::stopping, VmEvent::ready));
  EXPECT_FALSE(next(VmState::running, VmEvent::ready));
}

TEST(Lifecycle, EveryStateButStoppedEndsWhenTheHypervisorIsGone) {
  for (const VmState state : states) {
    if (state == VmState::stopped) continue;
    EXPECT_EQ(next(state, VmEvent::exited), VmState::stopped) << to_string(state);
  }
}

TEST(Lifecycle, NamesNoEdgeTwice) {
  std::set<std::pair<VmState, VmEvent>> seen;
  for (const Edge& edge : edges) EXPECT_TRUE(seen.emplace(edge.from, edge.on).second) << to_string(edge.from);
}

TEST(Lifecycle, EveryStateHasANameOfItsOwn) {
  std::set<std::string_view> names;
  for (const VmState state : states) names.insert(to_string(state));
  EXPECT_EQ(names.size(), std::size(states));
}

}  // namespace
}  // namespace cl
