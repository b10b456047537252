#include "tests/fakes/failing_files.hpp"

#include <dlfcn.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <atomic>
#include <bitset>
#include <cerrno>
#include <cstdarg>
#include <mutex>
#include <string>

namespace cl::test {
namespace {

struct Fault {
  std::mutex mutex;
  std::string folder;  // empty: nothing fails
  int first = 0, error = 0, calls = 0;
  FailingFiles::Mode mode = FailingFiles::Mode::once;
  std::bitset<4096> ours;  // descriptors of files below the folder
};

Fault& fault() {
  static Fault one;
  return one;
}

/// Whether this call, which is one of those that count, has to fail; with errno set.
bool fails_now(Fault& now) {
  ++now.calls;
  if (now.mode == FailingFiles::Mode::no_room) return false;
  const bool fails = now.mode == FailingFiles::Mode::once ? now.calls == now.first : now.calls >= now.first;
  if (fails) errno = now.error;
  return fails;
}

bool path_fails(const char* path) {
  Fault& now = fault();
  const std::lock_guard lock(now.mutex);
  return !now.folder.empty() && std::string_view(path).starts_with(now.folder) && fails_now(now);
}

bool descriptor_fails(int fd) {
  Fault& now = fault();
  const std::lock_guard lock(now.mutex);
  return !now.folder.empty() && fd >= 0 && static_cast<std::size_t>(fd) < now.ours.size() &&
         now.ours[static_cast<std::size_t>(fd)] && fails_now(now);
}

bool has_no_room(const char* path) {
  Fault& now = fault();
  const std::lock_guard lock(now.mutex);
  return now.mode == FailingFiles::Mode::no_room && !now.folder.empty() &&
         std::string_view(path).starts_with(now.folder);
}

int note(int fd, const char* path) {
  Fault& now = fault();
  const std::lock_guard lock(now.mutex);
  if (fd >= 0 && static_cast<std::size_t>(fd) < now.ours.size())
    now.ours[static_cast<std::size_t>(fd)] = !now.folder.empty() && std::string_view(path).starts_with(now.folder);
  return fd;
}

template <class Function>
Function next(const char* name) {
  return reinterpret_cast<Function>(::dlsym(RTLD_NEXT, name));
}

bool writes(int flags) { return (flags & O_ACCMODE) != O_RDONLY || (flags & O_CREAT) != 0; }

}  // namespace

FailingFiles::FailingFiles(const std::filesystem::path& folder, int first, int error, Mode mode) {
  Fault& now = fault();
  const std::lock_guard lock(now.mutex);
  now.folder = folder.string();
  now.first = first;
  now.error = error;
  now.mode = mode;
  now.calls = 0;
  now.ours.reset();
}

FailingFiles::~FailingFiles() {
  Fault& now = fault();
  const std::lock_guard lock(now.mutex);
  now.folder.clear();
}

int FailingFiles::calls() const noexcept {
  Fault& now = fault();
  const std::lock_guard lock(now.mutex);
  return now.calls;
}

}  // namespace cl::test

// The C library's names, found before its own by everything in this process.
extern "C" {

int open(const char* path, int flags, ...) {
  mode_t mode = 0;
  if ((flags & O_CREAT) != 0) {
    va_list more;
    va_start(more, flags);
    mode = va_arg(more, mode_t);
    va_end(more);
  }
  if (cl::test::writes(flags) && cl::test::path_fails(path)) return -1;
  static const auto real = cl::test::next<int (*)(const char*, int, ...)>("open");
  return cl::test::note(real(path, flags, mode), path);
}

int open64(const char* path, int flags, ...) {
  mode_t mode = 0;
  if ((flags & O_CREAT) != 0) {
    va_list more;
    va_start(more, flags);
    mode = va_arg(more, mode_t);
    va_end(more);
  }
  return open(path, flags, mode);
}

int mkostemp(char* path, int flags) {
  if (cl::test::path_fails(path)) return -1;
  static const auto real = cl::test::next<int (*)(char*, int)>("mkostemp");
  const int fd = real(path, flags);
  return cl::test::note(fd, path);
}

char* mkdtemp(char* path) {
  if (cl::test::path_fails(path)) return nullptr;
  static const auto real = cl::test::next<char* (*)(char*)>("mkdtemp");
  return real(path);
}

int mkdir(const char* path, mode_t mode) {
  // What is there is told before whether there is room.
  if (::access(path, F_OK) != 0 && cl::test::path_fails(path)) return -1;
  static const auto real = cl::test::next<int (*)(const char*, mode_t)>("mkdir");
  return real(path, mode);
}

int rename(const char* from, const char* to) {
  if (cl::test::path_fails(to)) return -1;
  static const auto real = cl::test::next<int (*)(const char*, const char*)>("rename");
  return real(from, to);
}

ssize_t write(int fd, const void* bytes, size_t size) {
  if (cl::test::descriptor_fails(fd)) return -1;
  static const auto real = cl::test::next<ssize_t (*)(int, const void*, size_t)>("write");
  return real(fd, bytes, size);
}

int statvfs(const char* path, struct statvfs* facts) {
  static const auto real = cl::test::next<int (*)(const char*, struct statvfs*)>("statvfs");
  const int result = real(path, facts);
  if (result == 0 && cl::test::has_no_room(path)) facts->f_bavail = 0;
  return result;
}

int fsync(int fd) {
  if (cl::test::descriptor_fails(fd)) return -1;
  static const auto real = cl::test::next<int (*)(int)>("fsync");
  return real(fd);
}

}  // extern "C"
