#include <sys/stat.h>

#include <boost/json/array.hpp>
#include <iostream>
#include <sstream>

#include "profiles/runtime.hpp"
#include "src/app/engine.hpp"
#include "src/base/byte_size.hpp"
#include "src/cli/command.hpp"
#include "src/cli/launch.hpp"
#include "src/cli/output.hpp"
#include "src/cli/remote.hpp"

// `df`: what uses the machine's disks, by the engine's own count, and what they take of this computer's.

namespace cl::cli {
namespace {

namespace json = boost::json;

/// A disk of the machine: what is in it, and what its file takes here.
struct Disk {
  std::string name;  ///< "root" or "data"
  std::uint64_t used = 0, size = 0;
  std::uint64_t on_host = 0;
};

/// Bytes that a file takes on this computer; holes take none.
std::uint64_t allocated(const fs::path& file) {
  struct stat seen{};
  return ::stat(file.c_str(), &seen) == 0 ? static_cast<std::uint64_t>(seen.st_blocks) * 512U : 0;
}

/// Lines "NAME SIZE USED" of the guest.
constexpr const char* ask_guest =
    "for d in root:/ data:/var/lib/colima-like; do [ ${d%%:*} = root ] || grep -q \" ${d#*:} \" /proc/self/mountinfo "
    "|| "
    "continue; df -B1 --output=size,used ${d#*:} | { read -r head; read -r size used; echo ${d%%:*} $size $used; }; "
    "done";

std::vector<Disk> disks_of(const std::string& lines, const ProfilePaths& paths) {
  std::vector<Disk> disks;
  std::istringstream in(lines);
  for (Disk one; in >> one.name >> one.size >> one.used;) {
    one.on_host =
        one.name == "data" ? allocated(paths.data_disk) : allocated(paths.root_disk) + allocated(paths.raw_root_disk);
    disks.push_back(one);
  }
  return disks;
}

std::string size_text(std::uint64_t bytes) { return ByteSize::bytes(bytes).str(); }

void print(const std::vector<DiskUse>& uses, const std::vector<Disk>& disks) {
  std::vector<std::vector<std::string>> rows{{"WHAT", "COUNT", "SIZE", "RECLAIMABLE"}};
  for (const DiskUse& use : uses)
    rows.push_back({use.what, std::to_string(use.count), size_text(use.bytes), size_text(use.reclaimable)});
  if (!uses.empty()) print_table(rows);
  rows = {{"DISK", "USED", "SIZE", "ON THIS COMPUTER"}};
  for (const Disk& disk : disks)
    rows.push_back({disk.name, size_text(disk.used), size_text(disk.size), size_text(disk.on_host)});
  if (!uses.empty()) std::cout << '\n';
  print_table(rows);
  std::uint64_t reclaimable = 0;
  for (const DiskUse& use : uses) reclaimable += use.reclaimable;
  if (reclaimable > 0) print_note("'docker system prune' frees what no container uses; volumes take --volumes");
}

struct Use {
  std::vector<Disk> disks;
  std::vector<DiskUse> engine;
};

asio::awaitable<json::object> ask(ProfilePaths paths, const Runtime& runtime, Use& use, OnImageProgress show) {
  rpc::Progress progress{"df", "asking the machine", false, {}};
  show(progress);
  const std::string lines = co_await capture(paths, ask_guest, "the machine does not tell how full its disks are");
  use.disks = disks_of(lines, paths);
  if (runtime.speaks_docker) {
    progress.text = "asking the engine, which adds up its files";
    show(progress);
    use.engine = co_await engine_disk_use(host_socket(runtime, paths));
  }
  json::object result{{"profile", paths.name}};
  json::array engine, machine;
  for (const DiskUse& one : use.engine)
    engine.push_back(json::object{
        {"what", one.what}, {"count", one.count}, {"bytes", one.bytes}, {"reclaimable_bytes", one.reclaimable}});
  for (const Disk& disk : use.disks)
    machine.push_back(json::object{
        {"disk", disk.name}, {"used_bytes", disk.used}, {"size_bytes", disk.size}, {"host_bytes", disk.on_host}});
  result["engine"] = std::move(engine);
  result["disks"] = std::move(machine);
  co_return result;
}

asio::awaitable<int> df(const Invocation& call) {
  const ProfilePaths paths = reachable(call.home, call.profile);
  const Runtime& runtime = runtime_of(observe(paths).state.profile);
  Use use;
  auto work = [&](OnImageProgress show) { return ask(paths, runtime, use, std::move(show)); };
  const json::object result = co_await show_while(work);
  if (call.json) {
    print_json(result);
  } else {
    print(use.engine, use.disks);
  }
  co_return 0;
}

}  // namespace

int run_df(const Invocation& call) { return run_async(df(call)); }

}  // namespace cl::cli
