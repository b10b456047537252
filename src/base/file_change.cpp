#include "src/base/file_change.hpp"

#include <algorithm>
#include <utility>

namespace cl {
namespace {

using Kind = FileChange::Kind;

}  // namespace

void ChangeList::add(FileChange change) {
  if (merge(change)) return;
  // Paths below a folder that moves or goes name something else afterwards: nothing merges across that.
  const bool barrier = change.directory && (change.kind == Kind::moved || change.kind == Kind::removed);
  if (barrier) last_.clear();
  if (change.kind == Kind::moved) last_.erase(change.from);
  if (!barrier) last_[change.path] = first_ + slots_.size();
  slots_.push_back({std::move(change), false});
  ++live_;
}

/// Whether the last change of the same path says it all, or could be made to.
bool ChangeList::merge(FileChange& change) {
  if (change.kind == Kind::moved) return false;
  const auto found = last_.find(change.path);
  if (found == last_.end()) return false;
  Slot& last = slot(found->second);
  FileChange& before = last.change;
  if (before.directory != change.directory) return false;
  switch (change.kind) {
    case Kind::attributes:
    case Kind::listing: return before.kind != Kind::removed;
    case Kind::modified:
      if (before.kind == Kind::removed) return false;
      if (before.kind == Kind::attributes || before.kind == Kind::listing) before.kind = Kind::modified;
      if (before.kind != Kind::modified) before.content = true;
      return true;
    case Kind::created:
      if (before.kind != Kind::created && before.kind != Kind::moved) return false;
      before.content = before.content || change.content;
      return true;
    case Kind::removed:
      if (before.kind == Kind::removed) return true;
      if (before.kind == Kind::moved || before.directory) return false;
      // What happened to it before matters no more. The removal does, also of a file that was only just created: a
      // file that was moved there from elsewhere may have replaced one that others know.
      last.dropped = true;
      --live_;
      return false;
    case Kind::moved: break;
  }
  return false;
}

std::vector<FileChange> ChangeList::take(std::size_t count) {
  std::vector<FileChange> taken;
  taken.reserve(std::min(count, live_));
  while (taken.size() < count && !slots_.empty()) {
    Slot next = std::move(slots_.front());
    slots_.pop_front();
    ++first_;
    if (next.dropped) continue;
    const auto last = last_.find(next.change.path);
    if (last != last_.end() && last->second < first_) last_.erase(last);
    taken.push_back(std::move(next.change));
    --live_;
  }
  if (live_ == 0) clear();
  return taken;
}

void ChangeList::clear() {
  slots_ = {};
  last_ = {};
  first_ = live_ = 0;
}

}  // namespace cl
