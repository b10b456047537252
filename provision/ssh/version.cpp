#include <libssh2.h>

#include "provision/ssh_version.hpp"

namespace cl {

std::string_view ssh_library_version() noexcept { return ::libssh2_version(0); }

}  // namespace cl
