// ask_socket PATH [BYTES]: sends its stdin to a unix socket, and prints what comes back until the end; with BYTES until
// so many have come, and it does not end its own side before, since an ssh agent gives no answer to who has. To be run
// in a container; a static program that needs nothing else there. Exits with 1 when that fails, and says at which call.
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace {

int failed(const char* call) {
  std::fprintf(stderr, "%s: %s\n", call, std::strerror(errno));
  return 1;
}

}  // namespace

int main(int argc, char** argv) {
  sockaddr_un address{};
  if (argc < 2 || argc > 3 || std::strlen(argv[1]) >= sizeof address.sun_path) return 2;
  address.sun_family = AF_UNIX;
  std::strcpy(address.sun_path, argv[1]);
  const int to = ::socket(AF_UNIX, SOCK_STREAM, 0);
  if (::connect(to, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) return failed("connect");
  char space[4096];
  for (ssize_t got = 0; (got = ::read(0, space, sizeof space)) > 0;)
    if (::send(to, space, static_cast<std::size_t>(got), MSG_NOSIGNAL) != got) return failed("send");
  const long enough = argc > 2 ? std::atol(argv[2]) : 0;
  if (enough == 0) ::shutdown(to, SHUT_WR);
  ssize_t got = 0;
  for (long all = 0; (enough == 0 || all < enough) && (got = ::read(to, space, sizeof space)) > 0; all += got)
    if (::write(1, space, static_cast<std::size_t>(got)) != got) return failed("write");
  return got >= 0 ? 0 : failed("read");
}
