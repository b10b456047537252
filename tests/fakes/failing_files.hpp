#pragma once

#include <filesystem>

namespace cl::test {

/// Makes system calls that write below a folder fail, as a full disk does. It stands between this whole program, the
/// standard library included, and the C library: open() for writing, write(), fsync(), rename(), mkdir() and what makes
/// temporary files. Calls that only read or remove work as ever.
class FailingFiles {
 public:
  enum class Mode {
    once,     ///< the call with this number alone
    from_on,  ///< it and all that follow
    no_room   ///< no call at all, but who asks is told that there is no room
  };

  /// The call number `first`, counted from 1, fails with `error` (an errno). One at a time.
  FailingFiles(const std::filesystem::path& folder, int first, int error, Mode mode);
  /// From now on everything works again.
  ~FailingFiles();
  FailingFiles(const FailingFiles&) = delete;
  FailingFiles& operator=(const FailingFiles&) = delete;

  /// Calls that were made so far, failed ones too.
  int calls() const noexcept;
};

}  // namespace cl::test
