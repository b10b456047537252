#include "vm/saved_machine.hpp"

#include <sys/stat.h>

#include <boost/json.hpp>
#include <stdexcept>

#include "src/base/error.hpp"
#include "src/base/file.hpp"
#include "src/base/platform.hpp"

namespace cl {
namespace json = boost::json;
namespace {

constexpr int format = 1;

/// Which file this is and which state of it: any write changes it.
json::object stamp(const fs::path& path) {
  struct stat facts{};
  if (::stat(path.c_str(), &facts) != 0) throw file_error("look at", path, errno);
#ifdef __APPLE__
  const timespec changed = facts.st_ctimespec;
#else
  const timespec changed = facts.st_ctim;
#endif
  return json::object{{"device", static_cast<std::uint64_t>(facts.st_dev)},
                      {"inode", static_cast<std::uint64_t>(facts.st_ino)},
                      {"size", static_cast<std::int64_t>(facts.st_size)},
                      {"changed", static_cast<std::int64_t>(changed.tv_sec)},
                      {"changed_ns", static_cast<std::int64_t>(changed.tv_nsec)}};
}

}  // namespace

SavedMachine::SavedMachine(fs::path directory) : directory_(std::move(directory)) {}

void SavedMachine::prepare() {
  discard();
  make_private_directory(directory_);
}

void SavedMachine::commit(const SavedFacts& facts) {
  json::object disks;
  for (const fs::path& disk : facts.disks) disks[disk.filename().string()] = stamp(disk);
  const json::object marker_content{{"format", format},         {"host_boot", platform::boot_id()},
                                    {"driver", facts.driver},   {"hypervisor", facts.hypervisor},
                                    {"image", facts.image},     {"disks", disks},
                                    {"memory", stamp(memory())}};
  write_atomically(marker(), json::serialize(marker_content) + "\n");
}

bool SavedMachine::exists() const {
  std::error_code unreadable;
  return fs::exists(marker(), unreadable);
}

std::uint64_t SavedMachine::bytes() const { return allocated_bytes(memory()); }

std::optional<std::string> SavedMachine::unusable(const SavedFacts& facts) const {
  try {
    const json::value parsed = json::parse(read_file(marker()));
    const json::object& saved = parsed.as_object();
    if (saved.at("format").to_number<int>() != format) return "another version of colima-like saved it";
    if (saved.at("host_boot").as_string() != platform::boot_id()) return "this computer was started anew since";
    if (saved.at("driver").as_string() != facts.driver) return "another driver saved it";
    if (saved.at("image").as_string() != facts.image) return "the guest image has changed";
    if (!facts.hypervisor.empty() && saved.at("hypervisor").as_string() != facts.hypervisor)
      return "the hypervisor's version or arguments have changed";
    for (const fs::path& disk : facts.disks)
      if (saved.at("disks").at(disk.filename().string()) != json::value(stamp(disk)))
        return "the disk " + disk.filename().string() + " has changed since";
    if (saved.at("memory") != json::value(stamp(memory()))) return "the saved memory has changed since";
    return std::nullopt;
  } catch (const std::exception& error) {
    return std::string("what was saved is damaged: ") + error.what();
  }
}

void SavedMachine::use_up() {
  remove_file(marker());
  sync_directory(directory_);
}

fs::path SavedMachine::set_aside() {
  fs::path used = directory_ / "memory.used";
  rename_file(memory(), used);
  return used;
}

void SavedMachine::discard() {
  if (!file_exists(directory_)) return;
  use_up();
  remove_tree(directory_);
}

}  // namespace cl
