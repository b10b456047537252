#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace cl {

/// What became of one setting of a colima.yaml.
struct ColimaLine {
  std::string key, value;
  std::string became;  ///< "cpus: 4", "the default", or why it is not taken over
};

struct ColimaImport {
  std::map<std::string, std::string> settings;  ///< of ours, by key; values that the table of keys accepts
  std::vector<ColimaLine> lines;                ///< one for every setting of the file, in its order
};

/// Reads Colima's file. A setting that we have under another name is taken over, any other is told why it is not.
/// Throws Error{invalid_config} with the place when the file cannot be read.
ColimaImport convert_colima(std::string_view yaml, const std::string& file);

}  // namespace cl
