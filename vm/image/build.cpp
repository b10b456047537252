#include "vm/image/build.hpp"

#include <fmt/format.h>
#include <signal.h>
#include <unistd.h>

#include <array>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <cerrno>

#include "src/base/child.hpp"
#include "src/base/file.hpp"
#include "src/base/log.hpp"
#include "src/base/pipe.hpp"
#include "src/base/unique_fd.hpp"

namespace cl {
namespace {

/// Outermost process of a run. The builder holds the other end of its stdin: when that is closed, by cancellation or by
/// the builder's death, the recipe gets SIGTERM and cleans up. Its stderr is the lock, which is held until the recipe
/// has ended, even without a builder. The lock is not passed on, so nothing that the recipe may leave behind holds it.
/// $1 = build.sh, $2 = log.
constexpr const char* supervise = R"(
exec 3<&0 </dev/null
sh "$1" 3<&- 2>"$2" & job=$!
{ read -r nothing <&3; kill -TERM $job; } >/dev/null 2>&1 & watcher=$!
exec 3<&-
wait $job; rc=$?
kill $watcher 2>/dev/null
exit $rc
)";

/// Passes on "@phase TEXT" lines until the recipe closes its end.
asio::awaitable<void> forward_phases(asio::posix::stream_descriptor pipe, OnPhase on_phase) {
  constexpr std::string_view mark = "@phase ";
  constexpr std::size_t longest_line = 4096;
  std::array<char, 4096> buffer;
  std::string line;
  for (;;) {
    auto [ec, got] = co_await pipe.async_read_some(asio::buffer(buffer), no_throw);
    if (ec) co_return;
    for (const char c : std::string_view(buffer.data(), got)) {
      if (c != '\n') {
        if (line.size() < longest_line) line += c;
        continue;
      }
      if (line.starts_with(mark) && on_phase) on_phase(std::string_view(line).substr(mark.size()));
      line.clear();
    }
  }
}

asio::awaitable<ExitStatus> follow(Child& child, asio::posix::stream_descriptor pipe, OnPhase on_phase) {
  co_await forward_phases(std::move(pipe), std::move(on_phase));
  co_return co_await child.wait();
}

bool mentions(std::string_view text, std::initializer_list<std::string_view> words) {
  for (const std::string_view word : words)
    if (text.find(word) != std::string_view::npos) return true;
  return false;
}

constexpr const char* namespaces_refused = "this host refuses user namespaces, in which guest images are built";

std::string debian_arch(const std::string& arch) { return arch == "aarch64" ? "arm64" : "amd64"; }

}  // namespace

std::optional<Error> cannot_build(const std::string& arch, const HostFacts& host) {
  using enum Errc;
  if (host.os != "linux")
    return Error(host_requirement, "guest images are built on Linux hosts alone",
                 "colima-like start --image debian-13");
  if (!find_program("mmdebstrap"))
    return Error(host_requirement, "mmdebstrap, which builds guest images, is not installed",
                 "apt-get install mmdebstrap, or scripts/setup");
  if (arch == host.arch) return std::nullopt;
  // As the recipe asks (vm/guest_image/build.sh): with F, the translator works in the new root as well.
  const std::string entry = read_file_if_exists("/proc/sys/fs/binfmt_misc/qemu-" + arch).value_or("");
  const auto flags = entry.find("\nflags: ");
  if (flags != std::string::npos &&
      entry.substr(flags, entry.find('\n', flags + 1) - flags).find('F') != std::string::npos)
    return std::nullopt;
  return Error(host_requirement, fmt::format("this host does not run {0} programs, and so builds no {0} images", arch),
               "apt-get install qemu-user-binfmt (on Debian 12 and Ubuntu 24.04 qemu-user-static), or scripts/setup "
               "--foreign");
}

bool refuses_namespaces(const Error& error) { return std::string_view(error.what()) == namespaces_refused; }

Error explain_recipe_failure(int exit_code, std::string_view messages, const std::string& mirror, const fs::path& log) {
  constexpr int host_lacks_something = 3;  // the recipe's contract
  const std::string last = last_lines(messages, 6);
  if (exit_code == host_lacks_something && mentions(messages, {"user namespaces do not work here"}))
    return Error(
               Errc::host_requirement, namespaces_refused,
               "'colima-like start --image debian-13' takes a ready-made image; or allow them to this user, or be root")
        .because(last_lines(messages, 1));
  if (exit_code == host_lacks_something)
    return Error(Errc::host_requirement, "this host cannot build guest images", "install what is missing and try again")
        .because(last_lines(messages, 1));
  if (mentions(messages, {"No space left on device", "not enough free disk space"}))
    return Error(Errc::host_requirement, "no space left while building the guest image",
                 "free some space: a build needs several GiB in the cache directory and in /var/tmp")
        .because(last);
  if (mentions(messages, {"Could not connect", "Could not resolve", "Temporary failure resolving", "Failed to fetch",
                          "Connection failed", "Connection timed out", "Unable to connect",
                          "does not have a Release file", "Cannot initiate the connection"}))
    return Error(Errc::host_requirement, "the Debian mirror " + mirror + " cannot be used",
                 "check the network, or name another mirror with COLIMA_LIKE_MIRROR=URL")
        .because(last);
  return Error(Errc::io, "building the guest image failed", "all messages are in " + log.string())
      .because(fmt::format("exit code {}{}{}", exit_code, last.empty() ? "" : "; its last lines:\n", last));
}

asio::awaitable<void> run_recipe(RecipeRun run, OnPhase on_phase) {
  auto executor = co_await asio::this_coro::executor;
  Pipe leash_pipe = make_pipe(), phases = make_pipe();
  Command command;
  command.argv = {"sh", "-c", supervise, "build", (run.recipe / "build.sh").string(), run.log.string()};
  command.environment = {"OUT=" + run.out.string(),    "ARCH=" + debian_arch(run.key.arch),
                         "VARIANT=" + run.key.variant, "SUITE=" + run.key.suite,
                         "MIRROR=" + run.mirror,       "LC_ALL=C"};
  if (!run.scratch.empty()) command.environment.push_back("TMPDIR=" + run.scratch.string());
  command.directory = run.recipe;
  command.input = leash_pipe.read_end.get();
  command.output = phases.write_end.get();
  command.errors = run.lock_fd;
  command.new_session = true;  // Ctrl-C comes through us, so that it is followed by cleaning up
  Child child = Child::start(executor, command);
  leash_pipe.read_end.reset();
  phases.write_end.reset();

  asio::posix::stream_descriptor output(executor, phases.read_end.release());
  ExitStatus status;
  std::exception_ptr failure;
  try {
    status = co_await with_timeout(run.limit, "building the guest image",
                                   follow(child, std::move(output), std::move(on_phase)));
  } catch (...) {
    failure = std::current_exception();
  }
  if (failure) {
    // Interrupted or too slow. Nothing may interrupt the end of it.
    co_await asio::this_coro::throw_if_cancelled(false);
    leash_pipe.write_end.reset();
    bool ended = false;
    try {
      co_await uninterrupted(with_timeout(run.clean_up, "ending the image build", child.wait()));
      ended = true;
    } catch (const Error& error) {
      log::warn("{}", one_line(error));
    }
    if (!ended) {
      ::kill(-child.pid(), SIGKILL);
      co_await uninterrupted(child.wait());
    }
    co_await asio::this_coro::throw_if_cancelled(true);
    std::rethrow_exception(failure);
  }
  if (status.ok()) co_return;
  const std::string messages = tail_lines(run.log, 200);
  if (status.signal != 0)
    throw Error(Errc::io, "building the guest image was ended by signal " + std::to_string(status.signal));
  throw explain_recipe_failure(status.code, messages, run.mirror, run.log);
}

}  // namespace cl
