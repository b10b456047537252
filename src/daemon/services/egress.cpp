#include "src/daemon/services/egress.hpp"

#include <algorithm>
#include <chrono>
#include <ctime>
#include <utility>

#include "profiles/networks.hpp"
#include "src/base/failure.hpp"
#include "src/base/log.hpp"
#include "src/base/net/own_addresses.hpp"
#include "src/base/net/socket_stream.hpp"
#include "src/base/printable.hpp"
#include "src/daemon/core.hpp"
#include "src/egress/checked_stream.hpp"

namespace cl {
namespace {

using namespace std::chrono_literals;

constexpr auto connect_limit = 10s;  // for one address of a name
constexpr std::size_t most_connections = 1'024;
constexpr std::size_t most_refusals = 32;  // different ones that are remembered
constexpr std::size_t longest_refusal = 200;
constexpr std::size_t most_lines = 20;  // of the log, in a second
constexpr auto second = 1s;             // between two notes of refusals, each of which is written to disk

}  // namespace

EgressService::EgressService(Core& core) : core_(core) {}

asio::awaitable<void> EgressService::open() {
  const Profile& profile = core_.state().profile;
  const Egress egress = egress_of(profile);
  if (tasks_ && egress == egress_) co_return;
  co_await close();  // that of another machine
  egress_ = egress;
  if (egress.mode != Egress::Mode::filtered) co_return;
  filter_ = std::make_unique<EgressFilter>(egress, host_in_guest(core_.driver->traits().host_address, profile),
                                           core_.state().data_owner);
  tasks_ = std::make_unique<TaskGroup>(core_.executor);
  auto find = [this](DnsQuestion question, const std::string&) { return answer_to(std::move(question)); };
  questions_ = std::make_unique<GuestQuestions>(
      core_, std::string(egress_dns_address) + " " + std::to_string(egress_dns_port), std::move(find));
  ReverseForward::Config config;
  config.where = "tcp 0.0.0.0 " + std::to_string(egress_port);
  config.guest = [this] { return core_.guest.when_connected(); };
  config.answer = [this](GuestListener::Arrival arrival) { return answer(std::move(arrival)); };
  config.most = most_connections;
  config.on_state = [this] {
    if (connections_ && !connections_->problem().empty())
      refuse("every connection, since they cannot be taken: " + connections_->problem());
  };
  connections_ = std::make_unique<ReverseForward>(core_.executor, std::move(config));
}

asio::awaitable<void> EgressService::close() {
  const auto connections = std::exchange(connections_, nullptr);
  if (connections) co_await connections->stop();
  const auto questions = std::exchange(questions_, nullptr);
  if (questions) co_await questions->stop();
  const auto tasks = std::exchange(tasks_, nullptr);
  if (tasks) co_await tasks->stop();
  filter_.reset();
  names_.forget();
  refusals_.clear();
  telling_ = untold_ = false;
  unlogged_ = 0;
  core_.describe(*this);
}

void EgressService::describe(State& state) const { state.egress_refusals = refusals_; }

// ---- connections ------------------------------------------------------------------------------------------------

asio::awaitable<std::unique_ptr<ByteStream>> EgressService::answer(GuestListener::Arrival arrival) {
  EgressTarget target = filter_->decide(arrival.address, arrival.port);
  if (!target.refusal.empty()) {
    refuse(target.refusal);
    throw Error(Errc::io, target.refusal);
  }
  auto stream = co_await connect(target);
  if (!target.check_first_bytes) co_return stream;
  auto check = [this, target](const FirstBytes& first) {
    std::string why = filter_->first_bytes_refusal(target, first);
    if (!why.empty()) refuse(why);
    return why;
  };
  co_return std::make_unique<CheckedStream>(std::move(stream), std::move(check));
}

asio::awaitable<std::unique_ptr<ByteStream>> EgressService::connect(EgressTarget target) {
  const std::string what = target.host + ":" + std::to_string(target.port);
  Addresses addresses;
  if (target.is_name) {
    addresses = co_await names_.look_up(target.host);
  } else {
    addresses.push_back(asio::ip::make_address(target.host));
  }
  std::optional<Error> failure;
  bool was_barred = false;
  for (const asio::ip::address& address : addresses) {
    if (!filter_->may_reach(target, address, is_own_address(address))) {
      was_barred = true;
      continue;
    }
    std::optional<std::unique_ptr<ByteStream>> stream;
    auto open = with_timeout(connect_limit, "connecting", store(connect_tcp(address.to_string(), target.port), stream));
    failure = co_await failure_of(std::move(open));
    if (stream) co_return std::move(*stream);
  }
  if (failure) throw *failure;
  if (!was_barred) throw Error(Errc::io, "there is no " + target.host);
  const std::string why = what + " leads to this computer or its network";
  refuse(why);
  throw Error(Errc::io, why);
}

// ---- names ------------------------------------------------------------------------------------------------------

asio::awaitable<std::string> EgressService::answer_to(DnsQuestion question) {
  if (!filter_->may_resolve(question.name)) {
    if (question.is_a()) refuse("the name " + question.name + " is not in network.egress");
    co_return dns_answer(question, DnsResult::no_such_name);
  }
  const Addresses addresses = co_await names_.look_up(question.name);
  if (addresses.empty()) co_return dns_answer(question, DnsResult::no_such_name);
  if (!question.is_a()) co_return dns_answer(question, DnsResult::ok);
  co_return dns_answer(question, DnsResult::ok, {filter_->address_for(question.name)},
                       static_cast<std::uint32_t>(HostNames::fresh.count()));
}

void EgressService::refuse(const std::string& told) {
  const std::string what = printable(std::string_view(told).substr(0, longest_refusal));
  auto found =
      std::find_if(refusals_.begin(), refusals_.end(), [&](const EgressRefusal& one) { return one.what == what; });
  if (found == refusals_.end()) {
    if (++unlogged_ <= most_lines) log::info("the machine was refused: {}", what);
    if (refusals_.size() >= most_refusals) refusals_.pop_back();
    found = refusals_.insert(refusals_.begin(), {what, 0, 0});
  }
  ++found->count;
  found->last = std::time(nullptr);
  std::rotate(refusals_.begin(), found, found + 1);
  untold_ = true;
  if (!std::exchange(telling_, true)) tasks_->spawn("refusals of the machine", tell_refusals());
}

/// A flood is told once a second.
asio::awaitable<void> EgressService::tell_refusals() {
  while (std::exchange(untold_, false)) {
    core_.describe(*this);
    core_.notify();
    co_await sleep_for(second);
    if (unlogged_ > most_lines) log::info("the machine was refused {} things more", unlogged_ - most_lines);
    unlogged_ = 0;
  }
  telling_ = false;
}

}  // namespace cl
