#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <deque>
#include <map>
#include <set>

#include "provision/agent/empty_write.hpp"
#include "provision/agent/services.hpp"
#include "provision/agent/system.hpp"
#include "src/base/unique_fd.hpp"

// Tells those who watch files of the guest (inotify) what the host has changed in shared folders.
//
// Exact: a module of our guest kernel (vm/guest_image/rootfs/usr/src/colima-like-file-events) tells each as the kernel
// would have, had it been done here. Near: without the module, by what leaves the files of the host as they are:
//   a file    opened for writing and closed, with a write of no bytes between (IN_OPEN, IN_MODIFY, IN_CLOSE_WRITE);
//   where
//             that is not allowed the mode that it has is set again (IN_ATTRIB)
//   a name that came or went, a folder    the same mode is set again for the folder it is in, or that it is (IN_ATTRIB)
// Only the latter is noticed by the host again, as a change of attributes, and for that no mode is set: so nothing goes
// round.

namespace cl::agent {
namespace {

constexpr const char* device = "/dev/colima-like-file-events";
constexpr long notice_again = 2;  // seconds: caches of names live for one

long now() {
  timespec time{};
  ::clock_gettime(CLOCK_MONOTONIC, &time);
  return time.tv_sec;
}

std::string folder_of(const std::string& path) {
  const std::size_t slash = path.rfind('/');
  return slash == 0 || slash == std::string::npos ? "/" : path.substr(0, slash);
}

UniqueFd open_file(const std::string& path, int how) {
  return UniqueFd(::open(path.c_str(), how | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
}

/// Opened and closed: what sshfs knows of it is made new, or is forgotten.
void open_if_file(const std::string& path) {
  struct stat known{};
  if (::lstat(path.c_str(), &known) == 0 && S_ISREG(known.st_mode)) open_file(path, O_RDONLY);
}

/// What the kernel knows of it is asked for anew.
bool refresh(const std::string& path, struct stat& known) {
#ifdef STATX_BASIC_STATS
  struct statx ignored{};
  ::statx(AT_FDCWD, path.c_str(), AT_STATX_FORCE_SYNC | AT_SYMLINK_NOFOLLOW, STATX_BASIC_STATS, &ignored);
#endif
  return ::lstat(path.c_str(), &known) == 0;
}

/// As told by the host: kind, flags (1 folder, 2 with content), path and former path, each behind its length.
struct Record {
  char kind = 0;
  bool folder = false;
  std::string path, from;
  std::string_view all;
};

std::string_view take_text(std::string_view& records) {
  if (records.size() < 2) return {};
  const std::size_t size = static_cast<unsigned char>(records[0]) * 256U + static_cast<unsigned char>(records[1]);
  const std::string_view text = records.substr(2, size);
  records.remove_prefix(2 + text.size());
  return text;
}

bool take_record(std::string_view& records, Record& record) {
  if (records.size() < 6) return false;
  const std::string_view begin = records;
  record.kind = records[0];
  record.folder = (records[1] & 1) != 0;
  records.remove_prefix(2);
  record.path = take_text(records);
  record.from = take_text(records);
  record.all = begin.substr(0, begin.size() - records.size());
  return !record.path.empty();
}

class Near {
 public:
  void tell(const Record& record) {
    switch (record.kind) {
      case 'd': return gone(record.path);
      case 'l': soon_.insert(record.path); return;
      case 'a':
        if (!record.folder) notice_file(record.path, false);
        return;
      default: break;
    }
    if (record.kind == 'r') gone(record.from);
    if (record.kind != 'm') soon_.insert(folder_of(record.path));
    if (record.folder) {
      soon_.insert(record.path);
    } else {
      notice_file(record.path, true);
    }
  }
  void begin_batch() {}
  void end_batch() {
    for (const std::string& folder : soon_) notice_folder(folder);
    soon_.clear();
  }
  void tell_late() {
    const long time = now();
    for (auto one = later_.begin(); one != later_.end();) {
      if (one->second <= time) notice_folder(one->first);
      one = one->second <= time ? later_.erase(one) : std::next(one);
    }
  }
  bool waits() const { return !later_.empty(); }

 private:
  static void notice_folder(const std::string& path) {
    struct stat known{};
    if (refresh(path, known) && S_ISDIR(known.st_mode)) ::chmod(path.c_str(), known.st_mode & 07777);
  }
  void notice_file(const std::string& path, bool may_set) {
    struct stat known{};
    if (::lstat(path.c_str(), &known) != 0) return;
    if (S_ISREG(known.st_mode)) {
      const UniqueFd file = open_file(path, O_WRONLY);
      if (file) {
        refresh(path, known);  // sshfs, too, has asked the host only when it was opened
        ::fcntl(file.get(), F_SETFL, 0);
        if (write_nothing_(file.get())) return;
      }
    }
    if (refresh(path, known) && may_set && !S_ISLNK(known.st_mode)) ::chmod(path.c_str(), known.st_mode & 07777);
  }
  void gone(const std::string& path) {
    const std::string folder = folder_of(path);
    soon_.insert(folder);
    open_if_file(path);
    struct stat known{};
    if (refresh(path, known)) later_[folder] = now() + notice_again;
  }

  EmptyWrite write_nothing_;
  std::set<std::string> soon_;
  std::map<std::string, long> later_;  ///< folders to be noticed once more, and when
};

class Exact {
 public:
  explicit Exact(UniqueFd module) : module_(std::move(module)) {}

  void tell(const Record& record) {
    if (!record.folder) renew(record.path);
    if (!record.folder && !record.from.empty()) renew(record.from);
    if (write(record.all) || errno != EEXIST) return;
    // There is still a file that was removed. That may be what a cache says.
    again_.emplace_back(now() + notice_again, std::string(record.all));
  }
  void tell_late() {
    for (; !again_.empty() && again_.front().first <= now(); again_.pop_front()) write(again_.front().second);
  }
  void begin_batch() {  // mounts may have changed
    sshfs_.clear();
    last_folder_.clear();
  }
  void end_batch() {}
  bool waits() const { return !again_.empty(); }

 private:
  bool write(std::string_view record) { return ::write(module_.get(), record.data(), record.size()) > 0; }

  /// sshfs has a cache of its own, for a second. Elsewhere the file is left alone: looking at it would make the kernel
  /// forget the one that it knew, and who watches that.
  void renew(const std::string& path) {
    const std::string folder = folder_of(path);
    if (folder != last_folder_) {  // many changes are in the same one
      struct stat facts{};
      if (::lstat(folder.c_str(), &facts) != 0) return;
      const auto known = sshfs_.find(facts.st_dev);
      last_is_sshfs_ = known != sshfs_.end() ? known->second : (sshfs_[facts.st_dev] = is_sshfs(facts.st_dev));
      last_folder_ = folder;
    }
    if (last_is_sshfs_) open_if_file(path);
  }
  static bool is_sshfs(dev_t device_number) {
    const std::string number =
        " " + std::to_string(major(device_number)) + ":" + std::to_string(minor(device_number)) + " ";
    const std::string text = read_file("/proc/self/mountinfo");
    for (std::string_view rest = text; !rest.empty();) {
      const std::string_view line = rest.substr(0, rest.find('\n'));
      rest.remove_prefix(std::min(rest.size(), line.size() + 1));
      if (line.find(number) != std::string_view::npos && line.find(" - fuse.sshfs ") != std::string_view::npos)
        return true;
    }
    return false;
  }

  UniqueFd module_;
  std::map<dev_t, bool> sshfs_;
  std::string last_folder_;
  bool last_is_sshfs_ = false;
  std::deque<std::pair<long, std::string>> again_;
};

void load_module() {
  const char* const argv[] = {"modprobe", "-q", "colima-like-file-events", nullptr};
  const char* const environment[] = {"PATH=/usr/sbin:/usr/bin:/sbin:/bin", nullptr};
  for (const char* program : {"/usr/sbin/modprobe", "/sbin/modprobe"}) {
    pid_t pid = 0;
    if (::posix_spawn(&pid, program, nullptr, nullptr, const_cast<char* const*>(argv),
                      const_cast<char* const*>(environment)) != 0)
      continue;
    ::waitpid(pid, nullptr, 0);
    return;
  }
}

template <class Teller>
void serve(Channel& host, Teller&& teller) {
  std::string records;
  for (;;) {
    pollfd watched{host.fd(), POLLIN, 0};
    if (::poll(&watched, 1, teller.waits() ? 1000 : -1) > 0) {
      if (!host.receive(records)) return;
      teller.begin_batch();
      Record record;
      for (std::string_view rest = records; take_record(rest, record);) teller.tell(record);
      teller.end_batch();
      host.send("ok");
    }
    teller.tell_late();
  }
}

}  // namespace

void file_events(Channel& host, std::string_view) {
  UniqueFd module(::open(device, O_WRONLY | O_CLOEXEC));
  if (!module) {
    load_module();
    module.reset(::open(device, O_WRONLY | O_CLOEXEC));
  }
  host.send(module ? "exact" : "near");
  if (module) return serve(host, Exact(std::move(module)));
  serve(host, Near());
}

}  // namespace cl::agent
