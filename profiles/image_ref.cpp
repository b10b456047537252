#include "profiles/image_ref.hpp"

#include <algorithm>
#include <cctype>

namespace cl {
namespace {

bool is_path(std::string_view text) { return text.starts_with('/') || text.starts_with("~/"); }
bool is_url(std::string_view text) { return text.starts_with("http://") || text.starts_with("https://"); }

std::string last_part(std::string_view location) {
  if (const auto query = location.find('?'); is_url(location) && query != std::string_view::npos)
    location = location.substr(0, query);
  return std::string(location.substr(location.rfind('/') + 1));
}

}  // namespace

std::optional<Digest> parse_digest(std::string_view text) {
  for (const auto& [algorithm, digits] : {std::pair<std::string_view, std::size_t>{"sha512", 128}, {"sha256", 64}}) {
    if (!text.starts_with(algorithm) || text.size() != algorithm.size() + 1 + digits || text[algorithm.size()] != ':')
      continue;
    Digest digest{std::string(algorithm), std::string(text.substr(algorithm.size() + 1))};
    std::transform(digest.hex.begin(), digest.hex.end(), digest.hex.begin(),
                   [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
    if (digest.hex.find_first_not_of("0123456789abcdef") != std::string::npos) return std::nullopt;
    return digest;
  }
  return std::nullopt;
}

bool is_location(std::string_view text) { return is_url(text) || is_path(text); }

std::optional<FileRef> parse_file_ref(std::string_view text, std::string_view key, std::string& wrong) {
  FileRef ref;
  const auto mark = text.rfind('#');
  ref.location = text.substr(0, mark);
  ref.name = last_part(ref.location);
  const bool odd = std::any_of(text.begin(), text.end(), [](unsigned char c) { return c < ' ' || c == 127; });
  if (odd || ref.name.empty() || (is_url(text) && text.find(' ') != std::string_view::npos)) {
    wrong = "must name a file, not '" + std::string(text) + "'";
    return std::nullopt;
  }
  const auto digest = mark == std::string_view::npos ? std::nullopt : parse_digest(text.substr(mark + 1));
  if (!digest) {
    wrong =
        "must end with the file's digest, #sha512:HEX or #sha256:HEX, as its publisher tells it, not '" +
        std::string(text) + "'" +
        (is_path(text) ? "; 'colima-like config set " + std::string(key) + " " + std::string(text) + "' puts it there"
                       : "");
    return std::nullopt;
  }
  ref.digest = *digest;
  return ref;
}

std::optional<ImageRef> parse_image_ref(std::string_view text, std::string& wrong) {
  ImageRef ref;
  ref.name = text;
  if (text == "auto") return ref;
  if (text == "docker" || text == "plain") {
    ref.kind = ImageRef::Kind::built;
    return ref;
  }
  if (std::find(catalog_names.begin(), catalog_names.end(), text) != catalog_names.end()) {
    ref.kind = ImageRef::Kind::catalog;
    return ref;
  }
  if (!is_location(text)) {
    wrong = "must be auto, docker, plain, ";
    for (const std::string_view name : catalog_names) wrong += std::string(name) + ", ";
    wrong += "or a URL or path with its digest, not '" + std::string(text) + "'";
    return std::nullopt;
  }
  auto file = parse_file_ref(text, "image", wrong);
  if (!file) return std::nullopt;
  ref.kind = ImageRef::Kind::location;
  ref.name = std::move(file->name);
  ref.location = std::move(file->location);
  ref.digest = std::move(file->digest);
  return ref;
}

}  // namespace cl
