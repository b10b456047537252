#include "src/daemon/tools.hpp"

#include <fmt/format.h>

#include "provision/tools.hpp"
#include "src/app/tools.hpp"
#include "src/base/file.hpp"
#include "src/base/log.hpp"

namespace cl {
namespace {

/// The archive, or nothing and why not, when it is one that the machine runs without.
asio::awaitable<std::optional<fs::path>> provide(fs::path cache, ToolsRelease release, Job& job, std::string& why) {
  auto say = [&job](std::string_view text) { job.say(std::string(text)); };
  const bool needed = !release.pinned_by_us;
  try {
    co_return co_await provide_tools(std::move(cache), std::move(release), say);
  } catch (const Error& error) {
    if (needed) throw;
    log::warn("{}", one_line(error));
    why = fmt::format(
        "nerdctl and BuildKit are not in the machine: {}; 'colima-like config set containerd.tools FILE' names a "
        "nerdctl-full archive that is here, and 'none' does without",
        one_line(error));
  }
  co_return std::nullopt;
}

}  // namespace

asio::awaitable<std::string> bring_tools(const Home& home, const State& state, Guest& guest, Job& job) {
  if (state.profile.runtime != "containerd") co_return std::string();
  const auto release = tools_release(state.profile.containerd_tools, state.arch);
  if (!release) co_return std::string();
  const std::string had = co_await tools_in_guest(guest);
  if (had == release->digest.str()) co_return std::string();
  job.begin("tools", "looking for " + release->title);
  std::string why;
  const auto archive = co_await provide(home.cache, *release, job, why);
  if (!archive) {
    job.end("nerdctl and BuildKit are not there");
    co_return why;
  }
  std::error_code unknown;
  const ByteSize size = ByteSize::bytes(fs::file_size(*archive, unknown));
  std::uint64_t told = 0;
  auto sent = [&job, &told, size](std::uint64_t bytes) {
    const std::uint64_t percent = size.count() == 0 ? 100 : bytes * 100 / size.count();
    if (percent == told) return;
    told = percent;
    job.say(fmt::format("sending nerdctl and BuildKit to the guest: {}% of {}", percent, size.str()));
  };
  co_await send_tools(guest, *archive, release->digest.str(), sent);
  job.end(release->title + " is in the guest");
  co_return std::string();
}

}  // namespace cl
