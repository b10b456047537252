#include "src/base/folder_look_linux.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <iterator>
#include <string_view>

namespace cl {
namespace {

using Time = FolderLook::Time;

constexpr std::uint32_t interest = IN_CREATE | IN_DELETE | IN_MODIFY | IN_ATTRIB | IN_MOVED_FROM | IN_MOVED_TO |
                                   IN_DELETE_SELF | IN_MOVE_SELF | IN_ONLYDIR | IN_DONT_FOLLOW | IN_EXCL_UNLINK;
constexpr long unknown_file_systems[] = {PROC_SUPER_MAGIC, SYSFS_MAGIC,     CGROUP2_SUPER_MAGIC, TRACEFS_MAGIC,
                                         DEBUGFS_MAGIC,    NFS_SUPER_MAGIC, CIFS_SUPER_MAGIC,    SMB2_SUPER_MAGIC,
                                         FUSE_SUPER_MAGIC, V9FS_MAGIC,      AFS_SUPER_MAGIC,     BPF_FS_MAGIC};

Time to_time(const struct statx_timestamp& time) {
  return Time(std::chrono::duration_cast<Time::duration>(std::chrono::seconds(time.tv_sec) +
                                                         std::chrono::nanoseconds(time.tv_nsec)));
}

void add_watch(const FolderLook& look, FolderFacts& facts) {
  facts.watch = ::inotify_add_watch(look.inotify->get(), look.path.c_str(), interest);
  facts.failure = errno;
  if (facts.watch >= 0 || facts.failure != ENOTDIR || !look.may_be_file) return;
  facts.file = true;
  facts.watch =
      ::inotify_add_watch(look.inotify->get(), look.path.c_str(), interest & ~static_cast<unsigned>(IN_ONLYDIR));
  facts.failure = errno;
}

/// Whether inotify reports changes in the file system of an open folder that is mounted below its parent.
bool tells_changes(int folder) {
  struct statfs system{};
  return ::fstatfs(folder, &system) == 0 &&
         std::find(std::begin(unknown_file_systems), std::end(unknown_file_systems),
                   static_cast<long>(system.f_type)) == std::end(unknown_file_systems);
}

void note_file(const FolderLook& look, int folder, const char* name, FolderFacts& facts) {
  if (look.report == Report::everything) facts.entries.push_back({name, false, true});
  struct statx info{};
  if (look.report != Report::newer ||
      ::statx(folder, name, AT_SYMLINK_NOFOLLOW, STATX_CTIME | STATX_BTIME, &info) != 0 ||
      to_time(info.stx_ctime) < look.since)
    return;
  facts.entries.push_back({name, false, (info.stx_mask & STATX_BTIME) != 0 && to_time(info.stx_btime) >= look.since});
}

void list(const FolderLook& look, FolderFacts& facts) {
  UniqueFd fd(::open(look.path.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  facts.missing = !fd && errno == ENOENT;
  struct stat info{};
  if (!fd || ::fstat(fd.get(), &info) != 0) return;
  facts.device = info.st_dev;
  if (look.parent_device && *look.parent_device != info.st_dev && !tells_changes(fd.get())) return;
  const auto changed = std::chrono::seconds(info.st_mtim.tv_sec) + std::chrono::nanoseconds(info.st_mtim.tv_nsec);
  facts.newer = look.report == Report::newer && Time(std::chrono::duration_cast<Time::duration>(changed)) >= look.since;
  const std::unique_ptr<DIR, int (*)(DIR*)> stream(::fdopendir(fd.get()), ::closedir);
  if (!stream) return;
  const int in = fd.release();  // the stream's now
  facts.listed = true;
  while (const dirent* entry = ::readdir(stream.get())) {
    const std::string_view name(entry->d_name);
    if (name == "." || name == "..") continue;
    struct stat kind{};
    const bool directory = entry->d_type == DT_DIR ||
                           (entry->d_type == DT_UNKNOWN &&
                            ::fstatat(in, entry->d_name, &kind, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(kind.st_mode));
    if (directory)
      facts.entries.push_back({entry->d_name, true, false});
    else
      note_file(look, in, entry->d_name, facts);
  }
}

}  // namespace

FolderFacts look_through_folder(const FolderLook& look) {
  FolderFacts facts;
  if (look.add_watch) add_watch(look, facts);
  if (!look.add_watch || facts.watch >= 0) list(look, facts);
  return facts;
}

}  // namespace cl
