#include <boost/json/object.hpp>
#include <iostream>

#include "src/base/host.hpp"
#include "src/base/version.hpp"
#include "src/cli/command.hpp"
#include "src/cli/output.hpp"

namespace cl::cli {

int run_version(const Invocation& call) {
  const HostFacts host = host_facts();
  if (call.json) {
    print_json(boost::json::object{{"version", program_version()}, {"os", host.os}, {"arch", host.arch}});
  } else {
    std::cout << "colima-like " << program_version() << '\n';
  }
  return 0;
}

}  // namespace cl::cli
