#include "profiles/keys.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <numeric>

namespace cl {
namespace {

constexpr ByteSize least_memory = ByteSize::mib(512);  // Debian with dockerd idles at about 250 MiB
constexpr ByteSize least_disk = ByteSize::gib(1);
constexpr ByteSize most_disk = ByteSize::gib(16 * 1024);  // ext4's limit with 4 KiB blocks

std::string quoted(std::string_view text) { return "'" + std::string(text) + "'"; }

std::optional<std::string> set_cpus(Profile& profile, std::string_view text) {
  int number = 0;
  const auto [stop, failure] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (failure != std::errc{} || stop != text.data() + text.size() || number < 1)
    return "must be a whole number from 1, not " + quoted(text);
  profile.cpus = number;
  return std::nullopt;
}

std::optional<std::string> set_size(ByteSize& target, std::string_view text, ByteSize least, ByteSize most) {
  const auto size = ByteSize::parse(text);
  if (!size) return "must be a size such as 4GiB or 512MiB, not " + quoted(text);
  if (*size < least) return "must be at least " + least.str() + ", not " + quoted(text);
  if (*size > most) return "must be at most " + most.str() + ", not " + quoted(text);
  target = *size;
  return std::nullopt;
}

template <std::size_t N>
std::optional<std::string> set_choice(std::string& target, std::string_view text,
                                      const std::array<std::string_view, N>& choices) {
  if (std::find(choices.begin(), choices.end(), text) != choices.end()) {
    target = text;
    return std::nullopt;
  }
  std::string list;
  for (const std::string_view choice : choices) {
    if (!list.empty()) list += choice == choices.back() ? " or " : ", ";
    list += choice;
  }
  return "must be " + list + ", not " + quoted(text);
}

constexpr std::array<std::string_view, 3> archs{"host", "x86_64", "aarch64"};
constexpr std::array<std::string_view, 4> accels{"auto", "kvm", "hvf", "tcg"};
constexpr std::array<std::string_view, 2> images{"docker", "plain"};

constexpr std::array table{
    Key{"cpus", "cpus", "CPUs of the machine", &set_cpus, [](const Profile& p) { return std::to_string(p.cpus); }},
    Key{"memory", "memory", "memory of the machine, e.g. 4GiB",
        [](Profile& p, std::string_view text) {
          return set_size(p.memory, text, least_memory, ByteSize::gib(16 * 1024));
        },
        [](const Profile& p) { return p.memory.str(); }},
    Key{"disk", "disk", "size limit of the containers' data, e.g. 100GiB; can grow, never shrink",
        [](Profile& p, std::string_view text) { return set_size(p.disk, text, least_disk, most_disk); },
        [](const Profile& p) { return p.disk.str(); }},
    Key{"arch", "arch", "the machine's architecture: host, x86_64 or aarch64",
        [](Profile& p, std::string_view text) { return set_choice(p.arch, text, archs); },
        [](const Profile& p) { return p.arch; }},
    Key{"image", "image", "the guest's image: docker, or plain (Docker is then installed at the first start)",
        [](Profile& p, std::string_view text) { return set_choice(p.image, text, images); },
        [](const Profile& p) { return p.image; }},
    Key{"vm.accel", "accel", "what runs the guest's instructions: auto, kvm, hvf or tcg",
        [](Profile& p, std::string_view text) { return set_choice(p.accel, text, accels); },
        [](const Profile& p) { return p.accel; }},
};

std::size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), 0);
  for (std::size_t i = 1; i <= a.size(); ++i) {
    std::size_t diagonal = row[0];
    row[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const std::size_t above = row[j];
      row[j] = std::min({above + 1, row[j - 1] + 1, diagonal + (a[i - 1] == b[j - 1] ? 0U : 1U)});
      diagonal = above;
    }
  }
  return row.back();
}

}  // namespace

std::span<const Key> keys() { return table; }

const Key* find_key(std::string_view name) {
  for (const Key& key : table)
    if (key.name == name) return &key;
  return nullptr;
}

std::string resolved_arch(const Profile& profile, const HostFacts& host) {
  return profile.arch == "host" ? host.arch : profile.arch;
}

std::vector<Problem> check(const Profile& profile, const HostFacts& host) {
  std::vector<Problem> found;
  if (profile.cpus > host.cpus)
    found.push_back({"cpus", "this host has " + std::to_string(host.cpus) + ", not " + std::to_string(profile.cpus)});
  if (profile.memory > host.memory)
    found.push_back({"memory", "this host has " + host.memory.str() + ", not " + profile.memory.str()});
  if (profile.accel == "kvm" && host.os != "linux") found.push_back({"vm.accel", "kvm is only on Linux hosts"});
  if (profile.accel == "hvf" && host.os != "macos") found.push_back({"vm.accel", "hvf is only on macOS hosts"});
  if ((profile.accel == "kvm" || profile.accel == "hvf") && resolved_arch(profile, host) != host.arch)
    found.push_back({"vm.accel", profile.accel + " runs only " + host.arch + " machines here; use auto or tcg for " +
                                     resolved_arch(profile, host)});
  return found;
}

std::string nearest(std::string_view word, std::span<const std::string_view> candidates) {
  std::string best;
  std::size_t least = std::max<std::size_t>(2, word.size() / 3) + 1;
  for (const std::string_view candidate : candidates) {
    const std::size_t distance = edit_distance(word, candidate);
    if (distance >= least) continue;
    least = distance;
    best = candidate;
  }
  return best;
}

}  // namespace cl
