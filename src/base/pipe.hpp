#pragma once

#include "src/base/unique_fd.hpp"

namespace cl {

struct Pipe {
  UniqueFd read_end, write_end;
};

/// Both ends close on exec. Throws Error{io}.
Pipe make_pipe();

}  // namespace cl
