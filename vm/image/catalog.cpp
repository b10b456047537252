#include "vm/image/catalog.hpp"

#include <array>
#include <cstdlib>

namespace cl {
namespace {

struct Pin {
  std::string_view name, arch, path, algorithm, hex, newest;
};

// The digests of the distributions' own lists, SHA512SUMS of Debian and SHA256SUMS of Ubuntu, which has no longer
// ones. They were not taken from there by us, but as the templates of lima-vm/lima name them (templates/_images/
// debian-13.yaml at 0a13b0f2 for Debian, and for Ubuntu the release 20260615 that they named in summer 2026); other
// projects on GitHub pin the same values. Whoever changes a release compares with the list beside it.
constexpr std::array pins{
    Pin{"debian-13", "x86_64", "trixie/20260712-2537/debian-13-genericcloud-amd64-20260712-2537.qcow2", "sha512",
        "7ae53e9dbee282bfc16f289dec483dde3a8598769c38a267948310f7a2a52c66"
        "2620198603bc52c142627efba379863d16079698a10b34102d55bcedd40e8d32",
        "trixie/latest/debian-13-genericcloud-amd64.qcow2"},
    Pin{"debian-13", "aarch64", "trixie/20260712-2537/debian-13-genericcloud-arm64-20260712-2537.qcow2", "sha512",
        "8543d795f2fde630eb66c492f245a8c1da19dedc636e0a8e7b3d0f95920e1a05"
        "aa911ef2d82d177d41cc53ced5fccbd2a3945d07fa5e15018914c4d864bb07ed",
        "trixie/latest/debian-13-genericcloud-arm64.qcow2"},
    Pin{"ubuntu-24.04", "x86_64", "noble/release-20260615/ubuntu-24.04-server-cloudimg-amd64.img", "sha256",
        "5fa5b05e5ec239858c4531485d6023b0896448c2df7c63b34f8dae6ea6051a44",
        "noble/release/ubuntu-24.04-server-cloudimg-amd64.img"},
    Pin{"ubuntu-24.04", "aarch64", "noble/release-20260615/ubuntu-24.04-server-cloudimg-arm64.img", "sha256",
        "cafa1a965b591b7c4184b484ffd8e625981a79d48f9b4ae8a4adf7b4c5ade927",
        "noble/release/ubuntu-24.04-server-cloudimg-arm64.img"},
};

std::string join(std::string_view server, std::string_view path) {
  std::string url(server);
  while (url.ends_with('/')) url.pop_back();
  return url + "/" + std::string(path);
}

}  // namespace

std::vector<std::string> CatalogEntry::urls(std::string_view path) const {
  std::vector<std::string> all;
  if (const char* mirror = std::getenv("COLIMA_LIKE_IMAGE_MIRROR"); mirror != nullptr && *mirror != '\0')
    all.push_back(join(mirror, path));
  for (const std::string_view server : servers) all.push_back(join(server, path));
  return all;
}

std::string CatalogEntry::digests_url() const {
  const std::string_view folder = newest_path.substr(0, newest_path.rfind('/') + 1);
  return join(servers.front(), std::string(folder) + std::string(newest_digests));
}

std::optional<CatalogEntry> find_in_catalog(std::string_view name, std::string_view arch) {
  for (const Pin& pin : pins) {
    if (pin.name != name || pin.arch != arch) continue;
    CatalogEntry entry;
    entry.name = pin.name;
    entry.arch = pin.arch;
    if (name.starts_with("debian"))
      entry.servers = {"https://cloud.debian.org/images/cloud", "https://cdimage.debian.org/images/cloud"};
    else
      entry.servers = {"https://cloud-images.ubuntu.com/releases"};
    entry.pinned_path = pin.path;
    entry.pinned = Digest{std::string(pin.algorithm), std::string(pin.hex)};
    entry.newest_path = pin.newest;
    entry.newest_digests = pin.algorithm == "sha512" ? "SHA512SUMS" : "SHA256SUMS";
    entry.newest_algorithm = pin.algorithm;
    return entry;
  }
  return std::nullopt;
}

std::optional<Digest> find_in_sums(std::string_view sums, std::string_view algorithm, std::string_view file) {
  while (!sums.empty()) {
    const auto end = std::min(sums.find('\n'), sums.size());
    std::string_view line = sums.substr(0, end);
    sums.remove_prefix(std::min(end + 1, sums.size()));
    if (line.ends_with('\r')) line.remove_suffix(1);
    const auto space = line.find(' ');
    if (space == std::string_view::npos || line.size() < space + 2) continue;
    const char mark = line[space + 1];
    if (line.substr(space + (mark == ' ' || mark == '*' ? 2 : 1)) != file) continue;
    return parse_digest(std::string(algorithm) + ":" + std::string(line.substr(0, space)));
  }
  return std::nullopt;
}

}  // namespace cl
