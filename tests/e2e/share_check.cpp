// share_check DIRECTORY [--files N] [--read-only]: what POSIX promises of files, tried in a folder. To be run in a
// container on a share; a static program that needs nothing else there. A line for each check: "ok NAME" or "no NAME:
// what was seen instead". Exits with the number of checks that failed. docs/shares.md lists what passes for each type.
#include <dirent.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <set>
#include <string>

namespace {

/// Thrown by a check that does not hold.
struct No {
  std::string why;
};

void require(bool holds, const std::string& what) {
  if (!holds) throw No{what};
}

/// A call that must succeed; its result.
long must(long result, const char* call) {
  if (result < 0) throw No{std::string(call) + ": " + std::strerror(errno)};
  return result;
}
#define MUST(call) must(static_cast<long>(call), #call)

/// A call that must fail, and how.
void refuse(long result, int expected, const char* call) {
  const int seen = errno;
  if (result >= 0) throw No{std::string(call) + " succeeded"};
  if (seen != expected) throw No{std::string(call) + ": " + std::strerror(seen) + ", not " + std::strerror(expected)};
}
#define REFUSED(expected, call) (errno = 0, refuse(static_cast<long>(call), expected, #call))

class Fd {
 public:
  Fd(const std::string& path, int flags, mode_t mode = 0644)
      : fd_(static_cast<int>(must(::open(path.c_str(), flags | O_CLOEXEC, mode), ("open " + path).c_str()))) {}
  Fd(const Fd&) = delete;
  Fd& operator=(const Fd&) = delete;
  ~Fd() { ::close(fd_); }
  operator int() const { return fd_; }

 private:
  int fd_;
};

void put(const std::string& path, const std::string& text) {
  const Fd fd(path, O_WRONLY | O_CREAT | O_TRUNC);
  require(::write(fd, text.data(), text.size()) == static_cast<ssize_t>(text.size()), "a short write");
}

std::string get(int fd) {
  std::string text(4096, '\0');
  const ssize_t got = ::pread(fd, text.data(), text.size(), 0);
  must(got, "pread");
  text.resize(static_cast<std::size_t>(got));
  return text;
}
std::string get(const std::string& path) { return get(static_cast<int>(Fd(path, O_RDONLY))); }

struct stat facts(const std::string& path) {
  struct stat now{};
  MUST(::lstat(path.c_str(), &now));
  return now;
}

/// Runs `work` in a child; true when it returned true.
bool child(const std::function<bool()>& work) {
  std::fflush(stdout);
  const pid_t pid = ::fork();
  if (pid == 0) {
    bool fine = false;
    try {
      fine = work();
    } catch (const No&) {
    }
    ::_exit(fine ? 0 : 1);
  }
  int status = 0;
  ::waitpid(pid, &status, 0);
  return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

std::string dir;  // where it all happens
int failed = 0;

void check(const char* name, const std::function<void(const std::string& path)>& body) {
  const std::string path = dir + "/" + name;
  try {
    body(path);
    std::printf("ok %s\n", name);
  } catch (const No& no) {
    std::printf("no %s: %s\n", name, no.why.c_str());
    ++failed;
  }
  std::fflush(stdout);
}

void names_and_modes() {
  check("mode", [](const std::string& path) {
    put(path, "x");
    for (const mode_t mode : {0640, 0600, 0755, 0444, 0644}) {
      MUST(::chmod(path.c_str(), mode));
      require((facts(path).st_mode & 07777) == mode, "another mode came back");
    }
  });
  check("mode-at-creation", [](const std::string& path) {
    const mode_t before = ::umask(027);
    const Fd fd(path, O_WRONLY | O_CREAT | O_EXCL, 0666);
    ::umask(before);
    require((facts(path).st_mode & 07777) == 0640, "not 0666 less the umask");
  });
  check("set-uid", [](const std::string& path) {
    put(path, "x");
    MUST(::chmod(path.c_str(), 04755));
    require((facts(path).st_mode & 07777) == 04755, "the bit is lost");
  });
  check("set-gid-and-sticky", [](const std::string& path) {
    MUST(::mkdir(path.c_str(), 0755));
    MUST(::chmod(path.c_str(), 03777));
    require((facts(path).st_mode & 07777) == 03777, "a bit is lost");
  });
  check("chown", [](const std::string& path) {
    put(path, "x");
    MUST(::chown(path.c_str(), 999, 998));
    require(facts(path).st_uid == 999 && facts(path).st_gid == 998, "the owner is not the new one");
  });
  check("others-are-kept-out", [](const std::string& path) {
    put(path, "x");
    MUST(::chmod(path.c_str(), 0600));
    MUST(::chmod(dir.c_str(), 0755));
    require(child([&path] {
              if (::setgid(12345) != 0 || ::setuid(12345) != 0) return false;
              return ::open(path.c_str(), O_RDONLY) < 0 && errno == EACCES;
            }),
            "another user could read a file of mode 0600");
  });
  check("long-name", [](const std::string& path) {
    const std::string longest = dir + "/" + std::string(255, 'n');
    put(longest, "x");
    require(get(longest) == "x", "another content");
    REFUSED(ENAMETOOLONG, ::open((longest + "n").c_str(), O_WRONLY | O_CREAT, 0644));
    (void)path;
  });
  check("any-name", [](const std::string& path) {
    MUST(::mkdir(path.c_str(), 0755));
    const std::set<std::string> names{" ",         "a b",    "quote'\"`$", "back\\slash",
                                      "new\nline", "日本語", "\xff\xfe",   "-rf"};
    for (const std::string& name : names) put(path + "/" + name, name);
    std::set<std::string> listed;
    DIR* open = ::opendir(path.c_str());
    require(open != nullptr, "opendir");
    while (const dirent* entry = ::readdir(open))
      if (std::strcmp(entry->d_name, ".") != 0 && std::strcmp(entry->d_name, "..") != 0) listed.insert(entry->d_name);
    ::closedir(open);
    require(listed == names, "other names are listed");
    for (const std::string& name : names) require(get(path + "/" + name) == name, "another content");
  });
  check("times", [](const std::string& path) {
    put(path, "x");
    const timespec both[2]{{1000000000, 0}, {1500000000, 0}};
    MUST(::utimensat(AT_FDCWD, path.c_str(), both, 0));
    require(facts(path).st_mtim.tv_sec == 1500000000, "another time came back");
  });
  check("nanoseconds", [](const std::string& path) {
    put(path, "x");
    const timespec both[2]{{1000000000, 0}, {1500000000, 123456789}};
    MUST(::utimensat(AT_FDCWD, path.c_str(), both, 0));
    require(facts(path).st_mtim.tv_nsec == 123456789, "times are whole seconds");
  });
}

void links() {
  check("symlink", [](const std::string& path) {
    MUST(::symlink("to/nowhere", path.c_str()));
    char target[64]{};
    MUST(::readlink(path.c_str(), target, sizeof target));
    require(std::string(target) == "to/nowhere", "it leads elsewhere");
    REFUSED(ENOENT, ::open(path.c_str(), O_RDONLY));
  });
  // A link is followed where the container is: an absolute one, or one with many "..", ends in the container's own
  // root.
  check("symlink-stays-inside", [](const std::string& path) {
    put("/tmp/of-the-container", "the container's");
    MUST(::symlink("/tmp/of-the-container", path.c_str()));
    require(get(path) == "the container's", "it led out of the container");
    MUST(::symlink("../../../../../../../../../../tmp/of-the-container", (path + "-up").c_str()));
    require(get(path + "-up") == "the container's", "it led out of the container");
  });
  check("hard-link", [](const std::string& path) {
    put(path, "x");
    MUST(::link(path.c_str(), (path + "-2").c_str()));
    require(get(path + "-2") == "x", "another content");
  });
  check("hard-link-count", [](const std::string& path) {
    put(path, "x");
    MUST(::link(path.c_str(), (path + "-2").c_str()));
    require(facts(path).st_nlink == 2 && facts(path).st_ino == facts(path + "-2").st_ino, "they look like two files");
  });
  check("fifo", [](const std::string& path) {
    MUST(::mkfifo(path.c_str(), 0644));
    require(S_ISFIFO(facts(path).st_mode), "it is something else");
  });
  check("unix-socket", [](const std::string& path) {
    sockaddr_un at{};
    at.sun_family = AF_UNIX;
    std::strncpy(at.sun_path, path.c_str(), sizeof at.sun_path - 1);
    const int server = static_cast<int>(MUST(::socket(AF_UNIX, SOCK_STREAM, 0)));
    MUST(::bind(server, reinterpret_cast<sockaddr*>(&at), sizeof at));
    MUST(::listen(server, 1));
    const int client = static_cast<int>(MUST(::socket(AF_UNIX, SOCK_STREAM, 0)));
    MUST(::connect(client, reinterpret_cast<sockaddr*>(&at), sizeof at));
    ::close(client);
    ::close(server);
  });
}

void renames() {
  check("rename-over-open", [](const std::string& path) {
    put(path, "old");
    const Fd open(path, O_RDONLY);
    put(path + "-new", "new");
    MUST(::rename((path + "-new").c_str(), path.c_str()));
    require(get(open) == "old", "the open file has changed");
    require(get(path) == "new", "the name has the old content");
  });
  check("unlink-open", [](const std::string& path) {
    const Fd open(path, O_RDWR | O_CREAT);
    MUST(::write(open, "kept", 4));
    MUST(::unlink(path.c_str()));
    REFUSED(ENOENT, ::access(path.c_str(), F_OK));
    require(get(open) == "kept", "another content");
    MUST(::write(open, "!", 1));
    require(get(open) == "kept!", "it cannot be written any more");
  });
  check("rename-directory", [](const std::string& path) {
    MUST(::mkdir(path.c_str(), 0755));
    put(path + "/file", "x");
    MUST(::rename(path.c_str(), (path + "-2").c_str()));
    require(get(path + "-2/file") == "x", "another content");
    REFUSED(ENOTEMPTY, ::rmdir((path + "-2").c_str()));
  });
  check("rename-noreplace", [](const std::string& path) {
    put(path, "1");
    put(path + "-2", "2");
    REFUSED(EEXIST, ::renameat2(AT_FDCWD, path.c_str(), AT_FDCWD, (path + "-2").c_str(), RENAME_NOREPLACE));
  });
  check("rename-exchange", [](const std::string& path) {
    put(path, "1");
    put(path + "-2", "2");
    MUST(::renameat2(AT_FDCWD, path.c_str(), AT_FDCWD, (path + "-2").c_str(), RENAME_EXCHANGE));
    require(get(path) == "2" && get(path + "-2") == "1", "they are not exchanged");
  });
  check("exclusive-creation", [](const std::string& path) {
    const Fd first(path, O_WRONLY | O_CREAT | O_EXCL);
    REFUSED(EEXIST, ::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL, 0644));
  });
  check("list-while-removing", [](const std::string& path) {
    MUST(::mkdir(path.c_str(), 0755));
    for (int i = 0; i < 300; ++i) put(path + "/" + std::to_string(i), "");
    DIR* open = ::opendir(path.c_str());
    require(open != nullptr, "opendir");
    while (const dirent* entry = ::readdir(open))
      if (entry->d_name[0] != '.') ::unlink((path + "/" + entry->d_name).c_str());
    ::closedir(open);
    MUST(::rmdir(path.c_str()));
  });
}

void content() {
  check("past-4-gib", [](const std::string& path) {
    const off_t far = (off_t{5} << 30) + 12345;
    const Fd fd(path, O_RDWR | O_CREAT);
    require(::pwrite(fd, "far away", 8, far) == 8, "a short write");
    char read[9]{};
    require(::pread(fd, read, 8, far) == 8 && std::string(read) == "far away", "another content");
    require(facts(path).st_size == far + 8, "another size");
    require(::pread(fd, read, 8, 4096) == 8 && read[0] == 0, "the hole is none");
  });
  check("sparse", [](const std::string& path) {
    const Fd fd(path, O_RDWR | O_CREAT);
    MUST(::ftruncate(fd, off_t{1} << 30));
    MUST(::fsync(fd));
    require(facts(path).st_size == off_t{1} << 30, "another size");
    require(facts(path).st_blocks * 512 < 1 << 20, "a hole counts as used space");
  });
  check("truncate", [](const std::string& path) {
    put(path, "0123456789");
    MUST(::truncate(path.c_str(), 4));
    require(get(path) == "0123", "another content");
    const Fd fd(path, O_WRONLY | O_TRUNC);
    require(facts(path).st_size == 0, "not empty");
  });
  check("append", [](const std::string& path) {
    put(path, "");
    constexpr int writers = 4, lines = 50;
    for (int writer = 0; writer < writers; ++writer) {
      std::fflush(stdout);
      if (::fork() != 0) continue;
      const int fd = ::open(path.c_str(), O_WRONLY | O_APPEND);
      for (int i = 0; i < lines; ++i)
        if (::write(fd, "line\n", 5) != 5) ::_exit(1);
      ::close(fd);
      ::_exit(0);
    }
    while (::wait(nullptr) > 0) {
    }
    require(facts(path).st_size == writers * lines * 5, "lines of several writers were lost");
  });
  check("mmap-shared", [](const std::string& path) {
    const std::size_t size = 1 << 20;
    const Fd fd(path, O_RDWR | O_CREAT);
    MUST(::ftruncate(fd, static_cast<off_t>(size)));
    void* const at = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    require(at != MAP_FAILED, std::string("mmap: ") + std::strerror(errno));
    std::memcpy(static_cast<char*>(at) + 500000, "mapped", 6);
    MUST(::msync(at, size, MS_SYNC));
    ::munmap(at, size);
    char read[7]{};
    require(::pread(fd, read, 6, 500000) == 6 && std::string(read) == "mapped", "another content");
  });
  check("mmap-private-and-exec", [](const std::string& path) {
    const Fd from("/proc/self/exe", O_RDONLY);
    {
      const Fd to(path, O_WRONLY | O_CREAT, 0755);
      std::string buffer(1 << 16, '\0');
      for (ssize_t got; (got = ::read(from, buffer.data(), buffer.size())) > 0;)
        require(::write(to, buffer.data(), static_cast<std::size_t>(got)) == got, "a short write");
    }
    std::fflush(stdout);
    const pid_t pid = ::fork();
    if (pid == 0) {
      ::execl(path.c_str(), path.c_str(), "--true", nullptr);
      ::_exit(9);
    }
    int status = 0;
    ::waitpid(pid, &status, 0);
    require(status == 0, "a program cannot be run from there");
  });
  check("fallocate", [](const std::string& path) {
    const Fd fd(path, O_RDWR | O_CREAT);
    MUST(::fallocate(fd, 0, 0, 1 << 20));
    require(facts(path).st_size == 1 << 20, "another size");
  });
  check("fsync-and-statfs", [](const std::string& path) {
    put(path, "x");
    const Fd fd(path, O_RDWR);
    MUST(::fsync(fd));
    MUST(::fdatasync(fd));
    struct statvfs space{};
    MUST(::statvfs(dir.c_str(), &space));
    require(space.f_blocks > 0 && space.f_namemax >= 255, "it tells no size");
  });
  check("xattr", [](const std::string& path) {
    put(path, "x");
    MUST(::setxattr(path.c_str(), "user.colima-like", "value", 5, 0));
    char value[8]{};
    require(::getxattr(path.c_str(), "user.colima-like", value, sizeof value) == 5, "another value");
  });
}

void locks() {
  check("flock", [](const std::string& path) {
    const Fd mine(path, O_RDWR | O_CREAT);
    MUST(::flock(mine, LOCK_EX | LOCK_NB));
    require(child([&path] {
              const Fd theirs(path, O_RDWR);
              return ::flock(theirs, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK;
            }),
            "two hold it at once");
  });
  check("fcntl-lock", [](const std::string& path) {
    struct flock range{};
    range.l_type = F_WRLCK;
    range.l_whence = SEEK_SET;
    range.l_start = 10;
    range.l_len = 10;
    const Fd mine(path, O_RDWR | O_CREAT);
    MUST(::fcntl(mine, F_SETLK, &range));
    require(child([&path, range] {
              struct flock other = range;
              const Fd theirs(path, O_RDWR);
              if (::fcntl(theirs, F_SETLK, &other) == 0) return false;
              other.l_start = 30;
              return ::fcntl(theirs, F_SETLK, &other) == 0;
            }),
            "two hold the same range, or not two others");
  });
}

void many_files(int count) {
  check("many-files", [count](const std::string& path) {
    MUST(::mkdir(path.c_str(), 0755));
    for (int i = 0; i < count; ++i) {
      const std::string folder = path + "/" + std::to_string(i / 1000);
      if (i % 1000 == 0) MUST(::mkdir(folder.c_str(), 0755));
      const int fd = ::open((folder + "/" + std::to_string(i)).c_str(), O_WRONLY | O_CREAT, 0644);
      must(fd, ("file " + std::to_string(i)).c_str());
      ::close(fd);
    }
    int seen = 0;
    for (int i = 0; i * 1000 < count; ++i) {
      DIR* open = ::opendir((path + "/" + std::to_string(i)).c_str());
      require(open != nullptr, "opendir");
      while (const dirent* entry = ::readdir(open))
        if (entry->d_name[0] != '.') {
          facts(path + "/" + std::to_string(i) + "/" + entry->d_name);
          ++seen;
        }
      ::closedir(open);
    }
    require(seen == count, std::to_string(seen) + " of " + std::to_string(count) + " are listed");
  });
}

void read_only(const std::string& folder) {
  dir = folder;
  check("read-only", [&folder](const std::string& path) {
    REFUSED(EROFS, ::open(path.c_str(), O_WRONLY | O_CREAT, 0644));
    REFUSED(EROFS, ::mkdir(path.c_str(), 0755));
    REFUSED(EROFS, ::symlink("x", path.c_str()));
    REFUSED(EROFS, ::unlink((folder + "/file").c_str()));
    REFUSED(EROFS, ::chmod((folder + "/file").c_str(), 0777));
    REFUSED(EROFS, ::truncate((folder + "/file").c_str(), 0));
    require(get(folder + "/file") == "of the host\n", "it cannot be read");
  });
}

}  // namespace

int main(int argc, char** argv) {
  std::string folder;
  int count = 2000;
  bool only_reads = false;
  for (int i = 1; i < argc; ++i) {
    const std::string word = argv[i];
    if (word == "--true") return 0;
    if (word == "--read-only") {
      only_reads = true;
    } else if (word == "--files" && i + 1 < argc) {
      count = std::atoi(argv[++i]);
    } else {
      folder = word;
    }
  }
  if (folder.empty()) {
    std::fprintf(stderr, "share_check DIRECTORY [--files N] [--read-only]\n");
    return 255;
  }
  if (only_reads) {
    read_only(folder);
    return failed;
  }
  dir = folder + "/share_check." + std::to_string(::getpid());
  if (::mkdir(dir.c_str(), 0755) != 0) {
    std::perror(dir.c_str());
    return 255;
  }
  names_and_modes();
  links();
  renames();
  content();
  locks();
  many_files(count);
  return failed;
}
