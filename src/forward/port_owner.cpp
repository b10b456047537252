#include "src/forward/port_owner.hpp"

#include <unistd.h>

#include <array>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <optional>
#include <sstream>

#include "src/base/file.hpp"

namespace cl {
namespace {

namespace ip = asio::ip;

/// The kernel prints each 32-bit word of an address in this machine's byte order.
std::optional<ip::address> parse_address(const std::string& hex) {
  std::array<unsigned char, 16> bytes{};
  if (hex.size() != 8 && hex.size() != 32) return std::nullopt;
  for (std::size_t word = 0; word * 8 < hex.size(); ++word) {
    const auto value = static_cast<std::uint32_t>(std::strtoul(hex.substr(word * 8, 8).c_str(), nullptr, 16));
    std::memcpy(bytes.data() + word * 4, &value, 4);
  }
  if (hex.size() == 8) return ip::address_v4({bytes[0], bytes[1], bytes[2], bytes[3]});
  return ip::address_v6(bytes);
}

/// Whether a socket bound to `held` keeps us from binding `wanted`.
bool overlap(const ip::address& held, const ip::address& wanted) {
  if (held == wanted) return true;
  if (held.is_unspecified() && (held.is_v6() || wanted.is_v4())) return true;  // an IPv6 one may take both families
  return wanted.is_unspecified() && held.is_v6() == wanted.is_v6();
}

/// A port that a socket keeps us from binding: for sure, or if an IPv6 socket takes IPv4 as well.
struct Held {
  HostPort port;
  bool sure;
};

/// By the inode of the socket.
std::map<std::string, std::vector<Held>> holders(const std::vector<HostPort>& ports) {
  std::map<std::string, std::vector<Held>> found;
  for (const auto& [file, protocol] : {std::pair{"tcp", Protocol::tcp}, std::pair{"tcp6", Protocol::tcp},
                                       std::pair{"udp", Protocol::udp}, std::pair{"udp6", Protocol::udp}}) {
    std::ifstream table(std::string("/proc/net/") + file);
    std::string line;
    std::getline(table, line);
    while (std::getline(table, line)) {
      std::istringstream words(line);
      std::string slot, local, remote, state, queues, timer, retransmits, user, timeout, inode;
      words >> slot >> local >> remote >> state >> queues >> timer >> retransmits >> user >> timeout >> inode;
      const auto colon = local.find(':');
      if (colon == std::string::npos || (protocol == Protocol::tcp && state != "0A")) continue;  // 0A: listening
      const auto address = parse_address(local.substr(0, colon));
      const auto number = std::strtoul(local.c_str() + colon + 1, nullptr, 16);
      for (const HostPort& port : ports)
        if (address && port.protocol == protocol && port.port == number && overlap(*address, port.address))
          found[inode].push_back({port, address->is_v4() == port.address.is_v4()});
    }
  }
  return found;
}

std::string describe(const std::string& pid) {
  // The arguments end with NUL each. A daemon of ours is "colima-like daemon PROFILE FD".
  std::vector<std::string> arguments;
  std::istringstream line(read_file_if_exists("/proc/" + pid + "/cmdline").value_or(""));
  for (std::string word; std::getline(line, word, '\0');) arguments.push_back(word);
  if (arguments.size() > 2 && arguments[1] == "daemon" && fs::path(arguments[0]).filename() == "colima-like")
    return "profile '" + arguments[2] + "' of colima-like";
  std::string name = read_file_if_exists("/proc/" + pid + "/comm").value_or("");
  while (!name.empty() && name.back() == '\n') name.pop_back();
  return (name.empty() ? "a process" : name) + " (process " + pid + ")";
}

}  // namespace

std::map<HostPort, std::string> port_owners(const std::vector<HostPort>& ports) {
  std::map<HostPort, std::string> owners, perhaps;
  auto wanted = holders(ports);
  if (wanted.empty()) return owners;
  const std::string ourselves = std::to_string(::getpid());
  std::error_code ignored;
  for (const auto& process : fs::directory_iterator("/proc", ignored)) {
    const std::string pid = process.path().filename();
    // Our own sockets have the same port in the other family.
    if (pid.find_first_not_of("0123456789") != std::string::npos || pid == ourselves) continue;
    try {
      for (const auto& descriptor : fs::directory_iterator(process.path() / "fd", ignored)) {
        const std::string target = fs::read_symlink(descriptor.path(), ignored);
        if (!target.starts_with("socket:[")) continue;
        const auto holder = wanted.find(target.substr(8, target.size() - 9));
        if (holder == wanted.end()) continue;
        for (const Held& held : holder->second) (held.sure ? owners : perhaps).emplace(held.port, describe(pid));
      }
    } catch (const fs::filesystem_error&) {
      continue;  // it has ended meanwhile
    }
  }
  owners.merge(perhaps);
  return owners;
}

}  // namespace cl
