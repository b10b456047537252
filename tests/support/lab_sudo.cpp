#include <pwd.h>
#include <unistd.h>

#include <cstdio>
#include <cstring>

// sudo of the hosts that host_lab.sh makes, set-user-id root there: "worker" may do everything, and nobody else
// anything.

int main(int count, char** words) {
  const passwd* user = ::getpwuid(::getuid());
  if (count < 3 || std::strcmp(words[1], "-n") != 0 || user == nullptr || std::strcmp(user->pw_name, "worker") != 0) {
    std::fputs("sudo: a password is required\n", stderr);
    return 1;
  }
  if (::setgid(0) != 0 || ::setuid(0) != 0) return 1;
  ::execvp(words[2], words + 2);
  std::perror(words[2]);
  return 127;
}
