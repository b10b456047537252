#include <boost/json.hpp>

#include "src/base/file.hpp"
#include "tests/e2e/shared_machine.hpp"

// A guest that does not do its part: the error shows the guest's own last words, and nothing is lost.

namespace cl::e2e {
namespace {

class GuestFailures : public OnDocker {};

/// Of the machine that others have used before; there are none after this.
TEST_F(GuestFailures, ABrokenDockerShowsItsUnitsLastLinesAndDeleteMendsIt) {
  ASSERT_OK(box->docker({"volume", "create", "store"}));
  // What a user could do: dockerd replaced by something that ends at once. On the root disk, so it stays over a stop.
  ASSERT_OK(box->cl({"ssh", "--",
                     "d=$(readlink -f $(command -v dockerd)) && rm $d && "
                     "printf '#!/bin/sh\\necho the engine is sick\\nexit 3\\n' > $d && chmod 755 $d && sync"}));
  ASSERT_OK(box->cl({"stop", "--force"}, {}, 150s));

  const Result failed = box->cl({"start"}, {}, boot_limit);
  expect_error(failed, 5, {"the engine is sick", "  try"});
  EXPECT_TRUE(eventually(30s, [] { return box->processes().empty(); })) << box->process_list();
  EXPECT_FALSE(fs::exists(fs::symlink_status(box->docker_socket())));

  // The root disk is disposable, the data is not.
  ASSERT_OK(box->cl({"delete"}, {}, 150s));
  ASSERT_OK(box->cl({"start"}, {}, boot_limit));
  EXPECT_EQ(box->docker({"volume", "ls", "--quiet"}).out, "store\n");
  EXPECT_OK(box->docker({"image", "inspect", "box"}));
  docker_machine().give_up();
}

TEST(GuestThatPanics, AGuestThatNeverAnswersShowsItsConsolesLastLines) {
  Sandbox box;
  Result built = box.cl({"image", "build"}, {}, 1800s);
  ASSERT_OK(built);
  const std::string image_name = built.out.substr(0, built.out.find('\n'));
  // The same image, told to start a program that does not exist: its kernel panics.
  const fs::path from = Sandbox::shared_cache() / "images";
  const fs::path to = box.use_private_cache() / "images";
  make_private_directory(to);
  for (const auto& entry : fs::directory_iterator(from)) {
    if (entry.path().filename() != image_name) continue;
    const fs::path image = to / entry.path().filename();
    fs::create_directory(image);
    for (const auto& file : fs::directory_iterator(entry.path())) {
      const std::string name = file.path().filename();
      if (name != "manifest.json") {
        fs::create_hard_link(file.path(), image / name);
        continue;
      }
      auto manifest = boost::json::parse(read_file(file.path())).as_object();
      const std::string arguments(manifest.at("kernel_arguments").as_string());
      manifest["kernel_arguments"] = arguments + " rdinit=/bin/nothing-here init=/bin/nothing-here";
      write_atomically(image / name, boost::json::serialize(manifest));
    }
  }
  const Result failed = box.cl({"start"}, {}, boot_limit);
  expect_error(failed, 5, {"console", "Kernel panic - not syncing"});
  EXPECT_TRUE(eventually(30s, [&] { return box.processes().empty(); })) << box.process_list();
  EXPECT_EQ(box.state(), "stopped");
}

}  // namespace
}  // namespace cl::e2e
