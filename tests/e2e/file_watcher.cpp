#include <sys/inotify.h>
#include <unistd.h>

#include <cstdio>
#include <map>
#include <string>

// Run in containers, statically linked: prints "ready" and then a line "LETTER\tWATCHED\tNAME" for each thing that
// inotify says of the files and folders in the arguments. The letters are those of busybox's inotifyd, which Debian's
// busybox lacks.

int main(int count, char** arguments) {
  constexpr std::pair<unsigned, char> letters[] = {
      {IN_MODIFY, 'c'},     {IN_ATTRIB, 'e'},   {IN_CLOSE_WRITE, 'w'}, {IN_CREATE, 'n'},     {IN_DELETE, 'd'},
      {IN_MOVED_FROM, 'y'}, {IN_MOVED_TO, 'm'}, {IN_DELETE_SELF, 'D'}, {IN_Q_OVERFLOW, 'o'},
  };
  unsigned mask = 0;
  for (const auto& [bit, letter] : letters)
    if (std::string(arguments[1]).find(letter) != std::string::npos) mask |= bit;
  const int inotify = ::inotify_init1(IN_CLOEXEC);
  std::map<int, std::string> watched;
  for (int i = 2; i < count; ++i) {
    const int watch = ::inotify_add_watch(inotify, arguments[i], mask);
    if (watch < 0) return std::perror(arguments[i]), 1;
    watched[watch] = arguments[i];
  }
  std::puts("ready");
  alignas(inotify_event) char space[64 * 1024];
  for (;;) {
    std::fflush(stdout);
    const ssize_t got = ::read(inotify, space, sizeof space);
    if (got <= 0) return 1;
    for (const char* at = space; at < space + got;) {
      const auto& event = *reinterpret_cast<const inotify_event*>(at);
      for (const auto& [bit, letter] : letters)
        if ((event.mask & bit) != 0)
          std::printf("%c\t%s\t%s\n", letter, watched[event.wd].c_str(), event.len > 0 ? event.name : "");
      at += sizeof event + event.len;
    }
  }
}
