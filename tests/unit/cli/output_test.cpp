#include "src/cli/output.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <sstream>

namespace cl::cli {
namespace {

using namespace std::chrono_literals;
using Clock = ProgressView::Clock;

rpc::Progress progress(std::string phase, std::string text, bool done = false) {
  rpc::Progress one;
  one.phase = std::move(phase);
  one.text = std::move(text);
  one.done = done;
  return one;
}

/// Ticks a view as the command line does, through phases of which some say something themselves, and returns the
/// longest time in which it wrote nothing.
Clock::duration longest_silence() {
  std::ostringstream out;
  ProgressView view(out, true);
  const auto begin = Clock::now();
  auto now = begin, told = begin;
  Clock::duration longest{};
  std::size_t size = 0;
  const auto look = [&] {
    longest = std::max(longest, now - told);
    if (out.str().size() == size) return;
    size = out.str().size();
    told = now;
  };
  for (int step = 0; step < 400; ++step, now += 100ms) {
    if (step % 133 == 0) view.update(progress("phase" + std::to_string(step), "doing"), now);
    if (step % 57 == 0)
      view.update(progress("phase" + std::to_string(step / 133 * 133), "step " + std::to_string(step)), now);
    view.tick(now);
    look();
  }
  return longest;
}

TEST(ProgressView, IsNeverSilentOnATerminal) { EXPECT_LE(longest_silence(), 2s); }

TEST(ProgressView, WritesALineAPhaseWhereThereIsNoTerminal) {
  std::ostringstream out;
  ProgressView view(out, false);
  const auto begin = Clock::now();
  view.update(progress("boot", "starting"), begin);
  view.tick(begin + 100ms);
  view.update(progress("boot", "starting"), begin + 200ms);
  view.tick(begin + 2s);
  rpc::Progress ended = progress("boot", "started", true);
  ended.elapsed = 2500ms;
  view.update(ended, begin + 2500ms);
  EXPECT_EQ(out.str(), "started 2.5 s\n");
  view.update(progress("image", "downloading: 1.5 of 300 MiB"), begin + 3s);
  view.tick(begin + 12s);
  view.update(progress("image", "downloading: 20 of 300 MiB"), begin + 13s);
  view.tick(begin + 14s);
  view.update(progress("image", "downloading: 299 of 300 MiB"), begin + 60s);
  view.tick(begin + 60s);
  view.update(progress("image", "unpacking"), begin + 61s);
  view.tick(begin + 100s);
  ended = progress("image", "the image is there", true);
  ended.elapsed = 98s;
  view.update(ended, begin + 101s);
  EXPECT_EQ(out.str(), "started 2.5 s\ndownloading: 20 of 300 MiB\nunpacking\nthe image is there 98.0 s\n");
}

TEST(ProgressView, KeepsOneLiveLineOnATerminal) {
  std::ostringstream out;
  ProgressView view(out, true);
  const auto begin = Clock::now();
  view.update(progress("boot", "starting"), begin);
  view.tick(begin + 100ms);
  EXPECT_EQ(out.str().find('\n'), std::string::npos) << out.str();
  EXPECT_NE(out.str().find("starting 0.1 s"), std::string::npos) << out.str();
  view.clear();
  EXPECT_TRUE(out.str().ends_with("\r\033[K")) << "whatever is printed next begins on an empty line";
}

}  // namespace
}  // namespace cl::cli
