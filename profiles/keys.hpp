#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "profiles/profile.hpp"
#include "src/base/host.hpp"

namespace cl {

/// How the value of a key is written in the file. As text (flags, the wire, state.json) a list is "a,b" or JSON, a map
/// is "name=value,name=value" or JSON, and the others are the scalar itself.
enum class Kind {
  scalar,
  list,    ///< of scalars
  map,     ///< of scalars by name
  groups,  ///< a list of such maps, as JSON
  json     ///< anything: passed through as it is
};

/// What a new value needs on a machine that exists.
enum class Change {
  live,     ///< applied while it runs
  restart,  ///< at its next start
  recreate  ///< another machine: what the old one held would be lost
};
std::string_view to_string(Change change);

/// One setting: the same row serves the parser, the command line's flags, the JSON schema, the help and the docs.
struct Key {
  std::string_view name;     ///< in the file ("vm.accel" is accel: under vm:) and in messages
  std::string_view flag;     ///< of `start`, without dashes; empty: only --set KEY=VALUE
  std::string_view meaning;  ///< one line for help and docs, without the words
  Kind kind;
  Change change;
  std::string_view loses;   ///< with Change::recreate: what would be lost
  std::string_view schema;  ///< of one scalar (of an item, in a list or map), as JSON Schema; beside `words` an enum
  /// Reads `text` into the profile. Says what is wrong with the text, or nothing. Knows no host.
  std::optional<std::string> (*set)(Profile&, std::string_view text);
  /// The value as text; set() takes it back to exactly the same value.
  std::string (*get)(const Profile&);
  std::span<const std::string_view> words{};  ///< what it may be; empty: not one of a few words
};
/// The meaning with what it may be: "what boots the machine: auto, qemu or vz".
std::string meaning_of(const Key& key);

/// All keys, in the order of the file.
std::span<const Key> keys();
/// The row, or null.
const Key* find_key(std::string_view name);
/// "; did you mean cpus?", or empty: for messages about a name that is no key.
std::string did_you_mean(std::string_view name);

/// The JSON Schema of profile.yaml (draft 7), made from the table; what `config schema` prints.
std::string json_schema();

/// What this host cannot give: more CPUs or memory than it has, an accelerator of another system.
std::vector<Problem> check(const Profile& profile, const HostFacts& host);

/// "qemu", "vz" or "host"; with "auto" host where hosts are named, else vz where it can run the machine, else qemu.
std::string resolved_driver(const Profile& profile, const HostFacts& host);

/// "x86_64" or "aarch64", with "host" resolved.
std::string resolved_arch(const Profile& profile, const HostFacts& host);

/// A key whose value differs between two profiles.
struct Difference {
  const Key* key;
  std::string from, to;
};
/// In the order of the table. "host" and the host's own architecture are the same; the image "auto" is content with
/// any.
std::vector<Difference> differences(const Profile& from, const Profile& to, const HostFacts& host);

/// The candidate nearest to `word` for a "did you mean", or empty when none is near (edit distance <= 2,
/// or a third of the word).
std::string nearest(std::string_view word, std::span<const std::string_view> candidates);

/// 90 seconds as "90s", 15 minutes as "15m", none as "off".
std::string duration_text(std::chrono::seconds duration);

}  // namespace cl
