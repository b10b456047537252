#include "provision/channel/agent_start.hpp"

#include <array>
#include <optional>

#include "provision/agent/embedded_agents.hpp"
#include "src/base/error.hpp"
#include "src/base/log.hpp"
#include "src/base/shell.hpp"

namespace cl {

extern const std::string_view agent_script;

namespace {

constexpr std::size_t longest_line = 16 * 1024;

/// The script's next line; nothing at the end.
asio::awaitable<std::optional<std::string>> read_line(ByteStream& shell, std::string& unread) {
  std::array<char, 512> space;
  for (;;) {
    const std::size_t end = unread.find('\n');
    if (end != std::string::npos) {
      std::string line = unread.substr(0, end);
      unread.erase(0, end + 1);
      co_return line;
    }
    if (unread.size() > longest_line) throw Error(Errc::protocol, "what starts the agent speaks nonsense");
    const std::size_t got = co_await shell.read_some(space);
    if (got == 0) co_return std::nullopt;
    unread.append(space.data(), got);
  }
}

/// Failed when the script has ended for a reason of its own, which it says.
asio::awaitable<void> send_program(ByteStream& shell, std::string_view architecture) {
  for (const EmbeddedAgent& one : embedded_agents()) {
    if (one.architecture != architecture) continue;
    log::info("the agent for {} is sent, {} bytes", one.architecture, one.bytes.size());
    try {
      co_await shell.write(one.bytes);
    } catch (const Error& error) {
      log::debug("sending the agent: {}", one_line(error));
    }
    co_return;
  }
  throw Error(Errc::protocol, "what starts the agent speaks nonsense");
}

}  // namespace

std::string agent_start_command(std::string_view folder, std::string_view how) {
  std::string command =
      "exec sh -c " + shell_quoted(agent_script) + " sh " + std::string(folder) + " " + std::string(how);
  for (const EmbeddedAgent& one : embedded_agents())
    command +=
        " " + std::string(one.architecture) + " " + std::to_string(one.bytes.size()) + " " + std::string(one.sha256);
  return command;
}

std::string agent_to_start() { return std::string(agent_build()); }

asio::awaitable<bool> start_agent(ByteStream& shell) {
  std::string unread;
  for (;;) {
    const auto line = co_await read_line(shell, unread);
    if (!line) co_return false;
    if (*line == "ready") co_return true;
    if (line->starts_with("send ")) co_await send_program(shell, line->substr(5));
    if (line->starts_with("error "))
      throw Error(Errc::guest_failed, "the agent cannot be started").because(line->substr(6));
  }
}

}  // namespace cl
