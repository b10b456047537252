#include "tests/support/run.hpp"

#include <boost/asio/io_context.hpp>
#include <exception>
#include <stdexcept>
#include <string>

namespace cl::test {

void run(asio::awaitable<void> work, std::chrono::seconds limit) {
  std::exception_ptr failure;
  bool done = false;
  asio::io_context io(1);  // after the results, so that frames destroyed with it find them alive
  asio::co_spawn(io, std::move(work), [&](std::exception_ptr thrown) {
    failure = std::move(thrown);
    done = true;
    io.stop();
  });
  io.run_for(limit);
  if (!done) throw std::runtime_error("did not finish within " + std::to_string(limit.count()) + " s");
  if (failure) std::rethrow_exception(failure);
}

}  // namespace cl::test
