#include <boost/json/object.hpp>
#include <iostream>

#include "src/app/about.hpp"
#include "src/base/version.hpp"
#include "src/cli/command.hpp"
#include "src/cli/launch.hpp"
#include "src/cli/output.hpp"

namespace cl::cli {
namespace {

asio::awaitable<int> tell_all() {
  const boost::json::object all = co_await about();
  print_json(all);
  co_return 0;
}

}  // namespace

int run_version(const Invocation& call) {
  if (call.json) return run_async(tell_all());
  std::cout << "colima-like " << program_version() << '\n';
  return 0;
}

}  // namespace cl::cli
