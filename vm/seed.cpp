#include "vm/seed.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <map>

#include "src/base/error.hpp"

namespace cl {
namespace {

constexpr std::string_view end_mark = "COLIMA_LIKE_END_OF_FILE";
constexpr std::string_view of_systemd = "/run/credentials/@system/", of_ours = "/etc/colima-like/credentials/";

/// What a foreign guest needs of our own image; `only_missing` is not put over what it has.
struct Part {
  std::string_view path;
  bool program = false, only_missing = false;
};
constexpr std::array parts{
    Part{"usr/lib/colima-like/data-disk", true},
    Part{"usr/lib/colima-like/dns-address", true},
    Part{"usr/lib/colima-like/docker-stop", true},
    Part{"usr/lib/colima-like/shares", true},
    Part{"usr/lib/colima-like/ssh-port", true},
    Part{"usr/lib/colima-like/dnsmasq.conf"},
    Part{"usr/lib/colima-like/sshd_config"},
    Part{"usr/lib/systemd/system/colima-like-dns.service"},
    Part{"usr/lib/systemd/system/colima-like-shares.service"},
    Part{"usr/lib/systemd/system/colima-like-ssh@.service"},
    Part{"usr/lib/systemd/system/colima-like-vsock.socket"},
    Part{"usr/lib/systemd/system/colima-like-vsock@.service"},
    Part{"etc/docker/daemon.json", false, true},
    Part{"etc/containerd/config.toml", false, true},
};

std::string with_our_credentials(std::string text) {
  for (auto at = text.find(of_systemd); at != std::string::npos; at = text.find(of_systemd, at))
    text.replace(at, of_systemd.size(), of_ours);
  return text;
}

void add_file(std::string& script, std::string_view call, std::string_view path, std::string_view content) {
  script += fmt::format("{} {} <<'{}'\n{}", call, path, end_mark, content);
  if (!content.empty() && !content.ends_with('\n')) script += '\n';
  script += fmt::format("{}\n", end_mark);
}

std::string setup_script(const SeedFacts& facts, const Recipe& ours, const Recipe& foreign) {
  std::map<std::string_view, std::string_view> files;
  for (const Recipe::File& file : ours.files()) files[file.path] = file.bytes;
  std::string put, put_missing;
  const std::string credentials(of_ours);
  add_file(put, "put 600", credentials + "colima-like.hostkey", facts.host_private_key);
  add_file(put, "put 600", credentials + "colima-like.authorized_keys", facts.authorized_keys);
  add_file(put, "put 600", credentials + "colima-like.data", facts.data_owner);
  add_file(put, "put 600", credentials + "colima-like.shares", facts.shares);
  for (const Part& part : parts) {
    const auto found = files.find("rootfs/" + std::string(part.path));
    if (found == files.end()) throw Error(Errc::internal, "the recipe has no " + std::string(part.path));
    const std::string content = with_our_credentials(std::string(found->second));
    if (part.only_missing)
      add_file(put_missing, "put_missing", "/" + std::string(part.path), content);
    else
      add_file(put, part.program ? "put 755" : "put 644", "/" + std::string(part.path), content);
  }
  std::string body;
  for (const Recipe::File& file : foreign.files()) {
    if (file.path == "setup.sh") body = file.bytes;
    if (file.path.starts_with("rootfs/")) add_file(put, "put 644", file.path.substr(6), file.bytes);
  }
  return fmt::format(
      "host_name={}\nhost_address={}\nports='{} {}'\nput_files() {{\n{}}}\nput_missing_files() {{\n{}}}\n{}",
      facts.host_name, facts.host_address, facts.ports.first, facts.ports.second, put, put_missing, body);
}

/// Each line below a key of YAML.
std::string indented(std::string_view text, std::string_view by) {
  std::string out;
  while (!text.empty()) {
    const auto end = std::min(text.find('\n'), text.size());
    out += fmt::format("{}{}\n", by, text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return out;
}

std::string first_line(std::string_view text) { return std::string(text.substr(0, text.find('\n'))); }

std::string user_data(const SeedFacts& facts) {
  std::string text = "#cloud-config\n# Made by colima-like; nothing that is written here stays.\n";
  text += "preserve_hostname: false\nmanage_etc_hosts: false\nusers: []\n";
  // The host key of SSH on a network too, should somebody turn that on: no other is made, and ours is known.
  text += "disable_root: false\nssh_pwauth: false\nssh_deletekeys: true\nssh_keys:\n  ed25519_private: |\n";
  text += indented(facts.host_private_key, "    ");
  text += "  ed25519_public: " + first_line(facts.host_public_key) + "\nssh_authorized_keys:\n";
  text += indented(facts.authorized_keys, "  - ");
  text += "growpart:\n  mode: auto\n  devices: ['/']\nresize_rootfs: true\n";
  text += "package_update: false\npackage_upgrade: false\n";
  // In each boot, and early: before cloud-init's modules of the first boot, when there is a network already.
  text +=
      "bootcmd:\n  - |\n"
      "    d=/run/colima-like/seed\n"
      "    mkdir -p $d && mount -t vfat -o ro,umask=077 LABEL=CIDATA $d && sh $d/setup > /dev/console 2>&1 ||\n"
      "      echo 'colima-like: the guest could not be set up from the seed disk' > /dev/console\n"
      "    umount $d\n";
  return text;
}

// --- FAT12, by Microsoft's "FAT: General Overview of On-Disk Format" -------------------------------------------------

constexpr std::size_t sector = 512, sectors = 2048, reserved = 1, fats = 2, fat_sectors = 6;
constexpr std::size_t root_entries = 64, entry_size = 32;
constexpr std::size_t root_sectors = root_entries * entry_size / sector;
constexpr std::size_t first_data = reserved + fats * fat_sectors + root_sectors;
constexpr std::size_t clusters = sectors - first_data;  // of one sector; fewer than 4085 make it FAT12
constexpr std::size_t most_name = 13;                   // of one long-name entry

void put_number(std::string& bytes, std::size_t at, std::size_t length, std::uint32_t value) {
  for (std::size_t i = 0; i < length; ++i) bytes[at + i] = static_cast<char>(value >> (8 * i) & 0xff);
}

void put_text(std::string& bytes, std::size_t at, std::string_view text) {
  std::copy(text.begin(), text.end(), bytes.begin() + static_cast<std::ptrdiff_t>(at));
}

void set_next(std::string& disk, std::size_t cluster, std::uint32_t next) {
  for (std::size_t fat = 0; fat < fats; ++fat) {
    const std::size_t at = (reserved + fat * fat_sectors) * sector + cluster * 3 / 2;
    const auto low = static_cast<unsigned char>(disk[at]), high = static_cast<unsigned char>(disk[at + 1]);
    const std::uint32_t old = low | static_cast<std::uint32_t>(high) << 8;
    put_number(disk, at, 2, cluster % 2 == 0 ? (old & 0xf000) | next : (old & 0x000f) | next << 4);
  }
}

/// The entry with the long name, which comes before the short one and carries its checksum.
std::string long_name_entry(std::string_view name, std::string_view alias) {
  constexpr std::array<std::size_t, most_name> places{1, 3, 5, 7, 9, 14, 16, 18, 20, 22, 24, 28, 30};
  unsigned sum = 0;
  for (const char c : alias) sum = ((sum & 1) << 7) + (sum >> 1) + static_cast<unsigned char>(c) & 0xff;
  std::string entry(entry_size, '\0');
  entry[0] = 0x41;   // the first and the last part
  entry[11] = 0x0f;  // what no short entry has
  put_number(entry, 13, 1, sum);
  for (std::size_t i = 0; i < most_name; ++i) {
    const std::uint32_t padding = i == name.size() ? 0 : 0xffff;
    put_number(entry, places[i], 2, i < name.size() ? static_cast<unsigned char>(name[i]) : padding);
  }
  return entry;
}

}  // namespace

std::string fat_disk(const std::vector<SeedFile>& files) {
  constexpr std::uint32_t end_of_chain = 0xfff;
  constexpr std::uint32_t date = (2025 - 1980) << 9 | 1 << 5 | 1;  // any: files must have one
  std::string disk(sectors * sector, '\0');
  put_text(disk, 0, std::string_view("\xeb\x3c\x90MSDOS5.0", 11));
  put_number(disk, 11, 2, sector);
  put_number(disk, 13, 1, 1);
  put_number(disk, 14, 2, reserved);
  put_number(disk, 16, 1, fats);
  put_number(disk, 17, 2, root_entries);
  put_number(disk, 19, 2, sectors);
  put_number(disk, 21, 1, 0xf8);
  put_number(disk, 22, 2, fat_sectors);
  put_number(disk, 24, 2, 32);
  put_number(disk, 26, 2, 2);
  put_number(disk, 36, 1, 0x80);
  put_number(disk, 38, 1, 0x29);
  put_number(disk, 39, 4, 0xc1da7a);
  put_text(disk, 43, "CIDATA     FAT12   ");
  put_text(disk, 510, "\x55\xaa");
  set_next(disk, 0, 0xff8);
  set_next(disk, 1, end_of_chain);

  std::size_t entry_at = (reserved + fats * fat_sectors) * sector;
  const std::size_t root_end = first_data * sector;
  auto add_entry = [&](std::string_view entry) {
    if (entry_at + entry_size > root_end) throw Error(Errc::internal, "too many files for a seed disk");
    put_text(disk, entry_at, entry);
    entry_at += entry_size;
  };
  std::string label(entry_size, '\0');
  put_text(label, 0, "CIDATA     ");
  label[11] = 0x08;
  put_number(label, 24, 2, date);
  add_entry(label);

  std::size_t cluster = 2;
  int number = 0;
  for (const SeedFile& file : files) {
    if (file.name.empty() || file.name.size() > most_name)
      throw Error(Errc::internal, "a file on a seed disk cannot be called " + file.name);
    const std::string alias = fmt::format("SEED~{}     ", ++number).substr(0, 11);
    const std::size_t needs = (file.bytes.size() + sector - 1) / sector;
    if (cluster - 2 + needs > clusters) throw Error(Errc::internal, "the files do not fit a seed disk");
    std::string entry(entry_size, '\0');
    put_text(entry, 0, alias);
    entry[11] = 0x20;
    put_number(entry, 18, 2, date);
    put_number(entry, 24, 2, date);
    put_number(entry, 26, 2, needs == 0 ? 0 : static_cast<std::uint32_t>(cluster));
    put_number(entry, 28, 4, static_cast<std::uint32_t>(file.bytes.size()));
    add_entry(long_name_entry(file.name, alias));
    add_entry(entry);
    put_text(disk, (first_data + cluster - 2) * sector, file.bytes);
    for (std::size_t i = 1; i <= needs; ++i, ++cluster)
      set_next(disk, cluster, i == needs ? end_of_chain : static_cast<std::uint32_t>(cluster + 1));
  }
  return disk;
}

std::vector<SeedFile> seed_files(const SeedFacts& facts, const Recipe& ours, const Recipe& foreign) {
  std::string meta = "instance-id: " + facts.instance_id + "\nlocal-hostname: " + facts.host_name + "\n";
  return {
      {"meta-data", std::move(meta)}, {"user-data", user_data(facts)}, {"setup", setup_script(facts, ours, foreign)}};
}

}  // namespace cl
