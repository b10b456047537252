// Whatever bytes a profile.yaml holds: it is read or refused, and a key that is set and unset leaves the same bytes.
#include <cstdint>
#include <cstdlib>
#include <string>

#include "profiles/edit.hpp"
#include "profiles/parse.hpp"
#include "src/base/error.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string yaml(reinterpret_cast<const char*>(data), size);
  const cl::Parsed parsed = cl::parse_profile(yaml, "f");
  if (!parsed.problems.empty()) return 0;
  for (const cl::Key& key : cl::keys()) {
    if (parsed.given.contains(std::string(key.name))) continue;
    std::string with;
    try {
      with = cl::set_in_file(yaml, key, key.get(cl::Profile{}), "f");
    } catch (const cl::Error&) {
      continue;  // a form that only an editor can change
    }
    if (cl::unset_in_file(with, key, "f") != yaml) std::abort();
  }
  return 0;
}
