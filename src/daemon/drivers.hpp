#pragma once

#include <functional>
#include <memory>
#include <string_view>

#include "vm/driver.hpp"

namespace cl {

/// Makes the driver of a name, "qemu", "vz" or "host".
using MakeDriver = std::function<std::unique_ptr<Driver>(std::string_view name)>;

/// From the one table of drivers. Throws Error{invalid_config} for a name that is not in it.
std::unique_ptr<Driver> make_driver(std::string_view name);

}  // namespace cl
