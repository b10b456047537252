#include "vm/image/image.hpp"

#include <fcntl.h>
#include <fmt/chrono.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>
#include <cerrno>
#include <cstdlib>
#include <ctime>

#include "src/base/file.hpp"
#include "src/base/file_lock.hpp"
#include "src/base/log.hpp"
#include "src/base/unique_fd.hpp"
#include "vm/hash.hpp"
#include "vm/image/build.hpp"
#include "vm/image/disk_files.hpp"
#include "vm/image/download.hpp"

namespace cl {
namespace json = boost::json;
namespace {

constexpr std::string_view manifest_name = "manifest.json";
constexpr int manifest_format = 1;
constexpr const char* file_names[] = {"root.raw", "kernel", "initrd"};

/// A file as it was when it was last hashed: any change of these asks for a new look at its content.
struct FileFacts {
  std::uint64_t size = 0, inode = 0;
  std::int64_t mtime_ns = 0;
  std::string digest;
};

struct Manifest {
  Image image;  ///< paths filled in by the reader
  std::map<std::string, FileFacts> files;
};

std::optional<FileFacts> facts_of(const fs::path& path) {
  struct stat facts{};
  if (::stat(path.c_str(), &facts) != 0 || !S_ISREG(facts.st_mode)) return std::nullopt;
#ifdef __APPLE__
  const auto mtime = facts.st_mtimespec;
#else
  const auto mtime = facts.st_mtim;
#endif
  return FileFacts{static_cast<std::uint64_t>(facts.st_size),
                   static_cast<std::uint64_t>(facts.st_ino),
                   static_cast<std::int64_t>(mtime.tv_sec) * 1'000'000'000 + mtime.tv_nsec,
                   {}};
}

bool same_stat(const FileFacts& a, const FileFacts& b) {
  return a.size == b.size && a.inode == b.inode && a.mtime_ns == b.mtime_ns;
}

/// One digest over the files' digests.
std::string image_digest(const std::map<std::string, FileFacts>& files) {
  std::string all;
  for (const auto& [name, facts] : files) all += name + ' ' + facts.digest + '\n';
  return sha256_hex(all);
}

std::string to_json(const Manifest& manifest) {
  json::object files, versions, all;
  for (const auto& [name, facts] : manifest.files) {
    json::object file;
    file["size"] = facts.size;
    file["inode"] = facts.inode;
    file["mtime_ns"] = facts.mtime_ns;
    file["digest"] = facts.digest;
    files[name] = std::move(file);
  }
  for (const auto& [name, value] : manifest.image.versions) versions[name] = value;
  all["format"] = manifest_format;
  all["digest"] = manifest.image.digest;
  all["arch"] = manifest.image.arch;
  all["variant"] = manifest.image.variant;
  all["suite"] = manifest.image.suite;
  all["created"] = manifest.image.created;
  all["kernel_arguments"] = manifest.image.kernel_arguments;
  all["versions"] = std::move(versions);
  all["boot"] = manifest.image.boot;
  all["seed"] = manifest.image.seed;
  all["provisioned"] = manifest.image.provisioned;
  if (!manifest.image.source.empty()) all["source"] = manifest.image.source;
  if (!manifest.image.source_title.empty()) all["title"] = manifest.image.source_title;
  all["files"] = std::move(files);
  return json::serialize(all) + "\n";
}

/// Throws boost::system::system_error for what is no manifest of this format.
Manifest from_json(std::string_view text, const fs::path& directory) {
  const json::value parsed = json::parse(text);
  auto text_at = [](const json::object& object, std::string_view name) {
    return std::string(object.at(name).as_string());
  };
  const json::object& all = parsed.as_object();
  if (all.at("format").to_number<int>() != manifest_format)
    throw boost::system::system_error(boost::system::errc::make_error_code(boost::system::errc::not_supported));
  Manifest manifest;
  Image& image = manifest.image;
  image.name = directory.filename().string();
  image.digest = text_at(all, "digest");
  image.arch = text_at(all, "arch");
  image.variant = text_at(all, "variant");
  image.suite = text_at(all, "suite");
  image.created = text_at(all, "created");
  image.kernel_arguments = text_at(all, "kernel_arguments");
  // Images that were built before there were others do not say this.
  for (const auto& [name, field] : {std::pair{"boot", &image.boot},
                                    {"seed", &image.seed},
                                    {"source", &image.source},
                                    {"title", &image.source_title}})
    if (all.contains(name)) *field = text_at(all, name);
  image.provisioned = all.contains("provisioned") ? all.at("provisioned").as_bool() : image.variant == "docker";
  for (const auto& entry : all.at("versions").as_object())
    image.versions[std::string(entry.key())] = std::string(entry.value().as_string());
  for (const auto& entry : all.at("files").as_object()) {
    const json::object& file = entry.value().as_object();
    FileFacts facts;
    facts.size = file.at("size").to_number<std::uint64_t>();
    facts.inode = file.at("inode").to_number<std::uint64_t>();
    facts.mtime_ns = file.at("mtime_ns").to_number<std::int64_t>();
    facts.digest = text_at(file, "digest");
    manifest.files[std::string(entry.key())] = std::move(facts);
  }
  image.root = directory / "root.raw";
  if (manifest.files.contains("kernel")) image.kernel = directory / "kernel";
  if (manifest.files.contains("initrd")) image.initrd = directory / "initrd";
  return manifest;
}

/// The manifest of an image directory, or nothing when it is missing or cannot be understood.
std::optional<Manifest> read_manifest(const fs::path& directory) {
  try {
    const auto text = read_file_if_exists(directory / manifest_name);
    if (!text) return std::nullopt;
    Manifest manifest = from_json(*text, directory);
    const bool direct = manifest.image.boot == "direct";
    if (!manifest.files.contains("root.raw") || manifest.files.contains("kernel") != direct) return std::nullopt;
    return manifest;
  } catch (const std::exception& error) {
    log::warn("{} cannot be read: {}", (directory / manifest_name).string(), error.what());
    return std::nullopt;
  }
}

Error damaged(const fs::path& directory, std::string_view why) {
  return Error(
             Errc::io, "the image " + directory.filename().string() + " is damaged",
             "make it again with 'colima-like image build' or 'image pull'; profiles made on the damaged one get a new "
             "root disk")
      .because(why);
}

ByteSize allocated_in(const fs::path& directory) {
  std::uint64_t sum = 0;
  std::error_code ec;
  for (fs::recursive_directory_iterator it(directory, ec), end; !ec && it != end; it.increment(ec))
    sum += allocated_bytes(it->path());
  return ByteSize::bytes(sum);
}

/// The directory's image if its files are what the manifest says, by their times or else by their content.
asio::awaitable<Image> verify(fs::path directory, OnPhase on_phase) {
  auto manifest = read_manifest(directory);
  if (!manifest) throw damaged(directory, "its manifest is missing or cannot be read");
  bool changed = false;
  for (auto& [name, known] : manifest->files) {
    const auto now = facts_of(directory / name);
    if (!now) throw damaged(directory, name + " is missing");
    if (same_stat(*now, known)) continue;
    if (on_phase) on_phase("checking " + name + ", which was moved or touched");
    const std::string digest = co_await sparse_file_digest(directory / name);
    if (digest != known.digest) throw damaged(directory, name + " has other content than when it was built");
    known = *now;
    known.digest = digest;
    changed = true;
  }
  if (image_digest(manifest->files) != manifest->image.digest)
    throw damaged(directory, "its manifest contradicts itself");
  if (changed) write_atomically(directory / manifest_name, to_json(*manifest), 0400);
  manifest->image.allocated = allocated_in(directory);
  co_return std::move(manifest->image);
}

/// NAME=value lines.
std::map<std::string, std::string> read_assignments(const fs::path& path) {
  std::map<std::string, std::string> all;
  std::string text = read_file(path);
  std::string_view rest = text;
  while (!rest.empty()) {
    const auto end = rest.find('\n');
    const std::string_view line = rest.substr(0, end);
    rest = end == std::string_view::npos ? std::string_view{} : rest.substr(end + 1);
    const auto equals = line.find('=');
    if (equals != std::string_view::npos) all[std::string(line.substr(0, equals))] = line.substr(equals + 1);
  }
  return all;
}

void make_durable_and_read_only(const fs::path& path) {
  UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd || ::fsync(fd.get()) != 0) throw file_error("sync", path, errno);
  if (::fchmod(fd.get(), 0400) != 0) throw file_error("set the mode of", path, errno);
}

std::string now_utc() { return fmt::format("{:%Y-%m-%dT%H:%M:%SZ}", fmt::gmtime(std::time(nullptr))); }

/// Hashes a file of an image that is being made.
asio::awaitable<FileFacts> seal_file(fs::path path, FileFacts facts) {
  make_durable_and_read_only(path);
  facts.digest = co_await sparse_file_digest(path);
  co_return facts;
}

/// Turns what the recipe wrote into `directory` into an image: hashed, read-only, described by a manifest.
asio::awaitable<void> seal(fs::path directory, ImageKey key, OnPhase on_phase) {
  auto told = read_assignments(directory / "manifest.txt");
  Manifest manifest;
  manifest.image.arch = key.arch;
  manifest.image.variant = key.variant;
  manifest.image.suite = key.suite;
  manifest.image.created = now_utc();
  manifest.image.kernel_arguments = told["cmdline"];
  manifest.image.provisioned = key.variant == "docker";
  for (const auto& [name, value] : told)
    if (name.ends_with("_version") && !value.empty()) manifest.image.versions[name] = value;
  if (on_phase) on_phase("verifying the image");
  for (const char* name : file_names) {
    const fs::path path = directory / name;
    const auto facts = facts_of(path);
    if (!facts || facts->size == 0) {
      if (std::string_view(name) == "initrd") continue;
      throw Error(Errc::internal, std::string("the image recipe wrote no ") + name);
    }
    manifest.files[name] = co_await seal_file(path, *facts);
  }
  manifest.image.digest = image_digest(manifest.files);
  remove_file(directory / "manifest.txt");
  write_atomically(directory / manifest_name, to_json(manifest), 0400);
}

/// The same for a disk that was downloaded: `directory` holds root.raw alone.
asio::awaitable<void> seal_download(fs::path directory, ImageSource source, std::string boot, OnPhase on_phase) {
  const fs::path path = directory / "root.raw";
  const auto facts = facts_of(path);
  if (!facts) throw Error(Errc::internal, "the downloaded image has no root.raw");
  if (on_phase) on_phase("verifying the image");
  Manifest manifest;
  manifest.image.arch = source.arch;
  manifest.image.variant = "download";
  manifest.image.created = now_utc();
  manifest.image.boot = std::move(boot);
  manifest.image.seed = "cloud-init";
  manifest.image.source_title = source.title;
  // Without user and password, should the URL have some.
  const auto url = parse_url(source.locations.front());
  manifest.image.source = (url ? url->str() : source.locations.front()) + "#" + source.digest.str();
  manifest.files["root.raw"] = co_await seal_file(path, *facts);
  manifest.image.digest = image_digest(manifest.files);
  write_atomically(directory / manifest_name, to_json(manifest), 0400);
}

/// "debian-13-x86_64-0123456789ab": the file's digest names it.
std::string name_of_source(const ImageSource& source) {
  constexpr std::size_t longest = 48;
  std::string title;
  for (const char c : source.title.substr(0, longest))
    title += std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '.' || c == '_' ? c : '-';
  while (title.starts_with('.') || title.starts_with("tmp-")) title.erase(0, 1);
  return fmt::format("{}-{}-{}", title, source.arch, source.digest.hex.substr(0, 12));
}

/// A copy to work on: the file itself may change while it is looked at.
asio::awaitable<void> copy_file(fs::path from, fs::path to, Digest digest) {
  auto executor = co_await asio::this_coro::executor;
  std::error_code ec;
  const auto size = fs::file_size(from, ec);
  if (ec)
    throw Error(Errc::not_found, "cannot read the image " + from.string(), "check the setting 'image'")
        .because(ec.message());
  if (free_space(to.parent_path()) < size + ByteSize::gib(1).count())
    throw Error(Errc::host_requirement, "too little space to copy the image " + from.string(),
                "free some space in " + to.parent_path().string());
  fs::copy_file(from, to, fs::copy_options::overwrite_existing, ec);
  if (ec) throw file_error("copy " + from.string() + " to", to, ec.value());
  co_await asio::post(executor, asio::use_awaitable);
  const std::string found = co_await file_digest(to, digest.algorithm);
  if (found == digest.hex) co_return;
  fs::remove(to, ec);
  throw Error(Errc::not_found, from.string() + " is not the file that was asked for",
              "take the digest from whoever publishes the file; if it is right, somebody has changed the file")
      .because(fmt::format("its digest is {}:{} and not {}", digest.algorithm, found, digest.str()));
}

std::string temporary_prefix(const std::string& name) { return "tmp-" + name + "-"; }

/// What builders of `name` that are gone left behind. The caller holds the lock of `name`.
std::uint64_t sweep(const fs::path& directory, const std::string& name) {
  std::uint64_t freed = 0;
  std::error_code ec;
  for (fs::directory_iterator it(directory, ec), end; !ec && it != end; it.increment(ec)) {
    if (!it->path().filename().string().starts_with(temporary_prefix(name))) continue;
    freed += allocated_in(it->path()).count();
    std::error_code failed;
    fs::remove_all(it->path(), failed);
    if (failed) log::warn("cannot remove {}: {}", it->path().string(), failed.message());
  }
  return freed;
}

fs::path lock_path(const fs::path& directory, const std::string& name) { return directory / (name + ".lock"); }

/// Waits for other builders of this image.
asio::awaitable<FileLock> lock_name(fs::path directory, std::string name, OnPhase on_phase) {
  auto waits = [say = std::move(on_phase)] {
    if (say) say("waiting for whoever makes the same image");
  };
  return wait_for_lock(lock_path(directory, name), std::move(waits));
}

void require_space(const fs::path& directory, ByteSize least) {
  const ByteSize free = ByteSize::bytes(free_space(directory));
  if (free >= least) return;
  throw Error(Errc::host_requirement, "too little space to build a guest image",
              "free some space there, or remove old images with 'colima-like image prune'")
      .because(fmt::format("{} has {} free, and a build needs {}", directory.string(), free.str(), least.str()));
}

/// Image directories are those with a manifest's worth of files; names of ours never start with "tmp-".
std::vector<fs::path> image_directories(const fs::path& directory) {
  std::vector<fs::path> all;
  std::error_code ec;
  for (fs::directory_iterator it(directory, ec), end; !ec && it != end; it.increment(ec))
    if (it->is_directory(ec) && !it->path().filename().string().starts_with("tmp-")) all.push_back(it->path());
  std::sort(all.begin(), all.end());
  return all;
}

}  // namespace

std::string default_mirror() {
  const char* chosen = std::getenv("COLIMA_LIKE_MIRROR");
  return chosen != nullptr && *chosen != '\0' ? chosen : "http://deb.debian.org/debian";
}

ImageCache::ImageCache(fs::path directory, Recipe recipe)
    : directory_(std::move(directory)), recipe_(std::move(recipe)) {}

std::string ImageCache::name_of(const ImageKey& key) const {
  return fmt::format("{}-{}-{}-{}", key.suite, key.variant, key.arch, recipe_.digest().substr(0, 12));
}

asio::awaitable<std::optional<Image>> ImageCache::find(ImageKey key, OnPhase on_phase) {
  const fs::path directory = directory_ / name_of(key);
  if (!file_exists(directory)) co_return std::nullopt;
  co_return co_await verify(directory, std::move(on_phase));
}

asio::awaitable<std::optional<Image>> ImageCache::find_digest(std::string digest, OnPhase on_phase) {
  for (const fs::path& directory : image_directories(directory_)) {
    const auto manifest = read_manifest(directory);
    if (manifest && manifest->image.digest == digest) co_return co_await verify(directory, on_phase);
  }
  co_return std::nullopt;
}

asio::awaitable<Image> ImageCache::build(ImageKey key, BuildOptions options, OnPhase on_phase) {
  if (options.mirror.empty()) options.mirror = default_mirror();
  make_private_directory(directory_);
  const std::string name = name_of(key);
  const fs::path final_place = directory_ / name;
  const FileLock lock = co_await lock_name(directory_, name, on_phase);
  bool replaces = false;
  try {
    if (auto there = co_await find(key, on_phase)) co_return std::move(*there);
  } catch (const Error& error) {
    log::warn("{}: building it again", one_line(error));
    replaces = true;
  }
  sweep(directory_, name);
  require_space(directory_, options.least_free_space);

  const TemporaryDirectory work(directory_, temporary_prefix(name));
  RecipeRun run;
  run.recipe = work.path() / "recipe";
  run.out = work.path() / "image";
  run.log = work.path() / "build.log";
  if (::geteuid() == 0) {
    // Where a sweep finds them. Without root they belong to other users of ours, who cannot enter here.
    run.scratch = work.path() / "scratch";
    make_private_directory(run.scratch);
  }
  run.key = key;
  run.mirror = options.mirror;
  run.limit = options.limit;
  run.lock_fd = lock.fd();
  make_private_directory(run.recipe);
  make_private_directory(run.out);
  recipe_.unpack(run.recipe);
  const fs::path out = run.out, log = run.log, kept_log = directory_ / (name + ".build.log");
  try {
    co_await run_recipe(std::move(run), on_phase);
  } catch (const Error& error) {
    std::error_code ec;
    fs::rename(log, kept_log, ec);
    if (ec || error.code() != Errc::io) throw;
    throw error.with_remedy("all messages are in " + kept_log.string());
  }
  co_await seal(out, key, on_phase);

  if (replaces) rename_file(final_place, work.path() / "damaged");
  rename_file(out, final_place);
  sync_directory(directory_);
  std::error_code ignored;
  fs::remove(kept_log, ignored);
  co_return co_await verify(final_place, on_phase);
}

asio::awaitable<std::optional<Image>> ImageCache::find_source(ImageSource source, OnPhase on_phase) {
  const fs::path directory = directory_ / name_of_source(source);
  if (!file_exists(directory)) co_return std::nullopt;
  Image image = co_await verify(directory, std::move(on_phase));
  // The name has 12 digits of the digest, which somebody could aim at.
  if (!image.source.ends_with("#" + source.digest.str())) throw damaged(directory, "it was made of another file");
  co_return image;
}

asio::awaitable<std::optional<Image>> ImageCache::find_title(std::string title, std::string arch, OnPhase on_phase) {
  std::optional<Manifest> newest;
  for (const fs::path& directory : image_directories(directory_)) {
    auto manifest = read_manifest(directory);
    if (!manifest || manifest->image.source_title != title || manifest->image.arch != arch) continue;
    if (!newest || newest->image.created < manifest->image.created) newest = std::move(manifest);
  }
  if (!newest) co_return std::nullopt;
  co_return co_await verify(newest->image.root.parent_path(), std::move(on_phase));
}

asio::awaitable<Image> ImageCache::fetch(ImageSource source, FetchOptions options, OnPhase on_phase) {
  make_private_directory(directory_);
  make_private_directory(downloads());
  const std::string name = name_of_source(source);
  const fs::path final_place = directory_ / name;
  const FileLock lock = co_await lock_name(directory_, name, on_phase);
  bool replaces = false;
  try {
    if (auto there = co_await find_source(source, on_phase)) co_return std::move(*there);
  } catch (const Error& error) {
    log::warn("{}: making it again", one_line(error));
    replaces = true;
  }
  sweep(directory_, name);

  const fs::path part = downloads() / (name + ".part");
  if (parse_url(source.locations.front())) {
    Download what;
    what.title = source.title;
    what.urls = source.locations;
    what.digest = source.digest;
    what.part = part;
    what.most = options.most;
    what.http = options.http;
    what.first_pause = options.first_pause;
    co_await download(std::move(what), on_phase);
  } else {
    if (on_phase) on_phase("checking " + source.locations.front());
    co_await copy_file(source.locations.front(), part, source.digest);
  }

  const TemporaryDirectory work(directory_, temporary_prefix(name));
  const fs::path out = work.path() / "image";
  make_private_directory(out);
  std::exception_ptr failure;
  try {
    co_await make_raw(part, out / "root.raw", source.title, on_phase);
    std::string boot = boot_way(inspect_disk(out / "root.raw"), source.arch, source.title);
    co_await seal_download(out, source, std::move(boot), on_phase);
  } catch (const Error& error) {
    failure = std::current_exception();
    // For another architecture, or no image at all: nobody will go on with it.
    if (error.code() == Errc::invalid_config) forget_download(part);
  }
  if (failure) std::rethrow_exception(failure);
  if (replaces) rename_file(final_place, work.path() / "damaged");
  rename_file(out, final_place);
  sync_directory(directory_);
  forget_download(part);
  co_return co_await verify(final_place, on_phase);
}

std::vector<ImageEntry> ImageCache::list() const {
  std::vector<ImageEntry> entries;
  for (const fs::path& directory : image_directories(directory_)) {
    ImageEntry entry;
    entry.name = directory.filename().string();
    entry.allocated = allocated_in(directory);
    const auto manifest = read_manifest(directory);
    if (!manifest) {
      entry.problem = "its manifest is missing or cannot be read";
    } else {
      entry.digest = manifest->image.digest;
      entry.arch = manifest->image.arch;
      entry.created = manifest->image.created;
      entry.source_title = manifest->image.source_title;
      entry.source = manifest->image.source;
      for (const auto& [name, known] : manifest->files) {
        const auto now = facts_of(directory / name);
        if (!now) entry.problem = name + " is missing";
        if (now && now->size != known.size) entry.problem = name + " has another size than when it was built";
      }
    }
    entries.push_back(std::move(entry));
  }
  return entries;
}

ByteSize ImageCache::prune(const std::set<std::string>& digests_in_use) {
  const std::vector<ImageEntry> all = list();
  std::set<std::string> missing = digests_in_use;
  for (const ImageEntry& entry : all) missing.erase(entry.digest);

  std::uint64_t freed = 0;
  for (const ImageEntry& entry : all) {
    const bool may_be_in_use = entry.digest.empty() ? !missing.empty() : digests_in_use.contains(entry.digest);
    if (may_be_in_use) continue;
    const auto lock = FileLock::try_acquire(lock_path(directory_, entry.name));
    if (!lock) continue;  // just being replaced
    // Out of sight first: a removal that is interrupted leaves no half image under its name.
    const fs::path doomed = directory_ / (temporary_prefix(entry.name) + "pruned");
    std::error_code ec;
    fs::rename(directory_ / entry.name, doomed, ec);
    if (ec) throw io_error("cannot remove the image " + entry.name, ec.value());
    freed += sweep(directory_, entry.name);
  }
  // Left by builds that were killed: each has a lock beside it that tells whether its builder lives.
  std::error_code ec;
  std::vector<std::string> names;
  for (fs::directory_iterator it(directory_, ec), end; !ec && it != end; it.increment(ec))
    if (it->path().extension() == ".lock") names.push_back(it->path().stem().string());
  for (const std::string& name : names) {
    const auto lock = FileLock::try_acquire(lock_path(directory_, name));
    if (!lock) continue;
    freed += sweep(directory_, name);
    for (const char* suffix : {".part", ".part.from"}) {
      const fs::path part = downloads() / (name + suffix);
      const std::uint64_t bytes = allocated_bytes(part);
      if (fs::remove(part, ec)) freed += bytes;
    }
  }
  return ByteSize::bytes(freed);
}

}  // namespace cl
