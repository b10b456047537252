#include "src/base/version.hpp"

namespace cl {

std::string_view program_version() noexcept { return COLIMA_LIKE_VERSION; }

std::string_view program_commit() noexcept { return COLIMA_LIKE_COMMIT; }

}  // namespace cl
