#include "provision/channel/guest.hpp"

#include <algorithm>
#include <array>
#include <boost/asio/ip/address.hpp>
#include <optional>
#include <random>
#include <utility>

#include "src/base/log.hpp"

namespace cl {

extern const std::string_view guest_mux_script;

namespace mux {
namespace {

using Clock = std::chrono::steady_clock;

constexpr auto first_pause = std::chrono::seconds(1);         // before it is brought up again
constexpr auto longest_pause = std::chrono::minutes(2);       // where it cannot be: no such ports, no perl
constexpr auto bring_up_patience = std::chrono::seconds(30);  // an emulated guest starts perl in one
constexpr auto park_patience = std::chrono::seconds(1);

/// Told by both ends first, so that bytes of an earlier connection are not taken for this one's.
std::string fresh_nonce() {
  std::random_device random;
  std::string nonce;
  for (int i = 0; i < 32; ++i) nonce += "0123456789abcdef"[random() & 15];
  return nonce;
}

/// Ends the mux when its program in the guest ends, and says why.
asio::awaitable<void> follow(std::shared_ptr<GuestProcess> program, std::shared_ptr<Mux> mux) {
  std::array<char, 512> space;
  std::string said;
  try {
    while (co_await program->io().read_some(space) > 0) {
    }
    const std::size_t got = co_await program->read_errors(space);
    said.assign(space.data(), got);
  } catch (const Error& error) {
    said = one_line(error);
  }
  while (said.ends_with('\n')) said.pop_back();
  mux->stop("its program in the guest ended" + (said.empty() ? said : ": " + said));
}

}  // namespace

MuxGuest::MuxGuest(const asio::any_io_executor& executor, std::shared_ptr<Guest> ssh)
    : ssh_(std::move(ssh)), changed_(executor), tasks_(executor) {}

void MuxGuest::use(Dial dial) {
  if (dial_) return;
  dial_ = std::move(dial);
  tasks_.spawn("data channel", keep());
}

asio::awaitable<void> MuxGuest::keep() {
  std::chrono::milliseconds pause = first_pause;
  for (;;) {
    while (parked_) co_await changed_.wait();
    const auto begun = Clock::now();
    try {
      co_await serve();
    } catch (const Error& error) {
      log::warn("data channel: {}; streams go by SSH", one_line(error));
    }
    const bool stood = Clock::now() - begun > longest_pause;
    pause = stood ? first_pause : std::min<std::chrono::milliseconds>(pause * 2, longest_pause);
    co_await sleep_for(pause);
  }
}

/// Brings it up, and returns by an exception when it is lost.
asio::awaitable<void> MuxGuest::serve() {
  struct Ending {  // however this ends
    MuxGuest& guest;
    std::shared_ptr<Mux> mux;
    Ending(MuxGuest& of, std::shared_ptr<Mux> one) : guest(of), mux(std::move(one)) {}
    Ending(const Ending&) = delete;
    Ending& operator=(const Ending&) = delete;
    ~Ending() {
      mux->stop();
      guest.mux_.reset();
    }
  };
  auto executor = co_await asio::this_coro::executor;
  // The ports first: what the guest's program sends must find us there.
  Transport transport = co_await dial_();
  const std::string nonce = fresh_nonce();
  auto mux = Mux::start(executor, std::move(transport), nonce);
  mux_ = mux;
  const Ending ending(*this, mux);
  ExecRequest request;
  request.command = "exec perl -e '" + std::string(guest_mux_script) + "' " + nonce;
  std::shared_ptr<GuestProcess> program = co_await ssh_->exec(std::move(request));
  TaskGroup watch(executor);
  watch.spawn("data channel's program", follow(program, mux));
  std::exception_ptr failure;
  try {
    co_await with_timeout(bring_up_patience, "waiting for the guest's end of the data channel", mux->wait_up());
    log::info("the data channel stands");
    co_await mux->lost();
  } catch (...) {
    failure = std::current_exception();
  }
  mux->stop();
  co_await asio::this_coro::throw_if_cancelled(false);
  co_await uninterrupted(watch.stop());
  co_await asio::this_coro::throw_if_cancelled(true);
  if (failure) std::rethrow_exception(failure);
  throw Error(Errc::io, "it is lost").because(mux->reason());
}

asio::awaitable<std::unique_ptr<GuestProcess>> MuxGuest::exec(ExecRequest request) {
  return ssh_->exec(std::move(request));
}

asio::awaitable<std::unique_ptr<ByteStream>> MuxGuest::open_unix(std::string path) {
  if (!by_mux()) return ssh_->open_unix(std::move(path));
  return mux_->open_unix(std::move(path));
}

asio::awaitable<std::unique_ptr<ByteStream>> MuxGuest::open_tcp(std::string host, std::uint16_t port) {
  error_code no_address;  // but a name, which sshd looks up
  asio::ip::make_address(host, no_address);
  if (!by_mux() || no_address) return ssh_->open_tcp(std::move(host), port);
  return mux_->open_tcp(std::move(host), port);
}

asio::awaitable<void> MuxGuest::lost() { return ssh_->lost(); }

asio::awaitable<void> MuxGuest::check(std::chrono::milliseconds limit) {
  const auto asked = mux_;
  if (!asked || !asked->usable()) co_return;
  std::string trouble;
  try {
    // Nobody listens on a directory: the refusal is the answer.
    co_await with_timeout(limit, "the answer on the data channel", asked->open_unix("/"));
  } catch (const Error& error) {
    if (error.code() == Errc::timed_out) trouble = one_line(error);
  }
  if (!trouble.empty() && asked->usable()) asked->stop(trouble);
}

asio::awaitable<void> MuxGuest::park() {
  parked_ = true;
  const auto mux = mux_;
  if (!mux) co_return;
  std::string trouble;
  try {
    co_await with_timeout(park_patience, "silence on the data channel", mux->park());
  } catch (const Error& error) {
    trouble = one_line(error);
  }
  if (!trouble.empty()) mux->stop(trouble);
}

asio::awaitable<void> MuxGuest::unplugged() {
  const auto mux = mux_;
  if (mux) co_await mux->unplugged();
}

asio::awaitable<void> MuxGuest::plug() {
  const auto mux = mux_;
  if (!mux || mux->ended()) co_return;
  try {
    Transport transport = co_await dial_();
    mux->plug(std::move(transport));
  } catch (const Error& error) {
    mux->stop(one_line(error));
  }
}

void MuxGuest::unpark() {
  parked_ = false;
  if (mux_) mux_->unpark();
  changed_.notify_all();
}

asio::awaitable<void> MuxGuest::stop() { return tasks_.stop(); }

}  // namespace mux
}  // namespace cl
