#include "src/daemon/images.hpp"

#include <boost/json/array.hpp>

#include "profiles/state.hpp"
#include "profiles/store.hpp"
#include "src/base/file.hpp"
#include "src/base/log.hpp"
#include "src/daemon/job.hpp"

namespace cl {
namespace json = boost::json;
namespace {

/// Digests of the images that root disks of this user stand on.
std::set<std::string> digests_in_use(const Home& home) {
  std::set<std::string> digests;
  for (const std::string& name : list_profiles(home)) {
    const ProfilePaths paths = profile_paths(home, name);
    // An unreadable state file is an error here too: a guess could remove an image that is needed.
    const auto state = load_state(paths);
    const bool has_disk = fs::exists(paths.root_disk) || fs::exists(paths.raw_root_disk);
    if (state && !state->image_digest.empty() && has_disk) digests.insert(state->image_digest);
  }
  return digests;
}

}  // namespace

ImageCache image_cache(const Home& home) { return ImageCache(home.cache / "images", built_in_recipe()); }

ImageKey image_key(const std::string& variant, const std::string& arch) {
  ImageKey key;
  key.arch = arch;
  key.variant = variant;
  return key;
}

asio::awaitable<json::object> build_image(std::string variant, std::string arch, OnImageProgress on_progress) {
  const Home home = find_home();
  make_private_directory(home.cache);
  ImageCache cache = image_cache(home);
  const auto began = std::chrono::steady_clock::now();
  rpc::Progress progress{"image", "looking for the guest image", false, {}};
  auto tell = [&](std::string_view text, bool done) {
    progress.text = text;
    progress.done = done;
    progress.elapsed = std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::steady_clock::now() - began);
    on_progress(progress);
  };
  auto say = [&](std::string_view text) { tell("building the guest image: " + std::string(text), false); };
  BuildOptions options;
  ImageKey key = image_key(variant, arch);
  const Image image = co_await cache.build(std::move(key), std::move(options), say);
  tell("the guest image is there", true);
  json::object result{{"name", image.name}, {"digest", image.digest}, {"path", image.root.parent_path().string()}};
  co_return result;
}

json::array list_images() {
  const Home home = find_home();
  const auto used = digests_in_use(home);
  json::array list;
  for (const ImageEntry& entry : image_cache(home).list()) {
    json::object row{{"name", entry.name},
                     {"digest", entry.digest},
                     {"bytes", entry.allocated.count()},
                     {"created", entry.created},
                     {"in_use", used.contains(entry.digest)}};
    if (!entry.problem.empty()) row["problem"] = entry.problem;
    list.push_back(std::move(row));
  }
  return list;
}

json::object prune_images() {
  const Home home = find_home();
  const auto names = [](const std::vector<ImageEntry>& entries) {
    std::set<std::string> set;
    for (const ImageEntry& entry : entries) set.insert(entry.name);
    return set;
  };
  ImageCache cache = image_cache(home);
  const auto before = names(cache.list());
  const ByteSize freed = cache.prune(digests_in_use(home));
  const auto after = names(cache.list());
  json::array removed;
  for (const std::string& name : before)
    if (!after.contains(name)) removed.emplace_back(name);
  return json::object{{"removed", removed}, {"freed_bytes", freed.count()}};
}

}  // namespace cl
