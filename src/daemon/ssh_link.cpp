#include "src/daemon/ssh_link.hpp"

#include <algorithm>

#include "provision/clock.hpp"
#include "provision/readiness.hpp"
#include "src/base/log.hpp"

namespace cl {
namespace {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

constexpr auto stood_long = 10s;
constexpr auto longest_pause = 30s;

}  // namespace

SshLink::SshLink(asio::any_io_executor executor, Config config)
    : executor_(executor), config_(std::move(config)), changed_(executor), visits_(executor), tasks_(executor) {}

std::shared_ptr<GuestLink> SshLink::start(asio::any_io_executor executor, Config config) {
  auto link = std::make_shared<SshLink>(std::move(executor), std::move(config));
  link->tasks_.spawn("guest link", keep_connected(link));
  return link;
}

asio::awaitable<void> SshLink::keep_connected(std::shared_ptr<SshLink> self) {
  std::chrono::milliseconds pause{};
  for (;;) {
    ReadinessTimings timings;
    timings.total = self->config_.patience;
    try {
      self->guest_ = co_await wait_for_ssh(unix_dial(self->config_.to_guest, self->config_.from_guest),
                                           self->config_.login, self->config_.connect, timings);
    } catch (const Error& error) {
      log::warn("guest link: {}", one_line(error));
      self->last_failure_ = error;
    }
    if (!self->guest_) {
      self->changed_.notify_all();
      co_await sleep_for(std::chrono::seconds(1));  // wait_for_ssh has waited long; this only bounds a fast failure
      continue;
    }
    AgentGuest::Config agent;
    if (!self->config_.to_agent.empty()) agent.ports = unix_dial(self->config_.to_agent, self->config_.from_agent);
    agent.on_state = self->config_.on_agent;
    self->front_ = std::make_shared<AgentGuest>(self->executor_, self->guest_, std::move(agent));
    if (self->config_.on_agent) self->config_.on_agent();  // what was wrong with the last one is over
    log::info("the guest is reached");
    self->last_failure_.reset();
    self->changed_.notify_all();
    if (self->config_.on_change) self->config_.on_change(true);
    const auto reached = Clock::now();
    co_await self->guest_->lost();
    self->guest_.reset();
    co_await self->front_->stop();
    self->front_.reset();
    if (self->config_.on_agent) self->config_.on_agent();
    if (self->given_up_) co_return;
    log::warn("the guest is lost; connecting again");
    if (self->config_.on_change) self->config_.on_change(false);
    // The first one that is lost is made again at once; a guest that ends each one as soon as it stands is not served
    // with nothing but new ones.
    if (Clock::now() - reached > stood_long) pause = {};
    co_await sleep_for(pause);
    pause = std::clamp<std::chrono::milliseconds>(pause * 2, 100ms, longest_pause);
  }
}

asio::awaitable<std::shared_ptr<Guest>> SshLink::wait_for_guest() {
  for (;;) {
    if (given_up_) throw *given_up_;
    if (guest_ && !quiesced_ && !guest_->ended()) co_return front_;
    if (last_failure_) throw *last_failure_;
    co_await changed_.wait();
  }
}

asio::awaitable<std::shared_ptr<Guest>> SshLink::guest(std::chrono::milliseconds limit) {
  const Visits::Visit visit(visits_);
  std::exception_ptr failure;
  try {
    co_return co_await with_timeout(limit, "reaching the guest", wait_for_guest());
  } catch (const Error& error) {
    if (error.code() != Errc::timed_out) throw;
  }
  throw Error(Errc::guest_failed, "the guest cannot be reached", "colima-like restart")
      .because(last_failure_ ? one_line(*last_failure_) : "its SSH server did not answer in time");
}

asio::awaitable<bool> SshLink::quiesce() {
  const auto guest = guest_;
  const auto front = front_;
  if (!guest) co_return false;
  co_await front->quiesce();
  try {
    co_await guest->quiesce();
  } catch (const Error& error) {
    log::warn("guest link: {}", one_line(error));
    front->resume();
    co_return false;
  }
  quiesced_ = true;
  co_return true;
}

asio::awaitable<void> SshLink::detach() {
  const auto guest = guest_;
  const auto front = front_;
  if (guest) co_await guest->detached();
  if (front) co_await front->detached();
}

asio::awaitable<void> SshLink::reattach() {
  const auto guest = guest_;
  if (!guest) throw Error(Errc::io, "the connection to the guest was lost");
  Transport transport = co_await unix_dial(config_.to_guest, config_.from_guest)();
  guest->reattach(std::move(transport));
  const auto front = front_;
  if (front) co_await front->reattach();
}

void SshLink::resume() {
  quiesced_ = false;
  if (guest_) guest_->resume();
  if (front_) front_->resume();
  changed_.notify_all();
}

asio::awaitable<void> SshLink::set_clock(std::chrono::milliseconds limit) {
  const Visits::Visit visit(visits_);
  auto reached = co_await guest(limit);
  co_await with_timeout(limit, "setting the guest's clock", set_guest_clock(std::move(reached)));
}

asio::awaitable<void> SshLink::check() {
  const Visits::Visit visit(visits_);
  if (checking_) {
    while (checking_) co_await changed_.wait();
    co_return;
  }
  const auto asked = guest_;
  const auto front = front_;
  if (!asked) co_return;
  struct Checking {
    SshLink& link;
    explicit Checking(SshLink& of) : link(of) { link.checking_ = true; }
    ~Checking() {
      link.checking_ = false;
      link.changed_.notify_all();
    }
  };
  const Checking checking(*this);
  try {
    co_await with_timeout(config_.answer, "the guest's answer", run_in_guest(*asked, ":", ""));
    co_await front->check(config_.answer);
  } catch (const Error& error) {
    if (quiesced_) co_return;  // it was asked when the machine was about to be suspended
    log::warn("the session to the guest does not work any more: {}", one_line(error));
    asked->stop();
  }
}

void SshLink::give_up(Error why) {
  given_up_ = std::move(why);
  changed_.notify_all();
}

asio::awaitable<void> SshLink::stop() {
  give_up(Error(Errc::not_running, "the machine is being stopped"));
  co_await tasks_.stop();
  if (guest_) guest_->stop();  // whoever waits for it inside check() goes on
  if (front_) co_await front_->stop();
  front_.reset();
  guest_.reset();
  co_await visits_.over();
}

}  // namespace cl
