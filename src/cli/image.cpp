#include <boost/json/array.hpp>
#include <iostream>

#include "profiles/image_ref.hpp"
#include "profiles/keys.hpp"
#include "src/app/images.hpp"
#include "src/base/task_group.hpp"
#include "src/cli/command.hpp"
#include "src/cli/launch.hpp"
#include "src/cli/output.hpp"

namespace cl::cli {
namespace {

namespace json = boost::json;

Profile settings_of(const Invocation& call) {
  Profile profile;
  for (const auto& [name, text] : call.settings)
    if (const auto wrong = find_key(name)->set(profile, text)) throw Error(Errc::invalid_config, name + " " + *wrong);
  return profile;
}

asio::awaitable<int> make(Profile profile) {
  const json::object result = co_await show_while([&profile](OnImageProgress on_progress) {
    return make_image(profile.image, resolved_arch(profile, host_facts()), std::move(on_progress));
  });
  std::cout << std::string_view(result.at("name").as_string()) << '\n';
  co_return 0;
}

ImageRef::Kind kind_of(const Profile& profile) {
  std::string why;
  const auto ref = parse_image_ref(profile.image, why);
  if (!ref) throw Error(Errc::invalid_config, "the image " + why);
  return ref->kind;
}

std::string size_text(const json::value& bytes) { return ByteSize::bytes(bytes.to_number<std::uint64_t>()).str(); }

}  // namespace

int run_image_build(const Invocation& call) {
  Profile profile = settings_of(call);
  if (profile.image == "auto") profile.image = "docker";
  if (kind_of(profile) != ImageRef::Kind::built)
    throw Error(Errc::usage, "the image '" + profile.image + "' is not built here",
                "colima-like image pull '" + profile.image + "'");
  return run_async(make(std::move(profile)));
}

int run_image_pull(const Invocation& call) {
  Profile profile = settings_of(call);
  profile.image = with_digest(call.word("IMAGE"));
  const ImageRef::Kind kind = kind_of(profile);
  if (kind != ImageRef::Kind::catalog && kind != ImageRef::Kind::location)
    throw Error(Errc::usage, "the image '" + profile.image + "' is not downloaded",
                "colima-like image build builds it");
  return run_async(make(std::move(profile)));
}

int run_image_list(const Invocation& call) {
  const json::array images = list_images();
  if (call.json) {
    print_json(images);
    return 0;
  }
  if (images.empty()) {
    print_note(
        "there are no guest images yet; 'colima-like start' makes the first, and so does 'colima-like image build'");
    return 0;
  }
  std::vector<std::vector<std::string>> rows{{"NAME", "SIZE", "CREATED", "IN USE", "STATE"}};
  for (const json::value& one : images) {
    const json::object& image = one.as_object();
    rows.push_back({std::string(image.at("name").as_string()), size_text(image.at("bytes")),
                    std::string(image.at("created").as_string()), image.at("in_use").as_bool() ? "yes" : "no",
                    image.contains("problem") ? std::string(image.at("problem").as_string()) : "sound"});
  }
  print_table(rows);
  return 0;
}

int run_image_prune(const Invocation& call) {
  const json::object result = prune_images();
  if (call.json) {
    print_json(result);
    return 0;
  }
  if (result.at("removed").as_array().empty())
    print_note("every guest image is in use, or there is none: 'colima-like image list'");
  for (const json::value& name : result.at("removed").as_array())
    std::cout << "removed " << std::string_view(name.as_string()) << '\n';
  std::cout << "freed " << size_text(result.at("freed_bytes")) << '\n';
  return 0;
}

}  // namespace cl::cli
