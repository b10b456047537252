#include "src/app/images.hpp"

#include <boost/json/array.hpp>
#include <boost/json/parse.hpp>

#include "profiles/image_ref.hpp"
#include "profiles/keys.hpp"
#include "profiles/state.hpp"
#include "profiles/store.hpp"
#include "provision/agent/embedded_agents.hpp"
#include "src/app/tools.hpp"
#include "src/base/file.hpp"
#include "src/base/host.hpp"
#include "src/base/log.hpp"
#include "src/base/path.hpp"
#include "vm/hash.hpp"
#include "vm/image/build.hpp"
#include "vm/image/catalog.hpp"
#include "vm/qemu/accel.hpp"

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
    const bool has_disk = file_exists(paths.root_disk) || file_exists(paths.raw_root_disk);
    if (state && !state->image_digest.empty() && has_disk) digests.insert(state->image_digest);
  }
  return digests;
}

/// Digests (hex) of the archives that machines of this user got nerdctl from.
std::set<std::string> tools_in_use(const Home& home) {
  std::set<std::string> digests;
  for (const std::string& name : list_profiles(home)) {
    const auto state = load_state(profile_paths(home, name));
    if (!state || state->profile.runtime != "containerd") continue;
    if (const auto release = tools_release(state->profile.containerd_tools, state->arch))
      digests.insert(release->digest.hex);
  }
  return digests;
}

}  // namespace

/// The guest's agent is not part of what an image is: a guest whose image has another one is sent this program's.
ImageCache image_cache(const Home& home) {
  Recipe recipe = built_in_recipe();
  for (const EmbeddedAgent& agent : embedded_agents())
    recipe.add_beside({"agent/" + std::string(agent.architecture), std::string(agent.bytes)});
  return ImageCache(home.cache / "images", std::move(recipe));
}

ImageKey image_key(const std::string& variant, const std::string& arch) {
  ImageKey key;
  key.arch = arch;
  key.variant = variant;
  return key;
}

namespace {

FetchOptions fetch_options() {
  FetchOptions options;
  options.http.proxies = proxies_of_environment();
  return options;
}

asio::awaitable<Image> build(ImageCache& cache, ImageKey key, OnPhase say) {
  std::optional<Image> there = co_await cache.find(key);
  if (there) co_return std::move(*there);
  auto prefixed = [say](std::string_view text) { say("building the guest image: " + std::string(text)); };
  BuildOptions options;
  co_return co_await cache.build(std::move(key), std::move(options), std::move(prefixed));
}

/// The pinned release or, when the servers have it no more, the newest with the digest that its publisher lists.
asio::awaitable<Image> fetch_from_catalog(ImageCache& cache, std::string name, std::string arch, OnPhase say) {
  constexpr std::size_t most_sums = 1 << 20;
  const auto entry = find_in_catalog(name, arch);
  if (!entry)
    throw Error(Errc::invalid_config, "there is no image " + name + " for " + arch, "use another image, or its URL");
  ImageSource source{name, arch, entry->urls(entry->pinned_path), entry->pinned};
  std::optional<Error> gone;
  try {
    ImageSource pinned = source;
    co_return co_await cache.fetch(std::move(pinned), fetch_options(), say);
  } catch (const Error& error) {
    if (error.code() != Errc::not_found) throw;
    gone = error;
  }
  log::warn("{}", one_line(*gone));
  say("the release of " + name + " that this program knows is gone; asking for the newest one");
  const auto sums_url = parse_url(entry->digests_url());
  const std::string sums = co_await http_get_text(*sums_url, fetch_options().http, most_sums);
  const std::string file(entry->newest_path.substr(entry->newest_path.rfind('/') + 1));
  const auto digest = find_in_sums(sums, entry->newest_algorithm, file);
  if (!digest) throw Error(Errc::protocol, sums_url->str() + " does not list " + file).because(one_line(*gone));
  source.locations = entry->urls(entry->newest_path);
  source.digest = *digest;
  co_return co_await cache.fetch(std::move(source), fetch_options(), say);
}

/// A release that is there already will do for a start: which one it is was checked when it came.
asio::awaitable<Image> catalog_image(ImageCache& cache, std::string name, WantedImage wanted, OnPhase say) {
  if (wanted.this_release) co_return co_await fetch_from_catalog(cache, name, wanted.arch, say);
  if (!wanted.used_digest.empty()) {
    std::optional<Image> used = co_await cache.find_digest(wanted.used_digest, say);
    if (used && used->source_title == name && used->arch == wanted.arch) co_return std::move(*used);
  }
  std::optional<Image> there = co_await cache.find_title(name, wanted.arch, say);
  if (there) co_return std::move(*there);
  co_return co_await fetch_from_catalog(cache, name, wanted.arch, say);
}

asio::awaitable<Image> automatic_image(ImageCache& cache, WantedImage wanted, OnPhase say) {
  const std::string downloaded(catalog_names.front());
  ImageKey key = image_key("docker", wanted.arch);
  std::optional<Image> used;
  if (!wanted.used_digest.empty()) used = co_await cache.find_digest(wanted.used_digest, say);
  const bool stays = used && used->source_title == downloaded && used->arch == wanted.arch;
  if (stays) co_return std::move(*used);
  std::optional<Image> built = co_await cache.find(key, say);
  if (built) co_return std::move(*built);
  std::optional<Image> fetched = co_await cache.find_title(downloaded, wanted.arch, say);
  if (fetched) co_return std::move(*fetched);
  auto lack = cannot_build(wanted.arch, host_facts());
  if (!lack) {
    // Whether this user may make user namespaces is known when the recipe tries.
    try {
      co_return co_await build(cache, std::move(key), say);
    } catch (const Error& error) {
      if (!refuses_namespaces(error)) throw;
      lack = error;
    }
  }
  log::info("no image is built: {}", lack->what());
  say(std::string(lack->what()) + "; downloading " + downloaded);
  co_return co_await fetch_from_catalog(cache, downloaded, wanted.arch, say);
}

}  // namespace

asio::awaitable<Image> provide_image(const Home& home, WantedImage wanted, OnPhase say) {
  ImageCache cache = image_cache(home);
  std::string why;
  const auto ref = parse_image_ref(wanted.setting, why);
  if (!ref) throw Error(Errc::invalid_config, "the setting 'image' " + why);
  switch (ref->kind) {
    case ImageRef::Kind::automatic: co_return co_await automatic_image(cache, std::move(wanted), say);
    case ImageRef::Kind::built: co_return co_await build(cache, image_key(ref->name, wanted.arch), say);
    case ImageRef::Kind::catalog: co_return co_await catalog_image(cache, ref->name, std::move(wanted), say);
    case ImageRef::Kind::location: break;
  }
  ImageSource source{ref->name, wanted.arch, {expand_home(ref->location)}, ref->digest};
  co_return co_await cache.fetch(std::move(source), fetch_options(), say);
}

asio::awaitable<std::string> pin_file(std::string setting) {
  const bool path =
      setting.starts_with('/') || setting.starts_with("~/") || setting.starts_with("./") || setting.starts_with("../");
  if (!path || setting.find('#') != std::string::npos) co_return setting;
  const fs::path file = absolute_path(expand_home(setting)).lexically_normal();
  std::error_code unknown;
  if (!fs::is_regular_file(file, unknown))
    throw Error(Errc::not_found, "there is no file " + file.string(), "name one of this computer, or a URL");
  const std::string hex = co_await file_digest(file, "sha512");
  co_return file.string() + "#sha512:" + hex;
}

namespace {

/// What earlier starts wrote down: every accelerator that was tried here failed.
bool tried_in_vain(const fs::path& verdicts) {
  boost::system::error_code ec;
  const json::value all = json::parse(read_file_if_exists(verdicts).value_or(""), ec);
  if (ec || !all.is_object() || all.get_object().empty()) return false;
  for (const auto& [key, verdict] : all.get_object()) {
    const json::value* usable = verdict.is_object() ? verdict.get_object().if_contains("usable") : nullptr;
    if (usable == nullptr || *usable != json::value(false)) return false;
  }
  return true;
}

bool is_emulated(const Home& home, const Profile& profile, const std::string& arch, const HostFacts& host) {
  if (profile.accel == AccelWish::tcg || arch != host.arch) return true;
  return host.os == "linux" && (!kvm_problem("/dev/kvm").empty() || tried_in_vain(home.cache / "accel.json"));
}

}  // namespace

std::string slow_image(const Home& home, const Profile& profile, const HostFacts& host) {
  const std::string arch = resolved_arch(profile, host);
  std::string why;
  const auto ref = parse_image_ref(profile.image, why);
  if (!ref || resolved_driver(profile, host) != "qemu" || !is_emulated(home, profile, arch, host)) return {};
  const auto lack = cannot_build(arch, host);
  std::string image = ref->name;
  if (ref->kind == ImageRef::Kind::built) return {};
  if (ref->kind == ImageRef::Kind::automatic) {
    const auto there = cached_image(home, profile.image, arch);
    if (!lack || (there && there->source.empty())) return {};
    image = std::string(catalog_names.front());
  }
  return image + " is made for any machine, and takes about two minutes to boot on this emulated one; " +
         (lack ? "where images can be built, 'colima-like start --image docker' takes a tenth of that (here: " +
                     std::string(lack->what()) + ")"
               : "'colima-like start --image docker' takes a tenth of that");
}

std::optional<ImageEntry> cached_image(const Home& home, const std::string& setting, const std::string& arch) {
  std::string why;
  const auto ref = parse_image_ref(setting, why);
  if (!ref) return std::nullopt;
  using Kind = ImageRef::Kind;
  const bool automatic = ref->kind == Kind::automatic;
  const ImageCache cache = image_cache(home);
  const std::string built =
      automatic || ref->kind == Kind::built ? cache.name_of(image_key(automatic ? "docker" : ref->name, arch)) : "";
  const std::string title = automatic                    ? std::string(catalog_names.front())
                            : ref->kind == Kind::catalog ? ref->name
                                                         : "";
  auto fits = [&](const ImageEntry& entry) {
    if (entry.name == built) return true;
    if (entry.arch != arch) return false;
    if (ref->kind == Kind::location) return entry.source.ends_with("#" + ref->digest.str());
    return !title.empty() && entry.source_title == title;
  };
  for (ImageEntry& entry : cache.list())
    if (fits(entry)) return std::move(entry);
  return std::nullopt;
}

asio::awaitable<json::object> make_image(std::string setting, std::string arch, OnImageProgress on_progress) {
  const Home home = find_home();
  make_private_directory(home.cache);
  const auto began = std::chrono::steady_clock::now();
  rpc::Progress progress{"image", "looking for the guest image", false, {}};
  auto tell = [&](std::string_view text, bool done) {
    progress.text = text;
    progress.done = done;
    progress.elapsed = std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::steady_clock::now() - began);
    on_progress(progress);
  };
  auto say = [&](std::string_view text) { tell(text, false); };
  WantedImage wanted{std::move(setting), std::move(arch), {}, true};
  const Image image = co_await provide_image(home, std::move(wanted), say);
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
    if (!entry.source.empty()) row["source"] = entry.source;
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
  const ByteSize images = cache.prune(digests_in_use(home));
  const ByteSize freed = ByteSize::bytes(images.count() + prune_tools(home.cache, tools_in_use(home)));
  const auto after = names(cache.list());
  json::array removed;
  for (const std::string& name : before)
    if (!after.contains(name)) removed.emplace_back(name);
  return json::object{{"removed", removed}, {"freed_bytes", freed.count()}};
}

}  // namespace cl
