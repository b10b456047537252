#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

/// A suspended machine on disk: the guest's memory with its devices, and a marker that says what they belong to.
///
/// The two are one unit with the disks. A memory that runs on over disks that have changed since, or in another
/// hypervisor, would destroy file systems; so the marker records all of it, and a machine is only ever resumed when
/// nothing differs. Order (docs/architecture.md): the marker is written when the hypervisor has saved and is gone; it
/// is removed, and the removal made durable, before the guest runs again. Killed anywhere in between, there is either
/// no marker, and the machine boots cold over disks as after a power loss, or a whole one that was never used.
///
/// The memory file is not synced to disk: after a power loss the host has booted anew, and that alone makes the marker
/// void. This is what keeps a suspend short.
namespace cl {

/// All that a saved memory depends on.
struct SavedFacts {
  std::string driver;                        ///< Driver::name()
  std::string hypervisor;                    ///< Driver::saving()'s fingerprint: version and arguments
  std::string image;                         ///< digest of the guest image: kernel and base of the root disk
  std::vector<std::filesystem::path> disks;  ///< compared by inode, size and time of last change
};

class SavedMachine {
 public:
  /// `directory` is the profile's own; it need not exist.
  explicit SavedMachine(std::filesystem::path directory);

  /// Where the hypervisor writes the memory to and reads it from.
  std::filesystem::path memory() const { return directory_ / "memory"; }
  std::filesystem::path marker() const { return directory_ / "marker.json"; }

  /// Makes the directory and removes what an earlier suspend left.
  void prepare();
  /// The hypervisor is gone and the memory complete: from now on there is a suspended machine.
  void commit(const SavedFacts& facts);

  /// Whether there is a marker, valid or not.
  bool exists() const;
  /// Bytes that the memory takes on disk.
  std::uint64_t bytes() const;
  /// Why this cannot be resumed with `facts`, in words for a user; nothing when it can. `facts` may lack the
  /// hypervisor (empty), which is then not compared.
  std::optional<std::string> unusable(const SavedFacts& facts) const;

  /// Removes the marker for good: right before the guest runs again.
  void use_up();
  /// Once the memory is loaded: moves the file out of the way and returns where it is now. Removing it may wait for the
  /// disk for a second; the next prepare() or discard() would do it too.
  std::filesystem::path set_aside();
  /// Removes everything, the marker first.
  void discard();

 private:
  std::filesystem::path directory_;
};

}  // namespace cl
