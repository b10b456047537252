#include "src/daemon/drivers.hpp"

#include <array>

#include "profiles/words.hpp"
#include "vm/host/driver.hpp"
#include "vm/qemu/driver.hpp"
#include "vm/vz/driver.hpp"

namespace cl {
namespace {

struct Row {
  std::string_view name;
  std::unique_ptr<Driver> (*make)();
};

constexpr std::array table{
    Row{"qemu", []() -> std::unique_ptr<Driver> { return std::make_unique<QemuDriver>(); }},
    Row{"host", []() -> std::unique_ptr<Driver> { return std::make_unique<HostDriver>(); }},
    Row{"vz", []() -> std::unique_ptr<Driver> { return std::make_unique<VzDriver>(); }},
};

}  // namespace

std::unique_ptr<Driver> make_driver(std::string_view name) {
  for (const Row& row : table)
    if (row.name == name) return row.make();
  throw Error(Errc::invalid_config, "there is no driver '" + std::string(name) + "'",
              "use " + or_list(names_of(table)));
}

}  // namespace cl
