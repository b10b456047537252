#include "src/daemon/services/guest_questions.hpp"

#include <algorithm>
#include <chrono>

#include "src/base/failure.hpp"
#include "src/base/log.hpp"
#include "src/daemon/core.hpp"

namespace cl {
namespace {

using namespace std::chrono_literals;

constexpr auto again = 1s;    // after the agent or the guest was lost
constexpr auto seldom = 60s;  // where there is no agent that could listen

}  // namespace

GuestQuestions::GuestQuestions(Core& core, std::string where, Answer answer)
    : core_(core), where_(std::move(where)), answer_(std::move(answer)), tasks_(core.executor) {
  core_.spawn_permanent(tasks_, "names for the machine", keep_answering());
}

asio::awaitable<void> GuestQuestions::keep_answering() {
  std::chrono::seconds pause = again;
  for (;;) {
    bool began = false;
    if (const auto failure = co_await failure_of(take_questions(began)))
      log::debug("names for the machine: {}", one_line(*failure));
    pause = began ? again : std::min<std::chrono::seconds>(2 * pause, seldom);
    co_await sleep_for(pause);
  }
}

/// `began`: it has listened.
asio::awaitable<void> GuestQuestions::take_questions(bool& began) {
  const auto guest = co_await core_.guest.when_connected();
  const std::shared_ptr<MessageStream> questions = co_await guest->open_service("listen udp " + where_);
  began = true;
  while (const auto message = co_await questions->read()) {
    const std::size_t line = message->find('\n');
    if (line == std::string::npos || tasks_.size() > most) continue;
    std::string datagram = message->substr(line + 1), from = message->substr(0, line + 1);
    if (auto question = read_dns_question(datagram)) {
      tasks_.spawn("a name for the machine",
                   answer(questions, std::move(from), std::move(*question), std::move(datagram)));
    } else if (std::string error = dns_format_error(datagram); !error.empty()) {
      co_await questions->write(from + error);
    }
  }
  throw Error(Errc::guest_failed, "the guest asks no names any more");
}

asio::awaitable<void> GuestQuestions::answer(std::shared_ptr<MessageStream> questions, std::string from,
                                             DnsQuestion question, std::string datagram) {
  std::optional<std::string> found;
  auto find = store(answer_(question, std::move(datagram)), found);
  if (const auto failure = co_await failure_of(std::move(find))) log::debug("{}", one_line(*failure));
  const std::string said = found ? *found : dns_answer(question, DnsResult::server_failure);
  co_await failure_of(questions->write(from + said));
}

}  // namespace cl
