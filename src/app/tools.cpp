#include "src/app/tools.hpp"

#include <fmt/format.h>

#include <array>
#include <cctype>
#include <cstdlib>
#include <system_error>

#include "src/base/file.hpp"
#include "src/base/file_lock.hpp"
#include "src/base/log.hpp"
#include "src/base/path.hpp"
#include "vm/hash.hpp"
#include "vm/image/download.hpp"

namespace cl {
namespace {

struct Pin {
  std::string_view arch, go_arch, sha256;
};

// The digests of the release's own SHA256SUMS. They were not taken from there by us, but as other projects pin them:
// five on GitHub have the first and three the second, each for itself. Whoever changes the version takes both from
// https://github.com/containerd/nerdctl/releases/download/vVERSION/SHA256SUMS.
constexpr std::string_view version = "2.3.5";
constexpr std::array pins{
    Pin{"x86_64", "amd64", "b697295c623639734aaab737523c808fd3cc8d3046039fd94fff1744e4c317aa"},
    Pin{"aarch64", "arm64", "6e4b687f1d138e750a3c8372abc0f81d3d7490b6359c48c0562fc7dfe98859b2"},
};
constexpr std::string_view releases = "https://github.com/containerd/nerdctl/releases/download";

constexpr ByteSize most_bytes = ByteSize::gib(4);

std::string url_below(std::string_view server, std::string_view go_arch) {
  while (server.ends_with('/')) server.remove_suffix(1);
  return fmt::format("{}/v{}/nerdctl-full-{}-linux-{}.tar.gz", server, version, version, go_arch);
}

/// Of its place in the cache: the digest makes it the file's own.
std::string name_of(const ToolsRelease& release) {
  constexpr std::size_t longest = 48, digits = 16;
  std::string name;
  for (const char c : release.title.substr(0, longest))
    name += std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '.' || c == '_' ? c : '-';
  while (name.starts_with('.')) name.erase(0, 1);
  return name + "-" + release.digest.hex.substr(0, digits);
}

asio::awaitable<bool> has_digest(fs::path file, Digest digest) {
  const std::string found = co_await file_digest(std::move(file), digest.algorithm);
  co_return found == digest.hex;
}

asio::awaitable<fs::path> local_file(fs::path file, Digest digest) {
  std::error_code unknown;
  if (!fs::is_regular_file(file, unknown))
    throw Error(Errc::not_found, "there is no file " + file.string(), "correct the setting 'containerd.tools'");
  const bool same = co_await has_digest(file, digest);
  if (!same)
    throw Error(Errc::not_found, file.string() + " is not the file that was asked for",
                "if it is right, pin it anew: colima-like config set containerd.tools " + file.string());
  co_return file;
}

fs::path archives(const fs::path& cache) { return cache / "archives"; }
fs::path downloads(const fs::path& cache) { return cache / "downloads"; }

}  // namespace

std::optional<ToolsRelease> tools_release(const std::string& setting, const std::string& arch) {
  if (setting == "none") return std::nullopt;
  ToolsRelease release;
  if (setting != "auto") {
    std::string wrong;
    const auto file = parse_file_ref(setting, "containerd.tools", wrong);
    if (!file) throw Error(Errc::invalid_config, "the setting 'containerd.tools' " + wrong);
    release.title = file->name;
    release.locations = {expand_home(file->location)};
    release.digest = file->digest;
    return release;
  }
  for (const Pin& pin : pins) {
    if (pin.arch != arch) continue;
    release.title = fmt::format("nerdctl-full {}", version);
    if (const char* mirror = std::getenv("COLIMA_LIKE_NERDCTL_MIRROR"); mirror != nullptr && *mirror != '\0')
      release.locations.push_back(url_below(mirror, pin.go_arch));
    release.locations.push_back(url_below(releases, pin.go_arch));
    release.digest = Digest{"sha256", std::string(pin.sha256)};
    release.pinned_by_us = true;
    return release;
  }
  return std::nullopt;
}

asio::awaitable<fs::path> provide_tools(fs::path cache, ToolsRelease release, OnPhase say) {
  if (!parse_url(release.locations.front())) co_return co_await local_file(release.locations.front(), release.digest);
  make_private_directory(cache);
  make_private_directory(archives(cache));
  make_private_directory(downloads(cache));
  const std::string name = name_of(release);
  const fs::path place = archives(cache) / (name + ".tar.gz");
  auto waits = [&say] { say("waiting for whoever downloads the same archive"); };
  const FileLock lock = co_await wait_for_lock(archives(cache) / (name + ".lock"), waits);
  if (file_exists(place)) {
    say("checking " + release.title);
    const bool sound = co_await has_digest(place, release.digest);
    if (sound) co_return place;
    log::warn("{} is damaged: it is downloaded again", place.string());
    remove_file(place);
  }
  Download what;
  what.title = release.title;
  what.urls = release.locations;
  what.digest = release.digest;
  what.part = downloads(cache) / (name + ".part");
  what.most = most_bytes;
  what.http.proxies = proxies_of_environment();
  if (release.pinned_by_us) {
    // Every start of a computer without a network would wait for it.
    what.patience = 2;
    what.http.connect = std::chrono::seconds(10);
  }
  const fs::path part = what.part;
  co_await download(std::move(what), say);
  rename_file(part, place);
  sync_directory(archives(cache));
  forget_download(part);
  co_return place;
}

std::uint64_t prune_tools(const fs::path& cache, const std::set<std::string>& keep) {
  std::vector<std::string> names;
  std::error_code none;
  for (fs::directory_iterator it(archives(cache), none), end; !none && it != end; it.increment(none))
    if (it->path().extension() == ".lock") names.push_back(it->path().stem().string());
  std::uint64_t freed = 0;
  for (const std::string& name : names) {
    const std::string digits = name.substr(name.rfind('-') + 1);
    bool wanted = false;
    for (const std::string& hex : keep) wanted = wanted || hex.starts_with(digits);
    const auto lock = FileLock::try_acquire(archives(cache) / (name + ".lock"));
    if (!lock) continue;  // just being downloaded
    const fs::path part = downloads(cache) / (name + ".part");
    std::vector<fs::path> doomed{part, part.string() + ".from"};
    if (!wanted) doomed.push_back(archives(cache) / (name + ".tar.gz"));
    for (const fs::path& file : doomed) {
      std::error_code ec;
      const std::uint64_t bytes = allocated_bytes(file);
      if (fs::remove(file, ec)) freed += bytes;
    }
  }
  return freed;
}

}  // namespace cl
