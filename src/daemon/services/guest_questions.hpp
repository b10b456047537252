#pragma once

#include <functional>
#include <memory>
#include <string>

#include "src/base/task_group.hpp"
#include "src/egress/dns_message.hpp"

namespace cl {

struct Core;
class MessageStream;

/// A DNS server at a UDP address of the guest whose questions this computer answers. It listens again whenever the
/// guest or its agent comes back. Owner's rule: await stop() before destruction.
class GuestQuestions {
 public:
  /// The answer to a question, which came in `datagram`. When it throws, who asks is told that this server cannot say.
  using Answer = std::function<asio::awaitable<std::string>(DnsQuestion question, std::string datagram)>;

  /// `where`: "ADDRESS PORT".
  GuestQuestions(Core& core, std::string where, Answer answer);
  asio::awaitable<void> stop() { return tasks_.stop(); }

  /// Under way; further ones are lost, and asked again.
  static constexpr std::size_t most = 256;

 private:
  asio::awaitable<void> keep_answering();
  asio::awaitable<void> take_questions(bool& began);
  asio::awaitable<void> answer(std::shared_ptr<MessageStream> questions, std::string from, DnsQuestion question,
                               std::string datagram);

  Core& core_;
  std::string where_;
  Answer answer_;
  TaskGroup tasks_;
};

}  // namespace cl
