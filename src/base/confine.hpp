#pragma once

#include <cstddef>
#include <filesystem>
#include <string>
#include <vector>

#include "src/base/path_guard.hpp"
#include "src/base/unique_fd.hpp"

namespace cl {

/// What a confined program may reach of this computer's files. It is for programs that a guest may have taken over,
/// where name spaces do not work.
struct Confinement {
  std::vector<std::filesystem::path> read;   ///< files, and folders with all in them: to read and to execute
  std::vector<std::filesystem::path> write;  ///< likewise, to do anything with but making devices
  GuardedPaths guarded{};  ///< of `write`, on macOS; Linux's rules only allow, so guarded() does that there
};

/// Why this system cannot confine a program; empty: it can. Linux needs Landlock with its third ABI (Linux 6.2), macOS
/// has sandbox-exec.
std::string why_no_confinement();

/// The program for the two below: this one, also after its file was replaced; macOS's own there.
std::filesystem::path confining_program();

/// The argv that runs `argv` confined, for good and with all that it starts, and with an environment of two variables.
/// Besides its files it cannot make sockets or setuid files, signal or look into other processes or change the kernel;
/// root keeps what gives files any owner and no more. Landlock watches over what is in files and folders, not over
/// their modes, owners and times: those a program can change wherever its user can. So it is no confinement of root.
std::vector<std::string> confined(const std::filesystem::path& program, const Confinement& limits,
                                  const std::vector<std::string>& argv);

/// The argv that runs `argv` so that it makes no setuid file and no device; all else is as before. On macOS `argv`
/// itself.
std::vector<std::string> without_setuid(const std::filesystem::path& program, const std::vector<std::string>& argv);

/// The limits on system calls of a confined program, as a descriptor for bubblewrap's --seccomp; empty on macOS.
UniqueFd call_filter();

/// Takes from this process for good whatever it does not need as a loop on the descriptors that it has or is sent: it
/// opens no file, makes no socket, process or thread, looks into no other one, has no capability and no more memory of
/// its own than that (in bytes; Linux), and ends with its parent (Linux). Threads that run already are not meant.
/// Throws Error{host_requirement} where this system cannot.
void seal_process(std::size_t most_memory);

/// What programs for servers of folders read to run at all: system libraries and the user database.
std::vector<std::filesystem::path> system_libraries();

/// The process of such an argv on Linux, `colima-like confine r:PATH w:PATH ... -- ARGV` or `colima-like confine modes
/// -- ARGV`: confines itself and becomes the program. Returns only when it cannot: 1 with a line on stderr. Also that
/// of guarded(), run_guarded().
int run_confined(int argc, char** argv);

}  // namespace cl
