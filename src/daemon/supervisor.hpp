#pragma once

#include <functional>
#include <string>

namespace cl {

/// How often this profile's daemon has died since somebody last started it, and of what.
struct Crashes {
  int count = 0;
  std::string last;  ///< "it was killed by signal 9"; empty while count is 0
};

/// What a daemon that cannot go on ends with, so that it is started anew.
inline constexpr int restart_exit_code = 70;

/// Runs `daemon` in a child process and waits for its end; when it died, and `worth_it()` says that there is something
/// left to look after, in another one: at once the first time, then ever later, up to a minute. Returns the exit code
/// of the one that ended by itself. SIGTERM and SIGINT are passed on. `forked` is called in the waiting process after
/// each fork.
///
/// The waiting process is a copy of this one from before it did anything: what it has is shared with its child, so it
/// takes some hundred KiB. No thread, Asio or log may exist yet.
int supervise(const std::function<int(const Crashes&)>& daemon, const std::function<void()>& forked,
              const std::function<bool()>& worth_it);

}  // namespace cl
