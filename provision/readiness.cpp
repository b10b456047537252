#include "provision/readiness.hpp"

#include <algorithm>
#include <optional>
#include <utility>

#include "src/base/file.hpp"
#include "src/base/log.hpp"
#include "src/base/net/unix_socket.hpp"
#include "src/base/platform.hpp"

namespace cl {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

asio::awaitable<UniqueFd> connect_unix(std::filesystem::path path) {
  UnixSocket socket(co_await asio::this_coro::executor);
  error_code ec = co_await try_connect(socket, path);
  if (ec == boost::system::errc::filename_too_long)
    throw Error(Errc::invalid_config, "the path " + path.string() + " is too long for a socket");
  if (ec) throw Error(Errc::io, "cannot connect to " + path.string()).because(ec.message());
  UniqueFd fd(socket.release(ec));
  co_return fd;
}

asio::awaitable<Transport> dial_unix(std::filesystem::path to_guest, std::filesystem::path from_guest) {
  // In this order: a guest begins to speak when somebody listens, and must then find all of us there.
  UniqueFd to = co_await connect_unix(to_guest);
  if (from_guest == to_guest) co_return Transport(std::move(to));
  UniqueFd from = co_await connect_unix(from_guest);
  co_return Transport(std::move(from), std::move(to));
}

/// Whether the same attempt may succeed a little later.
bool may_pass(const Error& error) {
  return error.code() == Errc::io || error.code() == Errc::timed_out || error.code() == Errc::protocol;
}

asio::awaitable<std::unique_ptr<SshSession>> dial_and_log_in(Dial dial, SshLogin login, SshConnect connect) {
  Transport transport = co_await dial();
  co_return co_await connect(std::move(transport), std::move(login));
}

milliseconds left_until(Clock::time_point deadline) {
  return std::max(milliseconds(0), std::chrono::duration_cast<milliseconds>(deadline - Clock::now()));
}

}  // namespace

Dial unix_dial(std::filesystem::path to_guest, std::filesystem::path from_guest) {
  return [to = std::move(to_guest), from = std::move(from_guest)] { return dial_unix(to, from); };
}

asio::awaitable<std::unique_ptr<SshSession>> wait_for_ssh(Dial dial, SshLogin login, SshConnect connect,
                                                          ReadinessTimings timings) {
  read_file(login.private_key);  // now, not after the guest has booted
  const Clock::time_point deadline = Clock::now() + timings.total;
  std::optional<Error> last;
  for (std::size_t attempt = 0; left_until(deadline) > milliseconds(0); ++attempt) {
    if (!timings.banner_patience.empty())
      login.timings.banner = timings.banner_patience[std::min(attempt, timings.banner_patience.size() - 1)];
    auto work = dial_and_log_in(dial, login, connect);
    try {
      co_return co_await with_timeout(left_until(deadline), "waiting for the guest", std::move(work));
    } catch (const Error& error) {
      if (!may_pass(error)) throw;
      log::debug("guest not ready, attempt {}: {}", attempt + 1, one_line(error));
      last = error;
    }
    co_await sleep_for(std::min(timings.redial_pause, left_until(deadline)));
  }
  const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(timings.total).count();
  Error error(Errc::guest_failed, "the guest's SSH server did not answer in " + std::to_string(seconds) + " s",
              "look at the guest's console with 'colima-like logs --console'");
  throw last ? error.because(one_line(*last)) : error;
}

}  // namespace cl
