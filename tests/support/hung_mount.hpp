#pragma once

#include <fcntl.h>
#include <sys/mount.h>

#include <string>

#include "src/base/unique_fd.hpp"
#include "tests/support/temp_dir.hpp"

namespace cl::test {

/// A mounted file system whose server answers nothing, as that of a dead FUSE or network mount: every call on a path in
/// it hangs until end().
class HungMount {
 public:
#ifdef __linux__
  HungMount() : server_(::open("/dev/fuse", O_RDWR | O_CLOEXEC)) {
    const std::string options = "fd=" + std::to_string(server_.get()) + ",rootmode=40000,user_id=0,group_id=0";
    mounted_ = server_ && ::mount("hung", path().c_str(), "fuse", MS_NOSUID | MS_NODEV, options.c_str()) == 0;
  }
#endif
  HungMount(const HungMount&) = delete;
  HungMount& operator=(const HungMount&) = delete;
  ~HungMount() { end(); }

  /// False where one cannot be made: it takes /dev/fuse and root.
  bool there() const noexcept { return mounted_; }
  const std::filesystem::path& path() const noexcept { return directory_.path(); }

  void end() {
#ifdef __linux__
    if (mounted_) ::umount2(path().c_str(), MNT_DETACH);
#endif
    mounted_ = false;
    server_.reset();  // the kernel fails what hangs
  }

 private:
  TempDir directory_;
  UniqueFd server_;
  bool mounted_ = false;
};

}  // namespace cl::test
