#include "src/app/transfer.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <boost/json.hpp>
#include <cerrno>

#include "docker/context.hpp"
#include "profiles/edit.hpp"
#include "profiles/keys.hpp"
#include "profiles/parse.hpp"
#include "profiles/state.hpp"
#include "profiles/store.hpp"
#include "src/base/file.hpp"
#include "src/base/sparse.hpp"
#include "vm/hash.hpp"

namespace cl {
namespace json = boost::json;
namespace {

constexpr std::string_view first_line = "colima-like export v1\n";
constexpr std::size_t longest_header = 16 << 20;  // about 700,000 extents
constexpr std::array<std::string_view, 3> entry_names{"profile.yaml", "template.yaml", "data.raw"};

/// Settings by which a profile reaches beyond its machine: what it shows, opens or runs, and whom it asks.
constexpr std::array<std::string_view, 23> of_the_host{"image",
                                                       "env",
                                                       "docker",
                                                       "registries.mirrors",
                                                       "registries.insecure",
                                                       "registries.certificates",
                                                       "proxy.http",
                                                       "proxy.https",
                                                       "proxy.none",
                                                       "shares",
                                                       "share_hide",
                                                       "host_sockets",
                                                       "forwards",
                                                       "check_binds",
                                                       "check_ports",
                                                       "provision",
                                                       "network.dns",
                                                       "network.hosts",
                                                       "network.address",
                                                       "network.forward",
                                                       "network.port_limit",
                                                       "network.low_ports",
                                                       "ssh.agent"};

/// Keeps daemons away from a stopped profile for as long as it lives.
FileLock lock_stopped(const ProfilePaths& paths, const std::string& doing) {
  const Observed seen = observe(paths);
  if (!seen.exists)
    throw Error(Errc::not_found, "there is no profile '" + paths.name + "'", "'colima-like list' shows the profiles");
  auto lock = seen.machine_alive || seen.state.phase != "stopped" ? std::nullopt : FileLock::try_acquire(paths.lock);
  if (!lock)
    throw Error(Errc::busy, "profile '" + paths.name + "' is not stopped, so it cannot be " + doing,
                "colima-like stop " + paths.name);
  return std::move(*lock);
}

void require_free(const ProfilePaths& paths) {
  if (file_exists(paths.config))
    throw Error(Errc::invalid_config, "there is a profile '" + paths.name + "' already", "choose another name");
  if (file_exists(paths.directory) && !list_folder(paths.directory).empty())
    throw Error(Errc::invalid_config, paths.directory.string() + " holds the data of a deleted profile",
                "choose another name, or move that away");
}

/// Puts a finished directory in a profile's place.
void install(const fs::path& made, const ProfilePaths& to) {
  require_free(to);
  remove_file(to.directory);
  rename_file(made, to.directory);
  sync_directory(to.directory.parent_path());
  create_profile(to);
}

/// A descriptor read or written from its beginning on, with a running checksum.
class Stream {
 public:
  Stream(UniqueFd fd, fs::path path) : fd_(std::move(fd)), path_(std::move(path)) {}

  void write(std::string_view bytes) {
    hash_.update(bytes);
    count_ += bytes.size();
    while (!bytes.empty()) {
      const ssize_t put = ::write(fd_.get(), bytes.data(), bytes.size());
      if (put < 0 && errno == EINTR) continue;
      if (put < 0) throw file_error("write", path_, errno);
      bytes.remove_prefix(static_cast<std::size_t>(put));
    }
  }
  void read(char* into, std::size_t size) {
    std::size_t have = 0;
    while (have < size) {
      const ssize_t got = ::read(fd_.get(), into + have, size - have);
      if (got < 0 && errno == EINTR) continue;
      if (got < 0) throw file_error("read", path_, errno);
      if (got == 0) throw Error(Errc::io, "the file ends too early");
      have += static_cast<std::size_t>(got);
    }
    hash_.update(std::string_view(into, size));
    count_ += size;
  }
  std::string read_line(std::size_t longest) {
    std::string line;
    char c = '\0';
    for (read(&c, 1); c != '\n'; read(&c, 1)) {
      if (line.size() == longest) throw Error(Errc::io, "its header is too long");
      line += c;
    }
    return line;
  }
  std::string digest() { return hash_.hex(); }
  std::uint64_t count() const { return count_; }
  /// Makes what was written durable.
  void sync() const {
    if (::fsync(fd_.get()) != 0) throw file_error("write", path_, errno);
  }

 private:
  UniqueFd fd_;
  fs::path path_;
  Sha256 hash_;
  std::uint64_t count_ = 0;
};

/// Between a file and a stream, extent by extent.
template <class Step>
void in_pieces(const Extent& extent, Step step) {
  std::vector<char> buffer(1 << 20);
  for (std::uint64_t done = 0; done < extent.length;) {
    const auto size = static_cast<std::size_t>(std::min<std::uint64_t>(buffer.size(), extent.length - done));
    step(buffer.data(), size, static_cast<off_t>(extent.offset + done));
    done += size;
  }
}

struct Entry {
  std::string name;
  std::uint64_t size = 0;
  std::vector<Extent> extents;
};

json::object to_json(const Entry& file) {
  json::array extents;
  for (const Extent& extent : file.extents) extents.push_back(json::array{extent.offset, extent.length});
  return json::object{{"name", file.name}, {"size", file.size}, {"extents", extents}};
}

/// What a stranger wrote: nothing but our three files, and nothing outside them.
Entry entry_from(const json::value& value) {
  Entry file;
  file.name = value.at("name").as_string();
  file.size = value.at("size").to_number<std::uint64_t>();
  if (std::find(entry_names.begin(), entry_names.end(), file.name) == entry_names.end() || file.size > std::uint64_t{1}
                                                                                                           << 44)
    throw Error(Errc::io, "it holds a file that does not belong into a profile: " + file.name);
  std::uint64_t end = 0;
  for (const json::value& pair : value.at("extents").as_array()) {
    const Extent extent{pair.at(0).to_number<std::uint64_t>(), pair.at(1).to_number<std::uint64_t>()};
    if (extent.offset < end || extent.offset > file.size || extent.length > file.size - extent.offset)
      throw Error(Errc::io, "its extents are not in order");
    end = extent.offset + extent.length;
    file.extents.push_back(extent);
  }
  return file;
}

void write_export(Stream& out, const ProfilePaths& from) {
  std::vector<std::pair<Entry, UniqueFd>> files;
  json::array list;
  for (const std::string_view name : entry_names) {
    const fs::path path = from.directory / name;
    UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
    if (!fd && errno == ENOENT) continue;
    if (!fd) throw file_error("open", path, errno);
    Entry file{std::string(name), file_bytes(path), data_extents(fd.get())};
    list.push_back(to_json(file));
    files.emplace_back(std::move(file), std::move(fd));
  }
  out.write(first_line);
  out.write(json::serialize(json::object{{"name", from.name}, {"files", list}}) + "\n");
  for (const auto& [file, fd] : files)
    for (const Extent& extent : file.extents)
      in_pieces(extent, [&, source = fd.get()](char* buffer, std::size_t size, off_t at) {
        if (::pread(source, buffer, size, at) != static_cast<ssize_t>(size))
          throw file_error("read", from.directory / file.name, errno);
        out.write({buffer, size});
      });
  const std::string digest = out.digest();
  out.write(digest + "\n");
  out.sync();
}

/// Reads everything into `directory`; the name that the profile had.
std::string read_export(Stream& in, const fs::path& directory) {
  if (in.read_line(first_line.size()) + "\n" != first_line)
    throw Error(Errc::io, "it was not written by 'colima-like export'");
  const json::value header = json::parse(in.read_line(longest_header));
  for (const json::value& one : header.at("files").as_array()) {
    const Entry file = entry_from(one);
    const fs::path path = directory / file.name;
    const UniqueFd fd(::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
    if (!fd) throw file_error("create", path, errno);
    if (::ftruncate(fd.get(), static_cast<off_t>(file.size)) != 0) throw file_error("size", path, errno);
    for (const Extent& extent : file.extents)
      in_pieces(extent, [&](char* buffer, std::size_t size, off_t at) {
        in.read(buffer, size);
        if (::pwrite(fd.get(), buffer, size, at) != static_cast<ssize_t>(size)) throw file_error("write", path, errno);
      });
    if (::fsync(fd.get()) != 0) throw file_error("write", path, errno);
  }
  const std::string right = in.digest();
  std::string said(right.size(), '\0');
  in.read(said.data(), said.size());
  if (said != right) throw Error(Errc::io, "its checksum is wrong");
  return std::string(header.at("name").as_string());
}

}  // namespace

void clone_profile(const ProfilePaths& from, const ProfilePaths& to) {
  const FileLock lock = lock_stopped(from, "cloned");
  require_free(to);
  TemporaryDirectory made(to.directory.parent_path(), ".clone-");
  const fs::path directory = made.path() / "profile";
  make_private_directory(directory);
  for (const std::string_view name : entry_names)
    if (file_exists(from.directory / name)) copy_sparse(from.directory / name, directory / name);
  install(directory, to);
}

json::object export_profile(const ProfilePaths& from, const fs::path& file) {
  const FileLock lock = lock_stopped(from, "exported");
  auto exists = [](const fs::path& there) {
    return Error(Errc::invalid_config, there.string() + " exists already", "choose another name");
  };
  if (file_exists(file)) throw exists(file);
  // Of a name that nobody can have put there: a link that waits there would be followed, in a folder of others' as
  // well.
  std::string partial = file.string() + ".XXXXXX";
  UniqueFd fd(::mkostemp(partial.data(), O_CLOEXEC));
  if (!fd) throw file_error("create", partial, errno);
  try {
    Stream out(std::move(fd), partial);
    write_export(out, from);
    // Unlike a rename it replaces nothing that has come meanwhile.
    if (::link(partial.c_str(), file.c_str()) != 0) {
      if (errno == EEXIST || file_exists(file)) throw exists(file);
      rename_file(partial, file);  // a file system without hard links
      return {{"bytes", out.count()}};
    }
    fs::remove(partial);
    return {{"bytes", out.count()}};
  } catch (...) {
    std::error_code ignored;
    fs::remove(partial, ignored);
    throw;
  }
}

namespace {

/// What the settings in `file`, which may be missing, ask of this host: {"key", "value"} each, added to `asked`. Unless
/// trusted they are taken out of it, and no folder is shared: who wrote the data may have left containers in it that
/// look for one.
void take_settings(const fs::path& file, bool trust, json::array& asked) {
  const auto found = read_file_if_exists(file);
  if (!found) return;
  std::string yaml = *found;
  const std::string name = file.filename();
  const Parsed parsed = parse_profile(yaml, name);
  constexpr const char* remedy =
      "nothing was changed; 'colima-like import --trust' takes the settings over as they are";
  if (!trust && !parsed.problems.empty())
    throw Error(Errc::invalid_config, name + " in the imported file is not valid", remedy)
        .because(parsed.problems.front().message);
  const Profile defaults;
  for (const std::string_view key_name : of_the_host) {
    const Key& key = *find_key(key_name);
    const std::string value = key.get(parsed.profile);
    if (value == key.get(defaults) && !parsed.given.contains(std::string(key_name))) continue;
    asked.push_back(json::object{{"key", key_name}, {"value", value}});
    if (!trust) yaml = unset_in_file(yaml, key, name);
  }
  if (trust) return;
  write_atomically(file, set_in_file(yaml, *find_key("shares"), "[]", name));
}

}  // namespace

json::object import_profile(const Home& home, std::string name, const fs::path& file, bool trust) {
  UniqueFd fd(::open(file.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd) throw file_error("open", file, errno);
  make_private_directory(home.profiles);
  TemporaryDirectory made(home.profiles, ".import-");
  const fs::path directory = made.path() / "profile";
  make_private_directory(directory);
  std::string exported_name;
  auto damaged = [&](std::string_view why) {
    return Error(Errc::io, file.string() + " cannot be imported", "nothing was changed; export it again").because(why);
  };
  try {
    Stream in(std::move(fd), file);
    exported_name = read_export(in, directory);
  } catch (const Error& error) {
    if (!error.remedy().empty()) throw;  // of this computer's disk, not of the file
    throw damaged(one_line(error));
  } catch (const std::exception& error) {  // of JSON
    throw damaged(error.what());
  }
  if (name.empty()) name = exported_name;
  json::array asked;
  for (const char* settings : {"profile.yaml", "template.yaml"}) take_settings(directory / settings, trust, asked);
  install(directory, profile_paths(home, name));
  return {{"name", name}, {"asks", asked}};
}

asio::awaitable<std::string> use_context(ProfilePaths paths) {
  std::string name = docker::context_name(paths.name);
  const docker::Cli cli;
  const auto activated =
      co_await docker::activate(cli, name, "colima-like, profile " + paths.name, paths.docker_socket);
  if (!activated) name.clear();
  co_return name;
}

asio::awaitable<void> remove_context(ProfilePaths paths) {
  const docker::Cli cli;
  const std::string name = docker::context_name(paths.name);
  co_await docker::remove(cli, name);
}

}  // namespace cl
