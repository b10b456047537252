#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <string>
#include <unordered_map>
#include <vector>

namespace cl {

/// Something that changed below a folder.
struct FileChange {
  enum class Kind : char {
    created = 'c',     ///< `path` is there now; it may have been there before
    modified = 'm',    ///< its content
    attributes = 'a',  ///< its mode, owner or times
    removed = 'd',     ///< it is no longer there
    moved = 'r',       ///< it was at `from` before
    listing = 'l'      ///< of a folder: names in it were added or removed, it is not known which
  };
  Kind kind = Kind::modified;
  std::string path;  ///< absolute
  std::string from = {};
  bool directory = false;
  bool content = false;  ///< created or moved: and then written

  bool operator==(const FileChange&) const = default;
};

/// Changes in their order that wait to be told, merged as they come: many writes of a file are one change, and what
/// happened to a file before it was removed is none. What comes out, told in this order, leads to the same end.
class ChangeList {
 public:
  void add(FileChange change);

  std::size_t size() const noexcept { return live_; }
  bool empty() const noexcept { return live_ == 0; }
  /// Takes the first of them out, `count` at most.
  std::vector<FileChange> take(std::size_t count);
  void clear();

 private:
  struct Slot {
    FileChange change;
    bool dropped = false;
  };
  bool merge(FileChange& change);

  Slot& slot(std::size_t number) { return slots_[number - first_]; }

  std::deque<Slot> slots_;
  std::size_t first_ = 0;                              ///< the number of slots_.front(): how many were taken before
  std::size_t live_ = 0;                               ///< slots that are not dropped
  std::unordered_map<std::string, std::size_t> last_;  ///< the last slot of a path, as far as one may merge into it
};

}  // namespace cl
