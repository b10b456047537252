#include "provision/ssh/openssh.hpp"

#include <array>

#include "src/base/file.hpp"

namespace cl {
namespace {

struct Row {
  std::string_view said;
  Errc code;
  std::string_view what, remedy;  ///< HOST is the host's name
};

constexpr std::array rows{
    Row{"REMOTE HOST IDENTIFICATION HAS CHANGED", Errc::host_requirement, "the key of HOST has changed",
        "ask who runs it; if that is meant, remove the old key as ssh says, and log in once: ssh HOST"},
    Row{"Host key verification failed", Errc::host_requirement, "the key of HOST is not known",
        "log in once, and compare the key that ssh shows: ssh HOST"},
    Row{"Permission denied", Errc::host_requirement, "HOST lets nobody in without a question",
        "a key that needs no password there: ssh-copy-id HOST, or ssh-add; then 'ssh HOST true' asks nothing"},
    Row{"Too many authentication failures", Errc::host_requirement, "HOST lets nobody in without a question",
        "name the key for it in ~/.ssh/config: IdentityFile and IdentitiesOnly"},
    Row{"Could not resolve hostname", Errc::host_requirement, "there is no host HOST",
        "correct the name: colima-like config set hosts, or ~/.ssh/config"},
    Row{"Bad configuration option", Errc::host_requirement, "ssh does not understand its configuration",
        "correct ~/.ssh/config"},
    Row{"command not found", Errc::guest_failed, "HOST has no POSIX shell for us", "use a Linux host"},
};

std::string with_host(std::string_view text, const std::string& host) {
  std::string out(text);
  for (auto at = out.find("HOST"); at != std::string::npos; at = out.find("HOST", at + host.size()))
    out.replace(at, 4, host);
  return out;
}

}  // namespace

std::vector<std::string> openssh_command(const std::string& host, const std::string& command,
                                         std::chrono::seconds limit) {
  const std::string patience = std::to_string(limit.count());
  // A shared connection of the user's would end ours with itself; a configured command or terminal would be in the way.
  return {"ssh",  "-T",
          "-o",   "BatchMode=yes",
          "-o",   "LogLevel=ERROR",
          "-o",   "ConnectTimeout=" + patience,
          "-o",   "ServerAliveInterval=5",
          "-o",   "ServerAliveCountMax=3",
          "-o",   "ControlMaster=no",
          "-o",   "ControlPath=none",
          "-o",   "ClearAllForwardings=yes",
          "-o",   "RemoteCommand=none",
          "-o",   "PermitLocalCommand=no",
          "-o",   "EscapeChar=none",
          "--",   host,
          command};
}

Error openssh_error(const std::string& host, std::string_view said) {
  constexpr std::size_t kept = 12;
  const std::string words = last_lines(std::string(said), kept);
  for (const Row& row : rows)
    if (said.find(row.said) != std::string_view::npos)
      return Error(row.code, with_host(row.what, host), with_host(row.remedy, host)).because(words);
  return Error(Errc::guest_failed, host + " cannot be reached", "try it by hand: ssh " + host)
      .because(words.empty() ? "ssh has ended without a word" : words);
}

}  // namespace cl
