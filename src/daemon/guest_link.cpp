#include "src/daemon/guest_link.hpp"

#include "provision/readiness.hpp"
#include "src/base/log.hpp"

namespace cl {

GuestLink::GuestLink(asio::any_io_executor executor, Config config)
    : config_(std::move(config)), changed_(executor), tasks_(executor) {
  tasks_.spawn("guest link", keep_connected());
}

asio::awaitable<void> GuestLink::keep_connected() {
  for (;;) {
    ReadinessTimings timings;
    timings.total = config_.patience;
    try {
      guest_ = co_await wait_for_ssh(unix_dial(config_.socket), config_.login, timings);
    } catch (const Error& error) {
      last_failure_ = error;
    }
    if (!guest_) {
      log::warn("guest link: {}", one_line(*last_failure_));
      changed_.notify_all();
      co_await sleep_for(std::chrono::seconds(1));  // wait_for_ssh has waited long; this only bounds a fast failure
      continue;
    }
    log::info("the guest is reached");
    last_failure_.reset();
    changed_.notify_all();
    if (config_.on_change) config_.on_change(true);
    co_await guest_->lost();
    guest_.reset();
    log::warn("the guest is lost; connecting again");
    if (config_.on_change) config_.on_change(false);
  }
}

asio::awaitable<std::shared_ptr<Guest>> GuestLink::wait_for_guest() {
  for (;;) {
    if (given_up_) throw *given_up_;
    if (guest_) co_return guest_;
    if (last_failure_) throw *last_failure_;
    co_await changed_.wait();
  }
}

asio::awaitable<std::shared_ptr<Guest>> GuestLink::guest(std::chrono::milliseconds limit) {
  std::exception_ptr failure;
  try {
    co_return co_await with_timeout(limit, "reaching the guest", wait_for_guest());
  } catch (const Error& error) {
    if (error.code() != Errc::timed_out) throw;
  }
  throw Error(Errc::guest_failed, "the guest cannot be reached", "colima-like restart")
      .because(last_failure_ ? one_line(*last_failure_) : "its SSH server did not answer in time");
}

void GuestLink::give_up(Error why) {
  given_up_ = std::move(why);
  changed_.notify_all();
}

asio::awaitable<void> GuestLink::stop() {
  give_up(Error(Errc::not_running, "the machine is being stopped"));
  co_await tasks_.stop();
  guest_.reset();
}

}  // namespace cl
